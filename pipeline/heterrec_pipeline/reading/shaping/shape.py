"""The rows of a source as its spec describes them.

Over the rows of a file, in this order: the columns of its folders (before its own), fields of structs by dotted names,
`unnest`, `columns`, `where`. Only what is needed is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.reading.batches import BadRow, ReadBatch
from heterrec_pipeline.reading.column_types import as_in_source
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.shaping.arrow_rows import RawRows, Read, Rows, arrow_rows
from heterrec_pipeline.reading.shaping.by_type import evaluate_by_type
from heterrec_pipeline.reading.shaping.cells import (
    Cells,
    as_arrow,
    from_file,
    in_words,
)
from heterrec_pipeline.reading.shaping.evaluate import Mask
from heterrec_pipeline.reading.shaping.json_rows import json_rows
from heterrec_pipeline.reading.shaping.nested import ELEMENTS, flattened, unnested
from heterrec_pipeline.reading.shaping.partitions import partition_values
from heterrec_schemas.errors import SchemaMismatchError, suggest
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.feature_spec.expressions import columns_of
from heterrec_schemas.rejects import Reason
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import is_scalar

WHERE = "where"
"""The name of the condition in `rejects/`."""


@dataclass(frozen=True)
class Request:
    """What is to be read of a source.

    All of its expressions are evaluated whatever is wanted, so that every reading of a row finds the same failures.

    Attributes:
        source: the source.
        wanted: the columns of the result.
    """

    source: Source
    wanted: tuple[str, ...]

    @property
    def passed(self) -> list[str]:
        """The wanted columns that are no expressions."""
        return [c for c in self.wanted if c not in self.source.columns]

    @property
    def roots(self) -> list[str]:
        """The columns that expressions read."""
        found = [c for text in self.source.columns.values() for c in columns_of(text)]
        if self.source.where is not None:
            found += [c for c in columns_of(self.source.where) if c not in self.source.columns]
        return list(dict.fromkeys(found))


def source_types(file: InputFile, types: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """The columns of a file by the names that a spec uses: fields by dotted names, and those of its folders before its own.

    Args:
        file: the file.
        types: its columns; of JSON lines, with members and elements by their dotted names.

    Raises:
        SchemaMismatchError: the file lacks the list to unnest.
    """
    found = dict(types)
    unnest = file.source.unnest if file.source else None
    if unnest is not None and file.format != "jsonl":
        with_elements = unnested(types, unnest)
        if with_elements is None:
            raise SchemaMismatchError(
                f"{file.name}: column {unnest!r} cannot be unnested",
                got=types.get(unnest, "no such column"),
                expected="lists",
                todo=None if unnest in types else suggest(unnest, list(flattened(types))),
            )
        found = with_elements
    folders = dict.fromkeys(partition_values(file.name), pa.string())
    return flattened(found) | folders


def root_columns(source: Source | None, columns: Sequence[str]) -> set[str]:
    """The names that the columns of a file may have which some columns of its source need."""
    if source is None:
        return set(columns)
    asked = Request(source, tuple(columns))
    names = [*asked.passed, *asked.roots, *([source.unnest] if source.unnest else [])]
    return {*names, *(name.split(".")[0] for name in names)}


def is_plain(file: InputFile, columns: Sequence[str]) -> bool:
    """Whether the columns are those of the file as they are, and all of its rows count."""
    source = file.source
    if source is None:
        return True
    if source.unnest is not None or source.where is not None or source.columns:
        return False
    folders = partition_values(file.name)
    return not any("." in c or c in folders for c in columns)


def physical_rows(file: InputFile, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The numbers of the rows of a file that n row numbers are of: with `unnest`, several elements are of one."""
    unnested = file.source is not None and file.source.unnest is not None
    return rows // ELEMENTS if unnested else rows


def shaped(split: Split, wanted: Sequence[str], read: Read) -> Iterator[ReadBatch]:
    """The rows of a split with the wanted columns, each a single array.

    Args:
        split: the split.
        wanted: the columns.
        read: reads columns of the file.

    Raises:
        SchemaMismatchError: the file lacks a column, or an expression does not fit its types.
    """
    file = split.file
    assert file.source is not None
    asked = Request(file.source, tuple(wanted))
    if file.format == "jsonl":
        raw = json_rows(file, asked.passed, asked.roots)
    else:
        raw = arrow_rows(split, [*asked.passed, *asked.roots], read)
    for rows in raw:
        yield _selected(file, asked, rows)


