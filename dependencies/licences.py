"""Check the licences of the versions in requirements.lock against licences.toml, and write a software bill of materials.

    python dependencies/licences.py        (or make licences)

Licences are those in the metadata of the packages that are installed here. Those of other pins, such as the ones for other
platforms, are not known. The same lock and packages give the same bytes: the bill has neither a time nor a serial number.

Exit codes: 0 all known licences are allowed; 1 some are unclear or not allowed, or an entry of licences.toml is not needed;
2 licences.toml or the lock are wrong.
"""

import argparse
import configparser
import json
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cyclonedx.contrib.hash.factories import HashTypeFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from files import LOCK, Pin, WrongFileError, canonical, read_entries, read_lock
from license_expression import ExpressionError, get_spdx_licensing
from packageurl import PackageURL

FOLDER = Path(__file__).resolve().parent
FOUND, WRONG = 1, 2
TODO = (
    "Decide in dependencies/licences.toml: allow the licence, for all packages or with a reason for some; "
    "state it where the metadata is unclear; remove entries that are not needed. Or do without the package."
)
KEYS = {"packages": list, "licence": str, "reason": str}
NOT_INSTALLED = "not installed here"
SPDX = get_spdx_licensing()


@dataclass(frozen=True)
class Entry:
    """A licence for the packages whose name fits a pattern."""

    pattern: str
    licence: str

    def fits(self, pin: Pin) -> bool:
        """Whether it is for the package of a pin."""
        return fnmatchcase(pin.name, self.pattern)


@dataclass(frozen=True)
class Rules:
    """licences.toml: what all packages may have, SPDX expressions of words, and the entries of some packages."""

    allowed: frozenset[str]
    words: dict[str, str]
    stated: list[Entry]
    exceptions: list[Entry]


@dataclass(frozen=True)
class Package:
    """A pin with the words of its metadata about its licence, and with SPDX expressions: None where there is no clear one."""

    pin: Pin
    installed: bool
    words: tuple[str, ...] = ()
    of_metadata: str | None = None
    licence: str | None = None

    def __str__(self) -> str:
        return f"{self.pin.name} {self.pin.version}"


def read_rules(path: Path) -> Rules:
    """The rules in a file.

    Raises:
        WrongFileError: see read_entries; or a licence is no SPDX expression.
    """
    lists = {"stated": KEYS, "exception": KEYS}
    body = read_entries(path, lists, {"allowed": list, "words": dict})
    entries = {
        name: [
            Entry(canonical(package), entry["licence"])
            for entry in body[name]
            for package in entry["packages"]
        ]
        for name in lists
    }
    licences = [*body["allowed"], *body["words"].values()]
    licences += [entry.licence for name in lists for entry in entries[name]]
    wrong = [f"{path}: {one!r} is no SPDX expression" for one in licences if not expression(one)]
    if wrong:
        raise WrongFileError("\n".join(wrong))
    words = {text.casefold(): licence for text, licence in body["words"].items()}
    return Rules(frozenset(body["allowed"]), words, entries["stated"], entries["exception"])


def find(pin: Pin, rules: Rules) -> Package:
    """The package of a pin, with the licence in its metadata, or else in the rules."""
    try:
        found = distribution(pin.name)
    except PackageNotFoundError:
        return Package(pin, installed=False)
    # +cpu and others: a build of PyTorch from another index
    if found.version.partition("+")[0] != pin.version:
        return Package(pin, installed=False)
    words = tuple(words_of(found.metadata))
    own = expression(*(rules.words.get(text.casefold(), text) for text in words))
    stated = next((entry.licence for entry in rules.stated if entry.fits(pin)), None)
    return Package(pin, True, words, own, own or stated)


def words_of(metadata: Any) -> Iterator[str]:
    """The field License-Expression, else License unless it is a whole text, else the classifiers."""
    for field in ("License-Expression", "License"):
        text = (metadata.get(field) or "").strip()
        if text not in ("", "UNKNOWN") and "\n" not in text:
            yield text
            return
    for classifier in metadata.get_all("Classifier", []):
        kind, *_, last = classifier.split(" :: ")
        if kind == "License" and last != "OSI Approved":
            yield last


def expression(*texts: str) -> str | None:
    """The normalized SPDX expression of texts that hold together; None without texts, or if one is unclear."""
    try:
        parsed = [SPDX.parse(text) for text in texts]
    except ExpressionError:
        return None
    unknown = [key for one in parsed for key in SPDX.unknown_license_keys(one)]
    if not parsed or not all(key.startswith("LicenseRef-") for key in unknown):
        return None
    return str(SPDX.AND(*parsed) if len(parsed) > 1 else parsed[0])


def permits(allowed: frozenset[str], licence: Any) -> bool:
    """Whether allowed licences are enough for a parsed expression."""
    if isinstance(licence, SPDX.AND):
        return all(permits(allowed, part) for part in licence.args)
    if isinstance(licence, SPDX.OR):
        return any(permits(allowed, part) for part in licence.args)
    return str(licence) in allowed


