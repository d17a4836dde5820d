"""Write a shop's tables as files of any format that the pipeline reads."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_schemas.testing.shop import Settings, Shop, spec_text

_COMPRESSION = {"gz": "gzip", "zst": "zstd"}


def write_shop(
    folder: str | Path,
    goods: Shop,
    settings: Settings | None = None,
    *,
    shuffle: int | None = None,
) -> Path:
    """Write a shop's tables and its spec into a folder.

    Args:
        folder: made if absent.
        goods: the shop.
        settings: of the files and the spec.
        shuffle: a seed to reorder the rows of every table; it remains the same shop.

    Returns:
        The path of the spec, `spec.yaml` in the folder.

    Raises:
        ValueError: an unknown format, or lists in a CSV file (make the shop with `joined=True`).
    """
    chosen, target = settings or Settings(), Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, table in goods.tables().items():
        if shuffle is not None:
            order = np.random.default_rng(shuffle).permutation(len(table))
            table = table.take(pa.array(order))
        suffix = chosen.format_of(name)
        for part in range(chosen.files):
            start = part * len(table) // chosen.files
            stop = (part + 1) * len(table) // chosen.files
            path = target / f"{name}-{part:05d}-of-{chosen.files:05d}.{suffix}"
            write_table(table.slice(start, stop - start), path)
    spec = target / "spec.yaml"
    spec.write_text(spec_text(goods, chosen), encoding="utf-8")
    return spec


def write_table(table: pa.Table, path: Path) -> None:
    """Write one table in the format of its suffix: parquet, csv or jsonl, optionally with .gz or .zst.

    Raises:
        ValueError: an unknown format, or lists in a CSV file.
    """
    plain, _, last = path.name.rpartition(".")
    compression = _COMPRESSION.get(last)
    kind = plain.rpartition(".")[2] if compression else last
    if kind == "parquet" and compression is None:
        pq.write_table(table, path)
        return
    if kind not in ("csv", "jsonl"):
        raise ValueError(f"format of {path.name}: expected parquet, csv or jsonl (.gz, .zst)")
    text = _csv_text(table) if kind == "csv" else _jsonl_text(table)
    with pa.output_stream(str(path), compression=compression) as stream:
        stream.write(text.encode("utf-8"))


def _csv_text(table: pa.Table) -> str:
    for field in table.schema:
        if pa.types.is_nested(field.type):
            raise ValueError(f"column {field.name!r} holds lists, which a CSV file cannot")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows(row.values() for row in table.to_pylist())
    return text.getvalue()


def _jsonl_text(table: pa.Table) -> str:
    lines = [json.dumps(row, ensure_ascii=False) for row in table.to_pylist()]
    return "".join(f"{line}\n" for line in lines)
