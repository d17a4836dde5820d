"""ORC: the requested columns of some stripes, in batches of bounded size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.orc as paorc

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.batches import ReadBatch, columns_in
from heterrec_pipeline.reading.files import InputFile, unreadable
from heterrec_pipeline.reading.utf8 import without_bad_text

BATCH_BYTES = 16 * 2**20
"""Approximate bytes per batch."""
MIN_ROWS = 1024
"""Minimum number of rows per batch."""


@contextmanager
def opened(file: InputFile) -> Iterator[paorc.ORCFile]:
    """An ORC file.

    Raises:
        DataError: the file is truncated or not ORC.
    """
    try:
        with storage.open_arrow(file.path, mapped=False) as handle:
            yield paorc.ORCFile(handle)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error) from None


def schema(file: InputFile) -> pa.Schema:
    """The Arrow schema of a file; errors as in `opened`."""
    with opened(file) as found:
        return found.schema


def row_count(file: InputFile) -> int:
    """The number of rows of a file; errors as in `opened`."""
    with opened(file) as found:
        return int(found.nrows)


def read(file: InputFile, columns: Sequence[str]) -> Iterator[ReadBatch]:
    """The requested columns that an ORC file has (its first one, if it has none of them); one stripe is in memory at a time.

    Raises:
        SchemaMismatchError: the file lacks a required column, or has it twice.
        DataError: the file cannot be read.
    """
    row = 0
    with opened(file) as found:
        columns = columns_in(file, columns, found.schema.names) or found.schema.names[:1]
        # A name with a dot would be read as a path into a struct.
        chosen = None if any("." in c for c in columns) else list(columns)
        for k in range(found.nstripes):
            stripe = found.read_stripe(k, columns=chosen).select(list(columns))
            each = max(MIN_ROWS, BATCH_BYTES * len(stripe) // max(1, stripe.nbytes))
            for start in range(0, len(stripe), each):
                record = stripe.slice(start, each)
                rows = np.arange(row, row + len(record), dtype=np.int64)
                row += len(record)
                table, bad_text = without_bad_text(record, rows)
                yield ReadBatch(table, rows, [], bad_text=bad_text)
