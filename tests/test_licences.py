"""`make licences` with installed packages that state their licences in different ways."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from dependency_programs import ROOT, dependency_program

pytest.importorskip("cyclonedx", reason="needs cyclonedx-python-lib: make env")

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

# Most locks of these tests have nothing that setup.cfg names.
pytestmark = pytest.mark.filterwarnings("ignore:The Component this BOM is describing:UserWarning")

HASHES = ("1" * 64, "2" * 64)
HASH = f"--hash=sha256:{HASHES[0]}"
RULES = """\
allowed = ["MIT", "Apache-2.0", "LicenseRef-BSD"]
[words]
"MIT License" = "MIT"
"BSD License" = "LicenseRef-BSD"
"""
EXCEPTION = """\
[[exception]]
packages = ["{package}"]
licence = "{licence}"
reason = "Unchanged."
"""
STATED = """\
[[stated]]
packages = ["{package}"]
licence = "{licence}"
reason = "Its repository."
"""

Judged = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return dependency_program("licences")


@pytest.fixture
def judged(
    tmp_path: Path,
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Judged:
    """Exit code and output for versions 1.0 of packages with lines of metadata, and for more lines of the lock."""

    def judge(
        metadata: dict[str, str], more_rules: str = "", *, lock: str = "", rules: str = RULES
    ) -> tuple[int, str]:
        for name, lines in metadata.items():
            folder = tmp_path / "site" / f"{name.replace('-', '_')}-1.0.dist-info"
            folder.mkdir(parents=True, exist_ok=True)
            head = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n"
            (folder / "METADATA").write_text(head + lines, encoding="utf-8")
            lock += f"{name}==1.0 {HASH}\n"
        (tmp_path / "lock").write_text(lock, encoding="utf-8")
        (tmp_path / "rules").write_text(rules + more_rules, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        words = ["licences.py", f"--lock={tmp_path}/lock", f"--rules={tmp_path}/rules"]
        monkeypatch.setattr(sys, "argv", [*words, f"--output={tmp_path}/made/sbom.json"])
        code = program.main()
        return code, capsys.readouterr().out

    return judge


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: mit\nLicense: Tart\n", "MIT"),
        ("License: MIT License\n", "MIT"),
        ("License: mit license\nClassifier: License :: Tart\n", "MIT"),
        ("License: MIT OR GPL-3.0+\n", "MIT OR GPL-3.0-or-later"),
        ("License: Whole text\n        of a licence\nClassifier: License :: MIT License\n", "MIT"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("Classifier: License :: OSI Approved\nClassifier: License :: MIT License\n", "MIT"),
        (
            "Classifier: License :: MIT License\nClassifier: License :: OSI Approved :: BSD License\n",
            "MIT AND LicenseRef-BSD",
        ),
    ],
)
def test_a_licence_is_read_from_metadata(judged: Judged, metadata: str, licence: str) -> None:
    code, output = judged({"pear-tart": metadata})
    assert code == 0, output
    assert f"{licence}: 1\n    pear-tart\n" in output
    assert "licences: 1 versions have allowed licences\n" in output


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("", "no licence"),
        ("License: Tart\nClassifier: License :: MIT License\n", "'Tart'"),
        ("License: Whole text\n        of a licence\n", "no licence"),
        ("License-Expression: MIT, or ask\n", "'MIT, or ask'"),
        (
            "Classifier: License :: MIT License\nClassifier: License :: Tart\n",
            "'MIT License' and 'Tart'",
        ),
    ],
)
def test_an_unclear_licence_is_found(judged: Judged, metadata: str, said: str) -> None:
    code, output = judged({"pear-tart": metadata})
    assert code == 1
    expected = f"licences: pear-tart 1.0: its metadata states {said}, which is unclear\n"
    assert expected in output
    assert "dependencies/licences.toml" in output
    code, output = judged(
        {"pear-tart": metadata}, STATED.format(package="Pear_Tart", licence="MIT")
    )
    assert code == 0, output


@pytest.mark.parametrize(
    "licence", ["GPL-3.0-only", "MIT AND GPL-3.0-only", "Apache-2.0 WITH LLVM-exception"]
)
def test_a_licence_that_is_not_allowed_is_found(judged: Judged, licence: str) -> None:
    code, output = judged({"plum": f"License-Expression: {licence}\n"})
    assert code == 1
    assert f"licences: plum 1.0: {licence} is not allowed\n" in output


@pytest.mark.parametrize("package", ["plum-pie", "Plum.Pie", "plum-*"])
def test_an_exception_allows_it_for_one_package(judged: Judged, package: str) -> None:
    packages = {"plum-pie": "License: MPL-2.0 AND MIT\n", "quince": "License: MPL-2.0\n"}
    code, output = judged(packages, EXCEPTION.format(package=package, licence="MPL-2.0"))
    assert code == 1
    assert "plum-pie 1.0" not in output
    assert "licences: quince 1.0: MPL-2.0 is not allowed\n" in output


@pytest.mark.parametrize("licence", ["MIT", "MIT OR MPL-2.0"])
def test_an_exception_that_is_not_needed_is_found(judged: Judged, licence: str) -> None:
    exception = EXCEPTION.format(package="plum", licence="MPL-2.0")
    code, output = judged({"plum": f"License: {licence}\n"}, exception)
    assert code == 1
    expected = f"licences: exception MPL-2.0 of plum is not needed: plum 1.0 states {licence}\n"
    assert expected in output


def test_a_statement_that_is_not_needed_is_found(judged: Judged) -> None:
    code, output = judged({"plum": "License: MIT\n"}, STATED.format(package="plum", licence="MIT"))
    assert code == 1
    assert "licences: statement MIT of plum is not needed: plum 1.0 states MIT\n" in output


def test_entries_of_packages_outside_the_lock_are_found(judged: Judged) -> None:
    entries = STATED.format(package="fig", licence="MIT")
    entries += EXCEPTION.format(package="fig-*", licence="MPL-2.0")
    code, output = judged({"plum": "License: MIT\n"}, entries)
    assert code == 1
    assert "licences: statement MIT of fig is not needed: not in the lock\n" in output
    assert "licences: exception MPL-2.0 of fig-* is not needed: not in the lock\n" in output


def test_packages_that_are_not_installed_are_not_judged(judged: Judged, tmp_path: Path) -> None:
    lock = f"fig==1.0 ; sys_platform == 'win32' {HASH}\nplum==2.0 {HASH}\n"
    exception = EXCEPTION.format(package="fig", licence="MPL-2.0")
    code, output = judged({"plum": "License: Tart\n"}, exception, lock=lock)
    assert code == 1
    assert "plum 1.0: its metadata" in output
    code, output = judged({"plum": "License: MIT\n"}, exception, lock=lock)
    assert code == 0, output
    missing = "2 not installed here, so their licences are not known: fig 1.0, plum 2.0\n"
    assert f"licences: {missing}" in output
    body = json.loads((tmp_path / "made" / "sbom.json").read_text(encoding="utf-8"))
    [fig, _, _] = body["components"]
    assert "licenses" not in fig
    assert fig["properties"] == [{"name": "heterrec:licence", "value": "not installed here"}]


def test_a_build_from_another_index_is_the_pinned_version(judged: Judged, tmp_path: Path) -> None:
    judged({"torch-of-plum": "License: MIT\n"})
    about = tmp_path / "site" / "torch_of_plum-1.0.dist-info" / "METADATA"
    text = about.read_text(encoding="utf-8").replace("Version: 1.0", "Version: 1.0+cpu")
    about.write_text(text, encoding="utf-8")
    code, output = judged({}, lock=f"torch-of-plum==1.0 {HASH}\n")
    assert (code, "not installed" in output) == (0, False)


def test_the_bill_lists_the_lock_and_does_not_change(judged: Judged, tmp_path: Path) -> None:
    lock = f"polars==9.0 {HASH} --hash=sha256:{HASHES[1]}\n"
    made = []
    for _ in range(2):
        judged({"plum-pie": "License: MIT License\n"}, lock=lock)
        made.append((tmp_path / "made" / "sbom.json").read_bytes())
    assert made[0] == made[1]
    body = json.loads(made[0])
    assert "serialNumber" not in body
    assert body["metadata"] == {
        "component": {
            "bom-ref": "heterrec",
            "licenses": [{"expression": "Apache-2.0"}],
            "name": "heterrec",
            "type": "library",
            "version": "0.1.0",
        }
    }
    plum, polars = body["components"]
    assert plum == {
        "bom-ref": "pkg:pypi/plum-pie@1.0",
        "hashes": [{"alg": "SHA-256", "content": HASHES[0]}],
        "licenses": [{"expression": "MIT"}],
        "name": "plum-pie",
        "purl": "pkg:pypi/plum-pie@1.0",
        "type": "library",
        "version": "1.0",
    }
    assert [one["content"] for one in polars["hashes"]] == list(HASHES)
    depends = {one["ref"]: one.get("dependsOn") for one in body["dependencies"]}
    assert depends["heterrec"] == ["pkg:pypi/polars@9.0"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (RULES.replace('"MIT",', '"Tart",'), "'Tart' is no SPDX expression"),
        (RULES.replace('= "MIT"', '= "Tart"'), "'Tart' is no SPDX expression"),
        (RULES + EXCEPTION.format(package="plum", licence="Tart"), "'Tart' is no SPDX expression"),
        ("[words]\na = 'MIT'", "allowed: got None, expected texts"),
        ("allowed = [1]\n[words]\na = 'MIT'", "allowed: got [1], expected texts"),
        ("allowed = ['MIT']\n[words]\na = 1", "words: got {'a': 1}, expected a table of texts"),
        (RULES + "[[stated]]\npackages = ['']", "stated 1: packages: got [''], expected texts"),
        (RULES + "[[stated]]\npackages = ['a']", "stated 1: licence: got None, expected a text"),
        (RULES + "[denied]", "unknown key 'denied'"),
    ],
)
def test_malformed_rules_are_refused(judged: Judged, rules: str, expected: str) -> None:
    code, output = judged({"plum": "License: MIT\n"}, rules=rules)
    assert code == 2
    assert expected in output


def test_the_licences_of_the_lock_are_allowed(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bill = tmp_path / "sbom.json"
    monkeypatch.setattr(sys, "argv", ["licences.py", f"--output={bill}"])
    assert program.main() == 0, capsys.readouterr().out
    pytest.importorskip("jsonschema", reason="needs jsonschema, to validate the bill: make test")
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    text = bill.read_text(encoding="utf-8")
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace("SHA-256", "SHA-257", 1)) is not None


def test_the_licence_of_heterrec_is_stated() -> None:
    assert "license = Apache-2.0\n" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
    text = (ROOT / "LICENSE").read_text(encoding="utf-8").split()
    assert " ".join(text).startswith("Apache License Version 2.0, January 2004")
