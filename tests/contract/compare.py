"""Compares a generation with the reference; every difference is one line of text."""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from expected_types import DATA, items_types, key_type, sequence_types

from heterrec_schemas.testing.reference import Reference
from heterrec_schemas.testing.reference_values import Row

UNSHOWN = ("malformed_row", "wrong_width", "non_finite", "wrong_type")
"""Reasons whose value is not the text of a scalar: its form is free."""
ROW_GROUPS = {"items": 8_192, "sequences": 8_192}
REJECTS = {
    "source": pa.string(),
    "file": pa.string(),
    "row": pa.int64(),
    "column": pa.string(),
    "reason": pa.string(),
    "value": pa.string(),
}


def differences(found: Reference, spec: Row, folder: Path) -> list[str]:
    """All differences of the generation in `folder` from the reference."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    lines: list[str] = []
    for part in (vocabularies, fits, items, sequences, rejects):
        lines += part(found, spec, folder)
    lines += list(counts(found, folder, manifest))
    lines += list(manifest_files(folder, manifest))
    return lines


def read(path: Path, types: dict[str, pa.DataType], wide: int = 65_536) -> Iterator[Any]:
    """The differences of the file's form, then its rows as dicts."""
    if not path.exists():
        yield f"{path.name} is missing"
        return
    file = pq.ParquetFile(path)
    got = {f.name: f.type for f in file.schema_arrow}
    if list(got) != list(types) or any(not same_type(got[c], types[c]) for c in types):
        yield f"{path.name}: columns {got}, expected {types}"
        return
    meta = file.metadata
    for g in range(meta.num_row_groups):
        group = meta.row_group(g)
        if group.num_rows != min(wide, meta.num_rows - g * wide):
            yield f"{path.name}: row group {g} has {group.num_rows} rows"
        for c in range(group.num_columns):
            if group.column(c).compression != "ZSTD":
                yield f"{path.name}: {group.column(c).path_in_schema} is not zstd"
            if group.num_rows and not group.column(c).is_stats_set:
                yield f"{path.name}: {group.column(c).path_in_schema} has no statistics"
    yield from file.read().to_pylist()


def same_type(a: pa.DataType, b: pa.DataType) -> bool:
    """Equal types, whatever the inner fields are called and whether they may be null."""
    if pa.types.is_fixed_size_list(b):
        return (
            pa.types.is_fixed_size_list(a)
            and a.list_size == b.list_size
            and same_type(a.value_type, b.value_type)
        )
    if pa.types.is_list(b):
        return pa.types.is_list(a) and same_type(a.value_type, b.value_type)
    return a == b


def split_up(read_rows: Iterator[Any]) -> tuple[list[str], list[Row]]:
    both = list(read_rows)
    return [x for x in both if isinstance(x, str)], [x for x in both if not isinstance(x, str)]


def unlike(name: str, got: Any, wanted: Any) -> list[str]:
    """One line on two values or lists, with the first position where they differ."""
    if got == wanted:
        return []
    if isinstance(got, list) and isinstance(wanted, list):
        for k in range(min(len(got), len(wanted))):
            if got[k] != wanted[k]:
                return [f"{name}, row {k}: got {got[k]}, expected {wanted[k]}"]
        return [f"{name}: got {len(got)} rows, expected {len(wanted)}: {(got + wanted)[-1:]}"]
    return [f"{name}: got {got}, expected {wanted}"]


# --- tables ----------------------------------------------------------------------------------


def vocabularies(found: Reference, spec: Row, folder: Path) -> Iterator[str]:
    present = {p.name for p in (folder / "vocabularies").glob("*")}
    wanted = set()
    for name, shards in found.vocabularies.items():
        types = {
            "id": pa.int64(),
            "value": key_type(found.integral[name]),
            "count": pa.int64(),
            "status": pa.string(),
        }
        for k, rows in enumerate(shards):
            file = f"{name}-{k:05d}-of-{len(shards):05d}.parquet"
            wanted.add(file)
            bad, got = split_up(read(folder / "vocabularies" / file, types))
            yield from bad
            yield from unlike(
                f"vocabularies/{file}",
                [tuple(r.values()) for r in got],
                [(*row, status(row)) for row in rows],
            )
    yield from unlike("vocabulary files", sorted(present), sorted(wanted))


def status(row: tuple[int, Any, int]) -> str:
    """The status of a row of (id, value, count)."""
    _, value, count = row
    return "erased" if value is None else "active" if count else "retired"


