"""Generations with one thing changed, and all hashes as if they had been written so."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import odd_values
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_schemas.manifest import FileEntry, content_sha256, manifest_sha256

HASHES = ("sha256", "spec_sha256", "content_sha256", "manifest_sha256")


def spoil(rng: random.Random, root: Path) -> str:
    """Change something in a generation's folder; returns what."""
    change = rng.choice(_CHANGES)
    change(rng, root)
    mend(root)
    return change.__name__.strip("_")


def mend(root: Path) -> None:
    """Write sizes and hashes of what is there into the manifest, as far as it still is one."""
    path = root / "manifest.json"
    manifest = json.loads(path.read_text())
    try:
        for entry in manifest["files"]:
            if (file := root / entry["path"]).is_file():
                data = file.read_bytes()
                entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        manifest["spec_sha256"] = hashlib.sha256((root / "spec.yaml").read_bytes()).hexdigest()
        entries = [FileEntry.model_validate(entry) for entry in manifest["files"]]
        manifest["content_sha256"] = content_sha256(entries)
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        pass  # what was changed is what the hashes are of
    try:
        manifest["manifest_sha256"] = manifest_sha256(manifest)
    except (TypeError, ValueError):
        pass
    path.write_text(json.dumps(manifest))


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        if key not in HASHES:
            yield tree, key
            if isinstance(tree[key], dict | list):
                yield from _places(tree[key])


def _manifest_value(rng: random.Random, root: Path) -> None:
    manifest = json.loads((root / "manifest.json").read_text())
    parts = {key: value for key, value in manifest.items() if key not in HASHES}
    # Files are many, and their entries much alike.
    if rng.random() < 0.8:
        parts.pop("files", None)
    container, key = rng.choice(list(_places(parts)))
    old = container[key]
    if isinstance(old, int) and not isinstance(old, bool) and rng.random() < 0.6:
        new: Any = rng.choice((0, 1, -1, old + 1, old - 1, old * 2, 2**31, 2**62, 10**12))
    else:
        new = odd_values.value(rng, 2)
    if rng.random() < 0.15:
        del container[key]
    else:
        container[key] = new
    (root / "manifest.json").write_text(json.dumps(manifest | parts))
    if container is parts and key not in parts:
        del manifest[key]
        (root / "manifest.json").write_text(json.dumps(manifest))


def _spec_number(rng: random.Random, root: Path) -> None:
    text = (root / "spec.yaml").read_text()
    digits = [at for at, letter in enumerate(text) if letter.isdigit()]
    at = rng.choice(digits)
    new = rng.choice(("0", "1", "2", "9", "99", "4000"))
    (root / "spec.yaml").write_text(text[:at] + new + text[at + 1 :])


def _spec_word(rng: random.Random, root: Path) -> None:
    words = (
        "numeric",
        "categorical",
        "temporal",
        "leave_one_out",
        "referenced",
        "flattened",
        "multivalued",
    )
    text = (root / "spec.yaml").read_text()
    found = [
        word
        for word in (*words, "next", "all", "last", "true", "brand", "price", "look")
        if word in text
    ]
    text = text.replace(rng.choice(found), rng.choice(words), 1)
    (root / "spec.yaml").write_text(text)


def _files(root: Path, suffix: str = ".parquet") -> list[Path]:
    return sorted(p for p in root.rglob(f"*{suffix}") if p.is_file())


def _entry_dropped(rng: random.Random, root: Path) -> None:
    manifest = json.loads((root / "manifest.json").read_text())
    del manifest["files"][rng.randrange(len(manifest["files"]))]
    (root / "manifest.json").write_text(json.dumps(manifest))


def _entry_twice(rng: random.Random, root: Path) -> None:
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["files"].append(rng.choice(manifest["files"]))
    (root / "manifest.json").write_text(json.dumps(manifest))


def _swapped_files(rng: random.Random, root: Path) -> None:
    one, other = rng.sample(_files(root), 2)
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def _cut_file(rng: random.Random, root: Path) -> None:
    path = rng.choice([*_files(root), *_files(root, ".json"), *_files(root, ".yaml")])
    if path.name == "manifest.json":
        return
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def _absent_file(rng: random.Random, root: Path) -> None:
    rng.choice(_files(root)).unlink()


def _folder_in_place(rng: random.Random, root: Path) -> None:
    path = rng.choice(_files(root))
    path.unlink()
    path.mkdir()


