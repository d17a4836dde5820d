"""Vocabularies of other systems: found, checked, and read as the values that take the first ids, in the order of the file."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.batches import one_chunk
from heterrec_pipeline.reading.files import FileFormat, InputFile, opened, single_file, unreadable
from heterrec_pipeline.reading.formats.text import bad_utf8, lines
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.tokens import FIRST_FREE
from heterrec_schemas.value_columns import MAX_TEXT_BYTES, column_text
from heterrec_schemas.values import is_scalar

END_OF_IDS = 2**31
"""One more than the largest id: tokens are int32."""
_SHOWN = 8
"""Number of columns that a message names."""
_PART = re.compile(r"/part\.(\d+)\.parquet$")
_STAY = "so that the ids after it stay as they are"
_CUT = "Write it again with store_frequency=False, or cut them off: cut -d' ' -f2- OLD > NEW."


class ImportedVocabulary(NamedTuple):
    """The vocabulary of another system, as the first rows of a vocabulary of this build.

    Attributes:
        path: the full path of its file, or of the folder of its parts.
        files: its file, or the parts of it: text for one value per line, Parquet for NVTabular's.
        first: the first id.
        rows: number of values.
        integral: whether each value is the text of an int64.
    """

    path: str
    files: tuple[InputFile, ...]
    first: int
    rows: int
    integral: bool

    @property
    def shards(self) -> int:
        """Number of parts in which its rows are read: one, as they are checked together."""
        return 1

    @property
    def size(self) -> int:
        """The largest of its ids + 1."""
        return self.first + self.rows


class _Cells(NamedTuple):
    """The values of a file as they are, and the number of the first: lines are counted from 1, rows of Parquet from 0."""

    values: pa.Array
    first: int
    unit: str

    def at(self, positions: Sequence[int]) -> str:
        """Some of the values, by their places: texts may be erased ones."""
        shown = ", ".join(f"{self.first + k:,}" for k in positions[:3])
        more = f" and {len(positions) - 3:,} more" if len(positions) > 3 else ""
        return f"{self.unit}{'s' if len(positions) > 1 else ''} {shown}{more}"


def find_vocabulary(feature: CategoricalFeature, base: str) -> ImportedVocabulary | None:
    """The vocabulary that a feature imports, checked as a whole; None if it imports none.

    Args:
        feature: the feature.
        base: the input folder.

    Raises:
        DataError: the file is absent or cannot be read, or a value is missing, too long or repeated, or there are too many.
    """
    if feature.vocabulary is None:
        return None
    path = storage.plain_path(storage.join(storage.plain_path(base), feature.vocabulary.path))
    files = _files(feature, feature.vocabulary.format, path, base)
    where = f"feature {feature.name!r}: the vocabulary {feature.vocabulary.path}"
    cells = _cells(files, where)
    _check_lengths(cells, where)
    texts, _ = column_text(cells.values, feature.name)
    _check_texts(cells, texts, feature, where)
    first = FIRST_FREE + feature.oov_buckets
    if first + len(texts) > END_OF_IDS:
        raise DataError(
            f"{where} has too many values",
            got=f"{len(texts):,} values after {first:,} reserved ids",
            expected=f"ids below {END_OF_IDS:,}",
            todo="Leave the last values out of the file, or lower oov_buckets.",
        )
    plain = texts.cast(pl.Int64, strict=False).cast(pl.String)
    return ImportedVocabulary(
        path, files, first, len(texts), bool((plain == texts).fill_null(False).all())
    )


def imported_rows(vocabulary: ImportedVocabulary) -> pl.DataFrame:
    """Columns value (cleaned text) and id (int64) of an imported vocabulary.

    Raises:
        DataError: the file cannot be read.
    """
    name = vocabulary.files[0].name
    texts, _ = column_text(_cells(vocabulary.files, name).values, name)
    ids = pl.int_range(vocabulary.first, vocabulary.first + len(texts), eager=True, dtype=pl.Int64)
    return pl.DataFrame({"value": texts, "id": ids})


def _files(feature: CategoricalFeature, format: str, path: str, base: str) -> tuple[InputFile, ...]:
    """The file, or the parts of NVTabular's folder in their order."""
    kind: FileFormat = "text" if format == "tensorflow_transform" else "parquet"
    if (file := single_file(path, base, kind)) is not None:
        return (file,)
    names = [found.path for found in storage.matched(path, "part.*.parquet")]
    numbers = {int(m[1]): name for name in names if (m := _PART.search(name)) is not None}
    parts = [single_file(numbers[n], base, kind) for n in sorted(numbers)]
    if kind == "parquet" and parts:
        return tuple(part for part in parts if part is not None)
    raise DataError(
        f"feature {feature.name!r}: there is no vocabulary file {path}",
        got=storage.describe_missing(path),
        expected="one file" + (", or a folder of part.N.parquet" if kind == "parquet" else ""),
        todo="Check vocabulary.path in the spec and --input.",
    )