def fits(found: Reference, spec: Row, folder: Path) -> Iterator[str]:
    for name, edges in found.boundaries.items():
        path = folder / "boundaries" / f"{name}.parquet"
        bad, got = split_up(read(path, {"edge": pa.float64()}))
        yield from bad
        yield from unlike(f"boundaries/{name}", [r["edge"] for r in got], edges)
    types = {"dim": pa.int32(), "edge_index": pa.int32(), "edge": pa.float32()}
    for name, edge_of in found.quantizers.items():
        bad, got = split_up(read(folder / "quantizers" / f"{name}.parquet", types))
        yield from bad
        table = {(r["dim"], r["edge_index"]): r["edge"] for r in got}
        yield from unlike(f"quantizers/{name}, rows", len(got), len(edge_of))
        yield from unlike(f"quantizers/{name}", sorted(table.items()), sorted(edge_of.items()))
    types = {"dim": pa.int32(), "mean": pa.float32(), "reach": pa.float32()}
    for name, (mean, reach, weights) in found.reductions.items():
        path = folder / "quantizers" / f"{name}.reduce.parquet"
        bad, got = split_up(read(path, types | {"weights": pa.list_(pa.float32(), len(weights))}))
        yield from bad
        by_dim = [list(of_dim) for of_dim in zip(*weights, strict=True)]
        want = list(zip(range(len(mean)), mean, reach, by_dim, strict=True))
        yield from unlike(f"quantizers/{name}.reduce", [tuple(r.values()) for r in got], want)
    types = {"codebook": pa.int32(), "code": pa.int32()}
    for name, books in found.codebooks.items():
        centroid = pa.list_(pa.float32(), len(books[0][0]))
        path = folder / "quantizers" / f"{name}.parquet"
        bad, got = split_up(read(path, types | {"centroid": centroid}))
        yield from bad
        want = [(k, c, centroid) for k, book in enumerate(books) for c, centroid in enumerate(book)]
        yield from unlike(f"quantizers/{name}", [tuple(r.values()) for r in got], want)


def items(found: Reference, spec: Row, folder: Path) -> Iterator[str]:
    yield from items_of(found, spec, folder / "items", found.items)
    if found.retired:
        yield from items_of(found, spec, folder / "retired", found.retired)
    else:
        yield from unlike("retired/", (folder / "retired").exists(), False)