def _selected(file: InputFile, asked: Request, raw: RawRows) -> ReadBatch:
    """Derive the columns of n raw rows, and keep those for which `where` is true."""
    failures: dict[int, BadRow] = {}
    derived: dict[str, Cells] = {}
    keep = np.ones(len(raw.rows), np.bool_)
    where = asked.source.where
    if asked.source.columns or where is not None:
        seen = _seen(file, asked, raw, failures)
        for name, text in asked.source.columns.items():
            derived[name] = _evaluated(file, seen, (name, text), raw, failures)
        if where is not None:
            found = _evaluated(file, seen | derived, (WHERE, where), raw, failures, condition=True)
            keep, null = _true_and_null(found, len(raw.rows))
            # A row that ends early is malformed if a cell that it lacks leaves the condition open.
            unknown = set(raw.rows[null].tolist())
            failures = {b.row: b for b in raw.short if b.row in unknown} | failures
    failed = np.isin(raw.rows, np.fromiter(failures, np.int64, len(failures)))
    arrays = [
        as_arrow(derived[c], c, file.name) if c in derived else raw.columns[c] for c in asked.wanted
    ]
    cells = dict(zip(asked.wanted, arrays, strict=True))
    batch = ReadBatch(
        pa.RecordBatch.from_arrays(arrays, names=list(asked.wanted)),
        raw.rows,
        [*raw.bad, *_with_texts(failures, cells, raw.rows, failed, file)],
        raw.short,
        {c: texts for c, texts in raw.bad_text.items() if c in asked.passed},
        filtered=int((~keep & ~failed).sum()),
    )
    keep &= ~failed
    return batch if keep.all() else _kept(batch, keep)


def _true_and_null(cells: Cells, count: int) -> tuple[Mask, Mask]:
    """[n] Whether a condition is true, and whether it is null."""
    true, null = np.zeros(count, np.bool_), np.ones(count, np.bool_)
    for part in cells.parts:
        if part.dtype == pl.Boolean:
            true |= part.fill_null(False).to_numpy()
            null &= part.is_null().to_numpy()
    return true, null


def _with_texts(
    failures: Mapping[int, BadRow],
    cells: Mapping[str, pa.Array],
    rows: Rows,
    failed: Mask,
    file: InputFile,
) -> Iterator[BadRow]:
    """The rows for which an expression fails, with the texts of their cells."""
    texts: dict[str, list[str | None]] = {}
    for name, column in cells.items() if failures else ():
        own = as_in_source(column.filter(pa.array(failed)), name, file, None)
        if is_scalar(own.type):
            texts[name] = column_text(own, name)[0].to_list()
    for at, row in enumerate(rows[failed].tolist()):
        found = {name: text for name, some in texts.items() if (text := some[at]) is not None}
        yield failures[row]._replace(texts=found)


def _seen(
    file: InputFile, asked: Request, raw: RawRows, failures: dict[int, BadRow]
) -> dict[str, Cells]:
    """The columns that expressions read; rows with cells that they cannot read fail."""
    seen = dict(raw.seen)
    for name in asked.roots:
        for row, text in raw.bad_text.get(name, {}).items():
            failures.setdefault(row, BadRow(row, Reason.NOT_UTF8, text, name))
        for at, text in raw.unseen.get(name, {}).items():
            row = int(raw.rows[at])
            failures.setdefault(row, BadRow(row, Reason.EXPRESSION_FAILED, text, name))
        if name not in seen:
            column = raw.columns[name]
            seen[name] = Cells((from_file(column, empty_is_null=file.format == "csv"),))
    return seen


def _evaluated(
    file: InputFile,
    columns: Mapping[str, Cells],
    expression: tuple[str, str],
    raw: RawRows,
    failures: dict[int, BadRow],
    *,
    condition: bool = False,
) -> Cells:
    """The results of an expression, given with its name; rows for which it fails are added to `failures`."""
    name, text = expression
    each = file.format == "jsonl"
    found = evaluate_by_type(columns, len(raw.rows), text, condition=condition, blank_is_null=each)
    if found.problem is not None and not (each and found.problem.of_rows):
        raise found.problem.error(f"{file.name}: {name}")
    names = columns_of(text)
    for at in np.flatnonzero(found.failed).tolist():
        row = int(raw.rows[at])
        words = in_words({n: columns[n].cell(at) for n in names})
        failures.setdefault(row, BadRow(row, Reason.EXPRESSION_FAILED, words, name))
    return found.values


def _kept(batch: ReadBatch, keep: Mask) -> ReadBatch:
    """Some of the rows of a batch, with what is wrong with them."""
    rows = batch.rows[keep]
    left = set(rows.tolist()) if batch.short or batch.bad_text else set()
    return batch._replace(
        table=batch.table.filter(pa.array(keep)) if batch.table.num_columns else batch.table,
        rows=rows,
        short=[b for b in batch.short if b.row in left],
        bad_text={
            c: {row: text for row, text in texts.items() if row in left}
            for c, texts in batch.bad_text.items()
        },
    )