def _cells(files: Sequence[InputFile], where: str) -> _Cells:
    """The values of a vocabulary in their order."""
    if files[0].format == "text":
        return _Cells(_lines(files[0], where), 1, "line")
    return _uniques(files, where)


def _lines(file: InputFile, where: str) -> pa.Array:
    """The lines of a text file."""
    found = [pl.Series([], dtype=pl.String)]
    for block in lines(file):
        whole = b"\n".join(block)
        if b"\0" in whole:
            raise DataError(
                f"{where} is no text file",
                got="a NUL byte",
                expected="one value per line",
                todo="Write it with file_format='text', which is TensorFlow Transform's default.",
            )
        try:
            found.append(pl.Series(whole.decode("utf-8").split("\n"), dtype=pl.String))
        except UnicodeDecodeError:
            raise bad_utf8(file) or AssertionError(file.name) from None
    return pl.concat(found).to_arrow()


def _uniques(files: Sequence[InputFile], where: str) -> _Cells:
    """The values of Parquet files of Categorify.

    Older releases of NVTabular write a row for null at the beginning, as all do if there are no values.
    """
    found, end = [], None
    for file in files:
        with opened(file) as handle:
            table = pq.read_table(handle)
            table.validate(full=True)  # texts are UTF-8
        columns = _index_columns(file, table)
        index = _index(table, columns, where)
        start = end if index is None else index
        if end not in (None, start):
            raise _unordered(where, f"{file.name} begins with {start}, expected {end}")
        end = None if start is None else start + len(table)
        column = one_chunk(table, _value_column(table, columns, where))
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        found.append(pa.table({"values": column.cast(kind)}))
    try:
        values = one_chunk(pa.concat_tables(found, promote_options="permissive"), "values")
    except pa.ArrowException:
        raise SchemaMismatchError(
            f"{where} has parts of different types",
            got=", ".join(dict.fromkeys(str(t.schema.field("values").type) for t in found)),
            expected="one type",
        ) from None
    skipped = int(len(values) > 0 and not values[0].is_valid)
    return _Cells(values.slice(skipped), skipped, "row")


def _value_column(table: pa.Table, index: Sequence[Any], where: str) -> str:
    """The column of the values: the others are the index, and the number of rows of each value."""
    names = table.column_names
    columns = [n for n in names if n not in index and not _is_size(n, names)]
    if len(columns) == 1 and is_scalar(table.schema.field(columns[0]).type):
        return str(columns[0])
    shown = [f"{field.name} ({field.type})" for field in table.schema][:_SHOWN]
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    raise SchemaMismatchError(
        f"{where} is not NVTabular's",
        got=", ".join([*shown, *more]) or "no column",
        expected="one column of values, and perhaps its COLUMN_size, as in unique.COLUMN.parquet of Categorify",
        todo="A vocabulary of combinations of columns (encode_type='combo') is not read.",
    )