def items_of(found: Reference, spec: Row, folder: Path, wanted: list[Row]) -> Iterator[str]:
    """The differences of a folder with rows of items: shard s has the rows n s / N to n (s + 1) / N."""
    shards, n = spec.get("output", {}).get("item_shards", 1), len(wanted)
    for s in range(shards):
        path = folder / f"items-{s:05d}-of-{shards:05d}.parquet"
        bad, got = split_up(read(path, items_types(spec, found), 8_192))
        yield from bad
        mine = wanted[n * s // shards : n * (s + 1) // shards]
        yield from unlike(f"{folder.name}/{path.name}", got, mine)
    yield from unlike(f"{folder.name}, shards", len(list(folder.glob("*"))), shards)


def sequences(found: Reference, spec: Row, folder: Path) -> Iterator[str]:
    for split, shards in found.sequences.items():
        for k, rows in enumerate(shards):
            name = f"{split}-{k:05d}-of-{len(shards):05d}.parquet"
            types = sequence_types(spec, found, split)
            bad, got = split_up(read(folder / "sequences" / name, types, 8_192))
            yield from bad
            yield from unlike(f"sequences/{name}", got, [{c: r[c] for c in types} for r in rows])
    files = len(list((folder / "sequences").glob("*")))
    yield from unlike("sequence files", files, sum(map(len, found.sequences.values())))
    types = {"item_index": pa.int64(), "train_count": pa.int64()}
    path = folder / "item_counts" / "item_counts-00000-of-00001.parquet"
    bad, got = split_up(read(path, types))
    yield from bad
    yield from unlike("item counts", [tuple(r.values()) for r in got], found.item_counts)
    if "available_from" in spec["items"]:
        shards = sorted((folder / "item_times").glob("available_from-*"))
        yield from unlike(
            "shards of times", len(shards), spec.get("output", {}).get("item_shards", 1)
        )
        rows = []
        for path in shards:
            bad, got = split_up(
                read(path, {"item_index": pa.int64(), "available_from_ms": pa.int64()})
            )
            yield from bad
            rows += [tuple(r.values()) for r in got]
        yield from unlike("available from", rows, found.available_from)
    path = folder / "item_times" / "first_interaction-00000-of-00001.parquet"
    if spec["split"]["method"] == "leave_one_out":
        yield from unlike("first interactions", path.exists(), False)
        return
    bad, got = split_up(read(path, {"item_index": pa.int64(), "first_ms": pa.int64()}))
    yield from bad
    yield from unlike(
        "first interactions", [tuple(r.values()) for r in got], found.first_interactions
    )


def rejects(found: Reference, spec: Row, folder: Path) -> Iterator[str]:
    """The rejects as multisets; their values as cleaned text, because JSON cells have no text of their own."""
    path = folder / "rejects" / "rejects-00000-of-00001.parquet"
    bad, got = split_up(read(path, REJECTS))
    yield from bad
    yield from untold(spec, got)
    have = Counter(
        (r["source"], r["column"], r["reason"], clean(r["reason"], r["value"])) for r in got
    )
    want: Counter[Any] = Counter()
    for (source, column, reason, value), count in found.rejects.items():
        want[source, column, reason, clean(reason, value)] += count
    yield from (f"rejects: {count} too many of {entry}" for entry, count in (have - want).items())
    yield from (f"rejects: {count} absent of {entry}" for entry, count in (want - have).items())
    reasons = {place[3] for place in found.reject_places}
    places = Counter(
        (r["source"], r["file"], r["row"], r["reason"]) for r in got if r["reason"] in reasons
    )
    yield from (f"rejects: {p} is no position of a reject" for p in places - found.reject_places)
    yield from (f"rejects: nothing is recorded at {p}" for p in found.reject_places - places)


def untold(spec: Row, rejects: list[Row]) -> Iterator[str]:
    """The texts that no reject may have, also where their form is free: those with user ids, and those of cells."""
    values = spec.get("rejects", {}).get("values", "full")
    hashed = "hash_key" in spec.get("users", {})
    for row in rejects:
        value = row["value"]
        if (
            hashed
            and row["reason"] == "malformed_row"
            and row["source"] in ("users", "interactions")
        ):
            yield from unlike(f"rejects: the text of {row}", value, None)
        if values == "none":
            yield from unlike(f"rejects: the value of {row}", value, None)
        elif values == "hashed" and not re.fullmatch("[0-9a-f]{32}", value or "0" * 32):
            yield f"rejects: {value} is no hash"


def clean(reason: str, value: str | None) -> str | None:
    if value is None or reason in UNSHOWN:
        return None
    return unicodedata.normalize("NFC", value).strip() or None


# --- the manifest ----------------------------------------------------------------------------


def counts(found: Reference, folder: Path, manifest: Row) -> Iterator[str]:
    for table, wanted in found.counts.items():
        got = manifest["counts"][table] or {}
        yield from unlike(f"counts.{table}", {k: got.get(k) for k in wanted}, wanted)
    log = manifest["counts"]["interactions"]
    parts = ("kept", "unknown_item", "duplicate", "short_user", "rejected", "erased", "filtered")
    yield from unlike("interactions add up", sum(log[k] for k in parts), log["read"])
    for table in ("items", "users"):
        rows = manifest["counts"].get(table)
        if rows:
            total = rows["kept"] + rows["rejected"] + rows["erased"] + rows["filtered"]
            yield from unlike(f"{table} add up", total, rows["read"])
    yield from unlike("cuts", manifest["cuts"], found.cuts)
    reasons: Counter[str] = Counter()
    for (_, _, reason, _), count in found.rejects.items():
        reasons[reason] += count
    listed = {k: v for k, v in manifest["rejects"].items() if v}
    yield from unlike("manifest.rejects", listed, dict(reasons))
    entries = {(e["side"], e["name"]): e for e in manifest["features"]}
    yield from unlike("manifest.features", sorted(entries), sorted(found.features))
    for key, feature in found.features.items():
        got = entries.get(key, {})
        wanted = {
            "vocabulary_size": feature.size,
            "missing": feature.missing,
            "oov": feature.oov,
        }
        yield from unlike(f"manifest.features {key}", {k: got.get(k) for k in wanted}, wanted)


def manifest_files(folder: Path, manifest: Row) -> Iterator[str]:
    """The files are those that the manifest lists, and no others."""
    on_disk = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    listed = {f["path"] for f in manifest["files"]}
    yield from unlike("files", sorted(on_disk - {"manifest.json"}), sorted(listed))
    content = []
    for file in manifest["files"]:
        data = (folder / file["path"]).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        yield from unlike(file["path"] + " sha256", digest, file["sha256"])
        yield from unlike(file["path"] + " bytes", len(data), file["bytes"])
        if file["path"].endswith(".parquet"):
            rows = pq.read_metadata(folder / file["path"]).num_rows
            yield from unlike(file["path"] + " rows", rows, file["rows"])
        if file["path"].split("/")[0] in DATA:
            content.append(f"{file['path']} {file['sha256']}\n")
    digest = hashlib.sha256("".join(sorted(content)).encode()).hexdigest()
    yield from unlike("content_sha256", digest, manifest["content_sha256"])
    latest = json.loads((folder.parents[1] / "latest.json").read_text(encoding="utf-8"))
    yield from unlike("latest.json", latest, {"generation": folder.name})
    yield from unlike("manifest.generation", manifest["generation"], folder.name)
