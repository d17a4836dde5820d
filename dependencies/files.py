"""The files that the programs of this folder share: requirements.lock, and TOML files with lists of entries."""

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
PIN = re.compile(r"([\w.-]+)==([^\s;]+)(?:\s*;.*?)?((?:\s+--hash=\S+)+)")
EXPECTED = {
    date: "a date such as 2027-01-31",
    str: "a text",
    list: "texts",
    dict: "a table of texts",
}

Keys = Mapping[str, type]
"""The keys of a table, which are all required, and the types of their values."""


class WrongFileError(Exception):
    """The lock or a list cannot be used."""


class Pin(NamedTuple):
    """A version in the lock, with the hashes of its files as ALGORITHM:DIGEST."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={h}" for h in self.hashes)])


def canonical(name: str) -> str:
    """The normalized name of a package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path: Path) -> list[Pin]:
    """Each pin of the lock, without its marker: those of other platforms count as well.

    Raises:
        WrongFileError: a line is not NAME==VERSION with hashes.
    """
    text = re.sub(r"(?m)^#.*\n", "", path.read_text(encoding="utf-8")).replace("\\\n", " ")
    pins = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if (pin := re.fullmatch(PIN, line)) is None:
            raise WrongFileError(f"{path}: expected NAME==VERSION with hashes, got {line[:80]!r}")
        name, version, hashes = pin.groups()
        digests = tuple(part.removeprefix("--hash=") for part in hashes.split())
        pins.append(Pin(canonical(name), version, digests))
    return pins


def read_entries(
    path: Path, lists: Mapping[str, Keys], plain: Keys | None = None
) -> dict[str, Any]:
    """The values of a TOML file by key; a list without entries is empty.

    Args:
        path: the file.
        lists: the keys of each entry of a list of tables, by the name of the list.
        plain: the other keys of the file.

    Raises:
        WrongFileError: it is no TOML, or has other keys, types or an empty text; all of them are named.
    """
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise WrongFileError(f"{path}: {error}") from None
    names = ", ".join(f"[[{name}]]" for name in lists)
    known = {**lists, **(plain or {})}
    wrong = [f"unknown key {key!r}; expected {names}" for key in body if key not in known]
    wrong += mistakes({key: body.get(key) for key in plain or {}}, plain or {})
    for name, keys in lists.items():
        entries = body.setdefault(name, [])
        if not isinstance(entries, list):
            wrong.append(f"{name}: got {entries!r}, expected [[{name}]]")
            continue
        for number, entry in enumerate(entries, 1):
            wrong += [f"{name} {number}: {text}" for text in mistakes(entry, keys)]
    if wrong:
        raise WrongFileError("\n".join(f"{path}: {line}" for line in wrong))
    return body


def mistakes(entry: Any, keys: Keys) -> list[str]:
    """What is wrong with a table."""
    if not isinstance(entry, dict):
        return [f"got {entry!r}, expected a table"]
    wrong = [f"unknown key {key!r}" for key in entry if key not in keys]
    for key, kind in keys.items():
        value = entry.get(key)
        if type(value) is not kind or not has_texts(value):
            wrong.append(f"{key}: got {value!r}, expected {EXPECTED[kind]}")
    return wrong


def has_texts(value: Any) -> bool:
    """Whether the texts in a value are not empty, and a list or table has nothing else."""
    if isinstance(value, date):
        return True
    texts = [value] if isinstance(value, str) else list(value)
    if isinstance(value, dict):
        texts += value.values()
    return bool(texts) and all(isinstance(text, str) and text.strip() for text in texts)