def _is_size(name: str, names: Sequence[str]) -> bool:
    return name.endswith("_size") and name.removesuffix("_size") in names


def _index_columns(file: InputFile, table: pa.Table) -> list[Any]:
    """The columns of the index of pandas: names, or ranges that are no columns."""
    try:
        meta = table.schema.pandas_metadata or {}
    except ValueError as error:  # no JSON
        raise unreadable(file, error, "its metadata of pandas are damaged") from None
    return list(meta.get("index_columns", []))


def _index(table: pa.Table, columns: Sequence[Any], where: str) -> int | None:
    """The first number of the index of pandas, which are the ids of NVTabular; None if there is none."""
    first = None
    for part in columns:
        if isinstance(part, dict):
            first = part.get("start")
        elif part in table.column_names and pa.types.is_integer(table[part].type) and len(table):
            numbers = pl.Series(table[part])
            if not (numbers.diff(null_behavior="drop") == 1).all():
                raise _unordered(where, f"{part} does not go up by one from row to row")
            first = numbers[0]
    return first


def _unordered(where: str, problem: str) -> DataError:
    return DataError(
        f"{where} is not in the order of its ids: {problem}",
        todo="Fit the workflow again, or copy the files that Categorify wrote.",
    )


def _check_lengths(cells: _Cells, where: str) -> None:
    if not pa.types.is_string(cells.values.type) and not pa.types.is_large_string(
        cells.values.type
    ):
        return
    sizes = pl.Series(cells.values).str.len_bytes()
    if long := (sizes > MAX_TEXT_BYTES).fill_null(False).arg_true().to_list():
        raise DataError(
            f"{where} has values that are too long",
            got=f"{sizes[long[0]]:,} bytes in {cells.at(long)}",
            expected=f"at most {MAX_TEXT_BYTES:,} bytes",
            todo=f"Replace such a value by an unused text, {_STAY}.",
        )


def _check_texts(cells: _Cells, texts: pl.Series, feature: CategoricalFeature, where: str) -> None:
    """Refuse values without an id of their own."""
    if texts.is_empty():
        raise DataError(f"{where} has no value", expected="at least one value")
    if cells.unit == "line" and _has_frequencies(texts):
        raise DataError(
            f"{where} has frequencies",
            got="a number before each value",
            expected="the value alone in each line",
            todo=_CUT,
        )
    if empty := texts.is_null().arg_true().to_list():
        raise DataError(
            f"{where} has missing values",
            got=f"nothing in {cells.at(empty)}",
            expected="a value that has more than blanks",
            todo=f"Write an unused text there, {_STAY}.",
        )
    if listed := texts.is_in(feature.missing_values).arg_true().to_list():
        raise DataError(
            f"{where} has values of missing_values, which have no id",
            got=cells.at(listed),
            todo=f"Remove them from missing_values, or write unused texts there, {_STAY}.",
        )
    if repeated := (~texts.is_first_distinct()).arg_true().to_list():
        first = int((texts == texts[repeated[0]]).arg_max() or 0)
        raise DataError(
            f"{where} has repeated values",
            got=f"the value of {cells.at([first])} also in {cells.at(repeated)}",
            expected="distinct values, without outer blanks and in Unicode's form NFC",
            todo=f"Decide which id the value keeps, and replace it elsewhere by an unused text, {_STAY}.",
        )


def _has_frequencies(texts: pl.Series) -> bool:
    """Whether lines are descending numbers, each before another value, as `store_frequency=True` writes them."""
    parts = texts.str.extract_groups(r"^(\d+(?:\.\d+)?) (.+)$").struct.unnest()
    numbers, values = parts.to_series(0).cast(pl.Float64), parts.to_series(1)
    if len(texts) < 2 or numbers.null_count():
        return False
    return numbers.is_sorted(descending=True) and values.is_unique().all()