def problem(package: Package, rules: Rules) -> str | None:
    """Why a package may not be used."""
    if not package.installed:
        return None
    if package.licence is None:
        said = " and ".join(map(repr, package.words)) or "no licence"
        return f"{package}: its metadata states {said}, which is unclear"
    more = (entry.licence for entry in rules.exceptions if entry.fits(package.pin))
    if not permits(rules.allowed.union(more), SPDX.parse(package.licence)):
        return f"{package}: {package.licence} is not allowed"
    return None


def unneeded(packages: list[Package], rules: Rules) -> Iterator[str]:
    """The entries of the rules that no package needs; a package that is not installed may need its entry."""

    def needs_statement(package: Package, _: Entry) -> bool:
        return package.of_metadata is None

    def needs_exception(package: Package, entry: Entry) -> bool:
        parsed = SPDX.parse(package.licence or entry.licence)
        has_it = entry.licence in map(str, SPDX.license_symbols(parsed, decompose=False))
        return has_it and not permits(rules.allowed, parsed)

    for kind, entries, needs in (
        ("statement", rules.stated, needs_statement),
        ("exception", rules.exceptions, needs_exception),
    ):
        for entry in entries:
            fitting = [package for package in packages if entry.fits(package.pin)]
            if not any(not one.installed or needs(one, entry) for one in fitting):
                states = [f"{one} states {one.of_metadata}" for one in fitting]
                reason = ", ".join(states) or "not in the lock"
                yield f"{kind} {entry.licence} of {entry.pattern} is not needed: {reason}"


def bill(packages: list[Package]) -> str:
    """The packages as CycloneDX JSON; those that setup.cfg names are the dependencies of HeterRec."""
    setup = configparser.ConfigParser()
    setup.read(FOLDER.parent / "setup.cfg", encoding="utf-8")
    about, extras = setup["metadata"], setup["options.extras_require"]
    lines = "\n".join([setup["options"]["install_requires"], *extras.values()])
    named = {canonical(name) for name in re.findall(r"(?m)^\s*([\w.-]+)", lines)}
    root = Component(
        name=about["name"],
        version=about["version"],
        type=ComponentType.LIBRARY,
        bom_ref=about["name"],
        licenses=[LicenseExpression(about["license"])],
    )
    bom = Bom(components=map(component, packages), metadata=BomMetaData(component=root))
    bom.register_dependency(root, [one for one in bom.components if one.name in named])
    body = json.loads(JsonV1Dot6(bom).output_as_string())
    del body["serialNumber"], body["metadata"]["timestamp"]
    return json.dumps(body, indent=2) + "\n"


def component(package: Package) -> Component:
    """A package in the bill."""
    url = PackageURL("pypi", name=package.pin.name, version=package.pin.version)
    missing = [] if package.installed else [Property(name="heterrec:licence", value=NOT_INSTALLED)]
    return Component(
        name=package.pin.name,
        version=package.pin.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(url),
        purl=url,
        hashes=[HashTypeFactory().from_composite_str(text) for text in package.pin.hashes],
        licenses=[LicenseExpression(package.licence)] if package.licence else [],
        properties=missing,
    )


def table(packages: list[Package]) -> str:
    """The packages by licence."""
    by_licence = defaultdict(list)
    for package in packages:
        if package.installed:
            by_licence[package.licence or "unclear"].append(package.pin.name)
    rows = []
    for licence, names in sorted(by_licence.items()):
        rows.append(f"{licence}: {len(names)}")
        rows.append(
            textwrap.fill(
                ", ".join(sorted(names)),
                100,
                initial_indent="    ",
                subsequent_indent="    ",
                break_on_hyphens=False,
            )
        )
    return "\n".join(rows)


def say(text: str) -> None:
    """Print a message of the check."""
    print(f"licences: {text}")


def main() -> int:
    """Run the check; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lock", type=Path, default=LOCK)
    parser.add_argument("--rules", type=Path, default=FOLDER / "licences.toml")
    parser.add_argument(
        "--output",
        type=Path,
        default=LOCK.parent / "build" / "sbom.cdx.json",
        help="the bill of materials",
    )
    options = parser.parse_args()
    try:
        pins, rules = read_lock(options.lock), read_rules(options.rules)
    except WrongFileError as error:
        say(str(error))
        return WRONG
    packages = [find(pin, rules) for pin in sorted(set(pins))]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(bill(packages), encoding="utf-8")
    print(table(packages))
    say(f"wrote {options.output}")
    return report(packages, rules)


def report(packages: list[Package], rules: Rules) -> int:
    """Print what is not known, unclear, not allowed or not needed; returns the exit code."""
    missing = [str(package) for package in packages if not package.installed]
    known = len(packages) - len(missing)
    if missing:
        say(
            f"{len(missing)} {NOT_INSTALLED}, so their licences are not known: {', '.join(missing)}"
        )
    found = [text for package in packages if (text := problem(package, rules))]
    found += unneeded(packages, rules)
    for text in found:
        say(text)
    if found:
        say(TODO)
        return FOUND
    say(f"{known} versions have allowed licences")
    return 0


if __name__ == "__main__":
    sys.exit(main())
