import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heterrec_schemas import open_generation
from heterrec_schemas.errors import CorruptGenerationError, FormatVersionError, SpecError
from heterrec_schemas.feature_spec import spec_sha256
from heterrec_schemas.generation import open_folder
from heterrec_schemas.generation.verify import read_manifest
from heterrec_schemas.manifest import manifest_sha256

Copy = Callable[[], Path]


def edit_manifest(root: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a generation, its own hash included."""
    path = root / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    data["manifest_sha256"] = manifest_sha256(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def flip(path: Path) -> None:
    """Change one byte; the size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("verify", ["hashes", "sizes"])
def test_a_whole_generation_opens(copied: Copy, verify: Any) -> None:
    assert open_generation(copied(), verify=verify).manifest.name == "shop"


@pytest.mark.parametrize("verify", ["hashes", "sizes"])
@pytest.mark.parametrize(
    "path", ["items/items-00001-of-00002.parquet", "schema/arrow.json", "statistics.json"]
)
def test_an_absent_file_is_named(copied: Copy, verify: Any, path: str) -> None:
    root = copied()
    (root / path).unlink()
    with pytest.raises(CorruptGenerationError, match=f"1 of 30 files differ .*{path}: absent"):
        open_generation(root, verify=verify)


@pytest.mark.parametrize("verify", ["hashes", "sizes"])
def test_another_size_is_named(copied: Copy, verify: Any) -> None:
    root = copied()
    path = root / "statistics.json"
    path.write_text("{}")
    with pytest.raises(
        CorruptGenerationError, match=r"statistics\.json: got 2 bytes, expected 3\. Build"
    ):
        open_generation(root, verify=verify)


def test_another_content_of_the_same_size_is_seen_by_its_hash(copied: Copy) -> None:
    root = copied()
    path = root / "items" / "items-00000-of-00002.parquet"
    flip(path)
    open_generation(root, verify="sizes")
    with pytest.raises(
        CorruptGenerationError,
        match=r"1 of 30 files differ .*items-00000-of-00002\.parquet: got SHA-256 \w{64}, expected",
    ):
        open_generation(root)


def test_many_damaged_files_are_counted_and_three_named(copied: Copy) -> None:
    root = copied()
    for path in (root / "sequences").iterdir():
        flip(path)
    with pytest.raises(CorruptGenerationError, match="12 of 30 files differ") as caught:
        open_generation(root)
    assert caught.value.message.count("got SHA-256") == 3
    assert "; and 9 more" in caught.value.message


def test_every_changed_digit_of_the_manifest_is_found(copied: Copy) -> None:
    root = copied()
    path = root / "manifest.json"
    text = path.read_text(encoding="utf-8")
    digits = [k for k, letter in enumerate(text) if letter.isdigit()]
    folder, passed = open_folder(root), []
    for k in digits:
        path.write_text(text[:k] + str((int(text[k]) + 1) % 10) + text[k + 1 :], encoding="utf-8")
        try:
            read_manifest(folder)
        except (CorruptGenerationError, FormatVersionError):
            continue
        passed.append(text[k - 20 : k + 20])
    assert len(digits) > 1000
    assert passed == []


def test_the_hash_covers_keys_of_later_releases(copied: Copy) -> None:
    root = copied()
    edit_manifest(root, lambda m: (m.update(later={"x": [1]}), m["counts"].update(later=1)))
    assert open_generation(root).manifest.name == "shop"
    path = root / "manifest.json"
    path.write_text(path.read_text().replace('"x": [1]', '"x": [2]'))
    with pytest.raises(CorruptGenerationError, match="was changed after it was written: got SHA"):
        open_generation(root)


def test_a_manifest_of_an_earlier_release_has_no_hash(copied: Copy) -> None:
    path = copied() / "manifest.json"
    data = json.loads(path.read_text())
    del data["manifest_sha256"]
    path.write_text(json.dumps(data))
    assert open_generation(path.parent).manifest.name == "shop"
    path.write_text(json.dumps({**data, "manifest_sha257": "x"}))
    with pytest.raises(CorruptGenerationError, match="but the unknown key 'manifest_sha257'"):
        open_generation(path.parent)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_refused(copied: Copy, version: object) -> None:
    root = copied()
    edit_manifest(root, lambda m: m.update(format_version=version, unheard_of=1))
    with pytest.raises(
        FormatVersionError, match=f"got {version}, expected 1. Install" if version else "expected 1"
    ):
        open_generation(root)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"generation": "x"}', "\xff", "[" * 100_000]
)
def test_what_is_no_manifest_is_refused(copied: Copy, text: str) -> None:
    root = copied()
    (root / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(CorruptGenerationError, match=r"manifest\.json is not (JSON|a manifest)"):
        open_generation(root)


def test_an_unreadable_manifest_says_where(copied: Copy) -> None:
    root = copied()
    edit_manifest(root, lambda m: m["counts"]["items"].update(read="many"))
    with pytest.raises(
        CorruptGenerationError, match=r"is not a manifest: counts\.items\.read: Input"
    ):
        open_generation(root)


@pytest.mark.parametrize("path", ["../../latest.json", "/etc/hosts", "items/..\\x"])
def test_a_manifest_cannot_point_outside_its_folder(copied: Copy, path: str) -> None:
    root = copied()
    edit_manifest(root, lambda m: m["files"][0].update(path=path))
    with pytest.raises(CorruptGenerationError, match="outside its folder"):
        open_generation(root)


def test_a_manifest_whose_files_were_exchanged_is_refused(copied: Copy) -> None:
    root = copied()
    edit_manifest(root, lambda m: m["files"].pop(0))
    with pytest.raises(CorruptGenerationError, match="content_sha256 is not that of the files"):
        open_generation(root, verify="sizes")


def test_a_manifest_with_other_features_is_refused(copied: Copy) -> None:
    root = copied()
    edit_manifest(root, lambda m: m["features"].pop())
    with pytest.raises(CorruptGenerationError, match=r"lists other features than spec\.yaml"):
        open_generation(root)


def _feature(kind: str, **fields: object) -> Callable[[dict[str, Any]], object]:
    """Change the entry of the first feature of a kind."""
    return lambda m: next(f for f in m["features"] if f["kind"] == kind).update(fields)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda m: m.update(item_vocabulary_size=10**12),
            r"item_vocabulary_size: got 1000000000000",
        ),
        (_feature("categorical", vocabulary_size=2**40), r"vocabulary_size: got 1099511627776"),
        (_feature("categorical", multivalued=True), "multivalued: got True, expected False"),
        (_feature("numeric", bins=7), r"bins: got 7, expected \d"),
        (_feature("numeric", multivalued=True), "multivalued: got True, expected False"),
        (_feature("embedding", groups=1), r"groups: got 1, expected \d"),
        (_feature("embedding", quantizer="rq"), "quantizer: got rq, expected quantile"),
    ],
)
def test_sizes_that_do_not_follow_from_the_tables_are_refused(
    copied: Copy, edit: Callable[[dict[str, Any]], object], words: str
) -> None:
    """Readers allocate by them."""
    root = copied()
    edit_manifest(root, edit)
    with pytest.raises(CorruptGenerationError, match=rf"contradicts spec\.yaml .*{words}"):
        open_generation(root)


def test_a_spec_of_another_generation_is_refused(copied: Copy) -> None:
    root = copied()
    path = root / "spec.yaml"
    path.write_text(path.read_text().replace("name: shop", "name: chop"))
    with pytest.raises(CorruptGenerationError, match="is not the spec of this generation"):
        open_generation(root, verify="sizes")


def test_a_generation_without_a_spec_is_refused(copied: Copy) -> None:
    root = copied()
    (root / "spec.yaml").unlink()
    edit_manifest(root, lambda m: m.update(files=[f for f in m["files"] if f["rows"] is not None]))
    with pytest.raises(CorruptGenerationError, match=r"spec\.yaml is absent"):
        open_generation(root)


def test_a_spec_that_this_release_cannot_read_is_named(copied: Copy) -> None:
    root = copied()
    text = "version: 9\n"
    (root / "spec.yaml").write_text(text)

    def edit(manifest: dict[str, Any]) -> None:
        manifest["spec_sha256"] = spec_sha256(text)
        manifest["files"] = [f for f in manifest["files"] if f["path"] != "spec.yaml"]

    edit_manifest(root, edit)
    with pytest.raises(SpecError, match=r"spec\.yaml: unknown spec version"):
        open_generation(root)
