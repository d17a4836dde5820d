"""Folders of runs, and bundles, with one file changed."""

import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import odd_values
import yaml


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder in place of an earlier one; links stay links."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    return target


def spoil(rng: random.Random, folder: Path) -> None:
    """Change one file of a folder, more often a small one that says something about the others."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    texts = [p for p in files if p.suffix in (".json", ".yaml", ".jsonl")]
    path = rng.choice(texts if texts and rng.random() < 0.6 else files)
    if path in texts and rng.random() < 0.75:
        _value(rng, path)
    else:
        _bytes(rng, path, files)


def _value(rng: random.Random, path: Path) -> None:
    """Change a value of a document."""
    text = path.read_text()
    if path.suffix == ".jsonl":
        lines = text.splitlines()
        at = rng.randrange(len(lines))
        tree = json.loads(lines[at])
        _change(rng, tree)
        lines[at] = json.dumps(tree)
        path.write_text("\n".join(lines) + "\n")
        return
    tree = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    _change(rng, tree)
    path.write_text(json.dumps(tree))


def _change(rng: random.Random, tree: Any) -> None:
    places = list(_places(tree))
    if not places:
        return
    container, key = rng.choice(places)
    old = container[key]
    if rng.random() < 0.15:
        del container[key]
    elif isinstance(old, int) and not isinstance(old, bool):
        container[key] = rng.choice(
            (0, 1, -1, old + 1, old - 1, old * 2, 2**31, 2**62, 10**12, "1", None, 1.5)
        )
    elif isinstance(old, str):
        container[key] = rng.choice(
            (odd_values.text(rng), f"{old}x", f"../{old}", f"/{old}", odd_values.path(rng), None)
        )
    else:
        container[key] = odd_values.value(rng, 2)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(tree, dict | list):
        return
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        yield from _places(tree[key])


def _bytes(rng: random.Random, path: Path, files: list[Path]) -> None:
    data = path.read_bytes()
    how = rng.randrange(8)
    if how == 0:
        path.unlink()
    elif how == 1:
        path.unlink()
        path.mkdir()
    elif how == 2:
        path.write_bytes(data[: rng.randrange(len(data) + 1)])
    elif how == 3:
        path.write_bytes(rng.choice(files).read_bytes())
    elif how == 4:
        path.write_bytes(
            rng.choice((b"", b"{}", b"[]", b"null", b"\x00" * 64, b"\xff" * 64, b"[" * 5000))
        )
    elif how == 5:
        path.write_bytes(data + rng.choice((b"x", b"\n", b"\x00" * 100)))
    else:
        some = bytearray(data)
        for _ in range(rng.choice((1, 5, 50)) if some else 0):
            # The beginnings of files have their shapes, lengths and types.
            at = (
                rng.randrange(min(len(some), 400))
                if rng.random() < 0.5
                else rng.randrange(len(some))
            )
            some[at] = rng.randrange(256)
        path.write_bytes(bytes(some))


def mend_bundle(folder: Path) -> None:
    """Write sizes and hashes of what is there into bundle.json, as far as it still is one."""
    path = folder / "bundle.json"
    try:
        info = json.loads(path.read_text())
        for entry in info["files"]:
            path_of_file = folder / entry["path"]
            if not path_of_file.is_file():  # a device may have no end
                return
            data = path_of_file.read_bytes()
            entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError):
        return  # what was changed is what the hashes are of
    path.write_text(json.dumps(info))
