"""ORC: the requested columns, in batches of bounded size."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.orc as paorc
from pyarrow.dataset import OrcFileFormat

from heterrec_pipeline.reading.batches import Columns, ReadBatch, columns_in
from heterrec_pipeline.reading.files import InputFile, opened
from heterrec_pipeline.reading.formats.utf8 import without_bad_text

BATCH_BYTES = 16 * 2**20
"""Approximate bytes per batch."""
PIECE_ROWS = 256
"""Number of rows that are decoded at once."""
MAX_ROWS = 65_536
"""Number of rows after which a batch ends."""


def schema(file: InputFile) -> pa.Schema:
    """The Arrow schema of a file.

    Raises:
        DataError: the file is truncated or not ORC.
    """
    with opened(file) as handle:
        return paorc.ORCFile(handle).schema


def row_count(file: InputFile) -> int:
    """The number of rows of a file; errors as in `schema`."""
    with opened(file) as handle:
        return int(paorc.ORCFile(handle).nrows)


def read(file: InputFile, columns: Columns) -> Iterator[ReadBatch]:
    """The requested columns of an ORC file, in batches of about 16 MB.

    Raises:
        SchemaMismatchError: the file lacks a column, or has it twice.
        DataError: the file cannot be read.
    """
    row = 0
    for record in _joined(_pieces(file, columns)):
        rows = np.arange(row, row + len(record), dtype=np.int64)
        row += len(record)
        table, bad_text = without_bad_text(record, rows)
        yield ReadBatch(table, rows, [], bad_text=bad_text)


def _pieces(file: InputFile, columns: Columns) -> Iterator[pa.RecordBatch]:
    """Batches of few rows: a long text may stand once in a stripe for all of its rows."""
    with opened(file) as handle:
        fragment = OrcFileFormat().make_fragment(handle)
        found = fragment.physical_schema
        yield from fragment.to_batches(
            columns=columns_in(file, columns, found) or found.names[:1],
            batch_size=PIECE_ROWS,
            batch_readahead=1,
            fragment_readahead=1,
            use_threads=False,
        )


def _joined(pieces: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Pieces joined to batches of about `BATCH_BYTES`."""
    held: list[pa.RecordBatch] = []
    size = rows = 0
    for piece in pieces:
        held.append(piece)
        size, rows = size + piece.nbytes, rows + len(piece)
        if size >= BATCH_BYTES or rows >= MAX_ROWS:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()
            held, size, rows = [], 0, 0
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()