def _odd_json(rng: random.Random, root: Path) -> None:
    path = rng.choice([p for p in _files(root, ".json") if p.name != "manifest.json"])
    path.write_text(
        rng.choice(
            ("", "[]", "null", "{", '{"a": NaN}', "[" * 3000, json.dumps(odd_values.value(rng)))
        )
    )


Change = Callable[[random.Random, Any], Any]


def _table(rng: random.Random, root: Path) -> None:
    """Change a table: a column, its cells or its rows."""
    weighted = [p for p in _files(root) if p.parent.name != "rejects"]
    path = rng.choice(weighted)
    table = pq.read_table(path)
    kind = rng.choice(
        ("cells", "cells", "cells", "cells", "rows", "rows", "column", "kind", "metadata")
    )
    if kind == "rows":
        table = _other_rows(rng, table)
    elif kind == "column":
        names = list(table.column_names)
        names[rng.randrange(len(names))] = rng.choice(("x", *names))
        table = (
            table.rename_columns(names)
            if rng.random() < 0.6
            else table.drop_columns(rng.choice(table.column_names))
        )
    elif kind == "metadata":
        table = table.replace_schema_metadata(
            rng.choice((None, {"a": "b"}, {b"format_version": b"x"}))
        )
    elif table.num_columns:
        at = rng.randrange(table.num_columns)
        table = _other_cells(rng, table, at) if kind == "cells" else _other_kind(rng, table, at)
    pq.write_table(table, path)


def _other_rows(rng: random.Random, table: pa.Table) -> pa.Table:
    order = list(range(len(table)))
    how = rng.randrange(5)
    if how == 0:
        rng.shuffle(order)
    elif how == 1:
        order = order[: len(order) // 2]
    elif how == 2:
        order += order[:3]
    elif how == 3:
        order = []
    else:
        order.reverse()
    return table.take(pa.array(order, pa.int64()))


def _changed(rng: random.Random, cell: Any) -> Any:
    if isinstance(cell, list):
        how = rng.randrange(5)
        if how == 0 or not cell:
            return rng.choice((None, [], [None], [0], [2**30]))
        if how == 1:
            return cell[:-1]
        if how == 2:
            return cell + cell[-1:]
        if how == 3:
            return list(reversed(cell))
        return [*cell[:-1], _changed(rng, cell[-1])]
    if isinstance(cell, bool):
        return not cell
    if isinstance(cell, int):
        return rng.choice((None, 0, 1, 2, 3, -1, cell + 1, cell - 1, 2**31 - 1, -(2**31), 2**62))
    if isinstance(cell, float):
        return rng.choice((None, float("nan"), float("inf"), -cell, 0.0, 1e300))
    return rng.choice((None, "", "x" * 1000, "\x00", "erased", "active", cell, f"{cell}x"))


def _other_cells(rng: random.Random, table: pa.Table, at: int) -> pa.Table:
    cells = table.column(at).to_pylist()
    if not cells:
        return table
    for _ in range(rng.choice((1, 1, 3, len(cells)))):
        row = rng.randrange(len(cells))
        cells[row] = rng.choice((_changed(rng, cells[row]), rng.choice(cells)))
    kind = table.field(at).type
    try:
        array = pa.array(cells, kind)
    except (pa.ArrowException, OverflowError):
        try:
            array = pa.array(cells)
        except (pa.ArrowException, OverflowError):
            return table
    return table.set_column(at, table.field(at).with_type(array.type).with_nullable(True), array)


def _other_kind(rng: random.Random, table: pa.Table, at: int) -> pa.Table:
    kinds = (
        pa.int64(),
        pa.string(),
        pa.float64(),
        pa.list_(pa.int32()),
        pa.bool_(),
        pa.int8(),
        pa.binary(),
    )
    kind = rng.choice(kinds)
    try:
        array = table.column(at).cast(kind)
    except pa.ArrowException:
        array = pa.nulls(len(table), kind)
    return table.set_column(at, pa.field(table.column_names[at], kind), array)


_CHANGES: tuple[Callable[[random.Random, Path], None], ...] = (
    *(_manifest_value, _manifest_value, _manifest_value, _spec_number, _spec_word, _entry_dropped),
    *(_entry_twice, _swapped_files, _cut_file, _absent_file, _folder_in_place, _odd_json),
    *(_table,) * 10,
)


def copied(source: Path, target: Path) -> Path:
    """A copy of an output folder, in place of an earlier one; returns the generation's own folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    latest = json.loads((target / "latest.json").read_text())["generation"]
    return target / "generations" / str(latest)
