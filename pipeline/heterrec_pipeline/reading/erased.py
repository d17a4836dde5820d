"""What a spec erases: lists of keys and values, read once per process, and batches without the rows of listed keys.

Batches without the rows that the spec drops, too, and with hashed user ids: `read_live` yields the rows that other steps see.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.parts import once_a_process
from heterrec_pipeline.reading.batches import ReadBatch, one_chunk, without_texts
from heterrec_pipeline.reading.drops import Drop, without_dropped
from heterrec_pipeline.reading.files import InputFile, Split, split_file
from heterrec_pipeline.reading.read import read_split
from heterrec_pipeline.reading.user_ids import HashedIds, hashed_user_texts, with_hashed_ids
from heterrec_pipeline.text_lookup import Lookup
from heterrec_schemas.errors import DataError
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.rejects import Reason
from heterrec_schemas.user_ids import UserKey
from heterrec_schemas.value_columns import column_text

SPARE_BITS = 3
"""Bits of a hash beyond those of the size of a set: of 8 texts that are not in the set, about one is looked up."""


@dataclass(frozen=True)
class ErasedList:
    """A list of keys or values to erase. Workers get its files, and read them when they first need them.

    Attributes:
        name: erase.users, erase.items or erase.values.<vocabulary>.
        column: the column of the keys or values.
        files: its files.
        key: of user ids that are compared with hashed ones: the key of the hashes.
    """

    name: str
    column: str
    files: tuple[InputFile, ...]
    key: UserKey | None = None


NO_LIST = ErasedList("", "", ())
"""A list that names nothing."""


@dataclass(frozen=True)
class Gate:
    """What is erased of a table, which other rows are dropped, and what is hashed, before anything else sees its rows.

    Attributes:
        keys: columns of keys, each with the list of those whose rows are erased.
        values: columns with erased values; the rows stay, but no reject may repeat their text.
        drops: the rules by which further rows are dropped.
        user_ids: the ids that are hashed in the rows that are left; None if they are not.
    """

    keys: tuple[tuple[str, ErasedList], ...] = ()
    values: tuple[str, ...] = ()
    drops: tuple[Drop, ...] = ()
    user_ids: HashedIds | None = None

    @property
    def columns(self) -> list[str]:
        """The columns that decide."""
        return [*(column for column, _ in self.keys), *(drop.column for drop in self.drops)]

    def __bool__(self) -> bool:
        """Whether anything is erased."""
        return bool(self.keys or self.values)


NOTHING = Gate()
Met = dict[str, set[str]]
"""The erased texts that were met in rows, by the name of their list."""


class TextSet:
    """A set of texts; a few bits of their hash exclude most texts that are not in it.

    Shapes: N texts in the set, M texts per question.
    """

    def __init__(self, texts: pl.Series) -> None:
        """Take N distinct texts (no null)."""
        self.texts = texts
        self._exact = Lookup(texts, pl.int_range(len(texts), eager=True, dtype=pl.Int64))
        bits = len(texts).bit_length() + SPARE_BITS
        self._shift = np.uint64(64 - bits)
        self._taken = np.zeros(1 << bits, np.bool_)
        self._taken[self._prefixes(texts)] = True

    def _prefixes(self, texts: pl.Series) -> npt.NDArray[np.uint64]:
        return hash_texts(texts).fill_null(0).to_numpy() >> self._shift

    def contains(self, texts: pl.Series) -> npt.NDArray[np.bool_]:
        """Whether each of M texts is in the set; False for null."""
        found = self._taken[self._prefixes(texts)]
        at = np.flatnonzero(found)
        if len(at):
            found[at] = self._exact.find(texts.gather(at)).is_not_null().to_numpy()
        return found


@once_a_process
def erased(listed: ErasedList) -> TextSet:
    """The distinct cleaned texts of a list, or their hashes; nulls and empty texts are ignored.

    Raises:
        DataError: a row of the list cannot be read, so that what it names would not be erased.
    """
    found = [pl.Series([], dtype=pl.String)]
    for file in listed.files:
        for split in split_file(file):
            for batch in read_split(split, [listed.column]):
                _check_whole(listed, file, batch)
                found.append(column_text(batch.table[listed.column], listed.column)[0])
    texts = pl.concat(found).drop_nulls().unique()
    return TextSet(texts if listed.key is None else hashed_user_texts(texts, listed.key))


def _check_whole(listed: ErasedList, file: InputFile, batch: ReadBatch) -> None:
    """Refuse a row that cannot be read; the message does not repeat its text."""
    bad = [(b.row, b.reason) for b in (*batch.bad, *batch.short)]
    bad += [(row, Reason.NOT_UTF8) for row in batch.bad_text.get(listed.column, ())]
    if bad:
        row, reason = min(bad)
        raise DataError(
            f"{listed.name}: a list of what to erase cannot be read in full",
            got=f"{len(bad):,} bad row{'s' if len(bad) > 1 else ''} in {file.name}, the first is row {row}: {reason}",
            expected="a list without bad rows; the key or value of a bad row would not be erased",
            todo="Fix the file, or write it again.",
        )


def is_erased(listed: ErasedList, texts: pl.Series) -> npt.NDArray[np.bool_]:
    """Whether each of n cleaned texts is in a list; False for null."""
    return erased(listed).contains(texts)


def read_live(
    split: Split, columns: Sequence[str], gate: Gate, met: Met | None = None
) -> Iterator[ReadBatch]:
    """`read_split` without the erased and the dropped rows, whose numbers the batches have, and with hashed user ids.

    `met` takes the erased keys.
    """
    if not (gate or gate.drops or gate.user_ids):
        return read_split(split, columns)
    wanted = list(dict.fromkeys(columns))
    every = (live(batch, gate, met) for batch in read_split(split, [*wanted, *gate.columns]))
    return (batch._replace(table=batch.table.select(wanted)) for batch in every)


def live(batch: ReadBatch, gate: Gate, met: Met | None = None) -> ReadBatch:
    """A batch without its erased and dropped rows and with hashed user ids, without the texts that may contain either.

    The text of a malformed row may name an erased key or value, since the row has no cells that could be compared.

    Args:
        batch: n rows with the gate's columns.
        gate: what is erased and dropped.
        met: takes the erased keys.
    """
    batch = without_dropped(_without_erased(batch, gate, met) if gate else batch, gate.drops)
    return batch if gate.user_ids is None else with_hashed_ids(batch, gate.user_ids)


def _without_erased(batch: ReadBatch, gate: Gate, met: Met | None) -> ReadBatch:
    batch = _without_erased_failures(without_texts(batch, gate.values), gate, met)
    if not len(batch.rows):
        return batch
    dead = np.zeros(len(batch.rows), np.bool_)
    for column, listed in gate.keys:
        texts, _ = column_text(one_chunk(batch.table, column), column)
        dead |= _found(listed, texts, met)
    count = int(dead.sum())
    if not count:
        return batch
    gone = set(batch.rows[dead].tolist())
    return batch._replace(
        table=batch.table.filter(pa.array(~dead)),
        rows=batch.rows[~dead],
        short=[b for b in batch.short if b.row not in gone],
        bad_text={
            column: {row: text for row, text in cells.items() if row not in gone}
            for column, cells in batch.bad_text.items()
        },
        erased=batch.erased + count,
    )


def _without_erased_failures(batch: ReadBatch, gate: Gate, met: Met | None) -> ReadBatch:
    """A batch without the rows for which an expression fails and whose key is erased: no check comes before erasure."""
    if not any(b.texts for b in batch.bad):
        return batch
    dead = np.zeros(len(batch.bad), np.bool_)
    for column, listed in gate.keys:
        texts = pl.Series([b.texts.get(column) for b in batch.bad], dtype=pl.String)
        dead |= _found(listed, texts, met)
    bad = [b for b, gone in zip(batch.bad, dead.tolist(), strict=True) if not gone]
    return batch._replace(bad=bad, erased=batch.erased + int(dead.sum()))


def _found(listed: ErasedList, texts: pl.Series, met: Met | None) -> npt.NDArray[np.bool_]:
    """Whether each of n texts is in a list; `met` takes those that are."""
    found = is_erased(listed, texts)
    if met is not None:
        met.setdefault(listed.name, set()).update(texts.filter(found))
    return found
