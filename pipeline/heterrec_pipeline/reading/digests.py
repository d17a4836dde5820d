"""Digests: what reading a split has found, stored in `state/` so that a refresh need not parse an unchanged file again.

A digest is an Arrow stream. Each of its batches holds rows, and as JSON the reports on them, such as rejected cells.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files import storage
from heterrec_pipeline.files.shards import Written, temporary_name
from heterrec_pipeline.reading.erased import ErasedList, is_erased
from heterrec_pipeline.reading.files import InputFile, Split, split_file
from heterrec_pipeline.reading.shaping.partitions import partition_values
from heterrec_pipeline.telemetry.recorder import READ, WRITTEN, moving
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.manifest import STATE, InputEntry

REJECTED = ("bad", "cells")
"""The reports that list rejected rows and cells."""
ABOUT = b"about"
"""The key of a batch's reports."""


class Digested(NamedTuple):
    """A batch of a digest: its rows, and the reports on them."""

    rows: pa.RecordBatch
    about: dict[str, Any]

    def rejects(self) -> list[tuple[int, str, str, str | None]]:
        """The rejected rows and cells: row, column, reason and text."""
        return [tuple(cell) for name in REJECTED for cell in self.about.get(name, ())]


@dataclass(frozen=True)
class Reading:
    """A way of reading a table, which digests are made by.

    Attributes:
        name: its name: a table of the job, or `interactions.items` for the items of a denormalised log.
        sha256: of all that decides what it finds in a file besides the file's bytes.
        erased: the columns of its digests with keys and values that may be erased.
    """

    name: str
    sha256: str
    erased: tuple[tuple[str, ErasedList], ...] = ()

    @property
    def folder(self) -> str:
        """The folder of its digests, relative to a generation's."""
        return f"{STATE}/{reading_slug(self.name)}-{self.sha256[:16]}"

    def path(self, name: str, split: Split) -> str:
        """The path of the digest of a split, relative to a generation's folder; `name` is that of the file."""
        file = split.file
        number = stable_hash(name, file.format, file.compression or "", str(split.first_row))
        return f"{self.folder}/{number:016x}.arrow"


def reading_slug(name: str) -> str:
    """The name of a reading in paths."""
    return name.replace("[", "-").replace("]", "")


def reading_of(path: str) -> str:
    """The slug of the reading of a digest, by its path in the generation."""
    return path.split("/")[1].rpartition("-")[0]


class Held(NamedTuple):
    """Size and hash of a digest that a parent holds."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Reuse:
    """What a refresh can take over from its parent.

    Attributes:
        root: the folder of the refresh.
        parent: the folder of the parent.
        files: the unchanged files: path to entry among the parent's inputs.
        held: the parent's digests by path, relative to its folder.
        anew: the names of readings with embeddings that are fitted anew.
        why: why nothing is taken over; empty otherwise.
    """

    root: str
    parent: str
    files: Mapping[str, InputEntry] = field(default_factory=dict)
    held: Mapping[str, Held] = field(default_factory=dict)
    anew: frozenset[str] = frozenset()
    why: str = ""


class NotReusedError(Exception):
    """Why a file is parsed again."""


class TakenOver(NamedTuple):
    """The splits of an unchanged file with their digests, which are files of the refresh."""

    splits: list[Split]
    digests: list[Written]


def take_over(reuse: Reuse, readings: tuple[Reading, ...], file: InputFile) -> TakenOver:
    """The splits of a file with copies of their digests, if the parent has them all.

    Raises:
        NotReusedError: it has not, one of them is damaged, or names what is erased now.
        DataError: a Parquet file cannot be read.
    """
    if reuse.why:
        raise NotReusedError(reuse.why)
    if file.path not in reuse.files:
        raise NotReusedError("new or changed")
    if partition_values(reuse.files[file.path].path) != partition_values(file.name):
        raise NotReusedError("in another partition")
    done = TakenOver([], [])
    try:
        for split in split_file(file):
            copies = [_copied(reuse, reading, split, done.digests) for reading in readings]
            done.splits.append(replace(split, digests=tuple(copies)))
    except NotReusedError:
        storage.delete_files(d.temporary for d in done.digests)
        raise
    return done


def _copied(reuse: Reuse, reading: Reading, split: Split, done: list[Written]) -> tuple[str, str]:
    """Copy one digest: (name of the reading, path)."""
    if reading.name in reuse.anew:
        raise NotReusedError("with an embedding to fit anew")
    of_parent = reading.path(reuse.files[split.file.path].path, split)
    if of_parent not in reuse.held:
        known = any(p.startswith(f"{reading.folder}/") for p in reuse.held)
        raise NotReusedError("without state" if known else "read in another way")
    held, path = reuse.held[of_parent], reading.path(split.file.name, split)
    copy = temporary_name(reuse.root, path)
    done.append(Written(copy, path, -1, *held))
    try:
        with moving(WRITTEN, f"copy {path}", STATE) as moved:
            if storage.copy(storage.join(reuse.parent, of_parent), copy) != held.sha256:
                raise NotReusedError("damaged state")
            moved.add(0, held.bytes)
    except FileNotFoundError:
        raise NotReusedError("missing state") from None
    if _names_erased(reading, copy):
        raise NotReusedError("with something to erase")
    return reading.name, copy


def _names_erased(reading: Reading, path: str) -> bool:
    """Whether a digest has something that is erased now, or rejected text that may name it."""
    if not reading.erased:
        return False
    for batch in digested(path):
        if any(text is not None for *_, text in batch.rejects()):
            return True
        # A log without a readable row has a digest without columns.
        for column, listed in reading.erased if len(batch.rows) else ():
            if is_erased(listed, digest_texts(batch.rows[column])).any():
                return True
    return False


def digest_texts(column: pa.Array) -> pl.Series:
    """The texts of a column of texts, of a dictionary of texts, or of lists of one."""
    while pa.types.is_nested(column.type):
        column = column.flatten()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary
    return pl.Series(column, dtype=pl.String)


def digest_of(split: Split, reading: Reading | None) -> str | None:
    """The path of a split's digest; None if it has to be parsed."""
    return dict(split.digests).get(reading.name) if reading is not None else None


def digested(path: str) -> Iterator[Digested]:
    """The batches of a digest; on a local disk they are mapped into memory."""
    with moving(READ, "read a digest") as moved, storage.open_arrow(path) as handle:
        reader = pa.ipc.open_stream(handle)
        while True:
            try:
                batch, about = reader.read_next_batch_with_custom_metadata()
            except StopIteration:
                return
            moved.add(len(batch), batch.nbytes)
            yield Digested(batch, json.loads(about[ABOUT]))


class DigestWriter:
    """Writes the digest of a split while it is parsed; with a reading of None, nothing.

    A split with something that is erased leaves no digest: its text must not outlive the next refresh.
    """

    def __init__(self, root: str, reading: Reading | None, split: Split) -> None:
        """Write below the folder of a generation."""
        self._root, self._reading, self._split = root, reading, split
        self._stack = ExitStack()
        self._out: storage.HashedFile | None = None
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._temporary = ""

    def add(self, batch: Digested, *, erased: bool) -> None:
        """Append a batch; nothing is left if something of it was `erased`."""
        if erased:
            self.drop()
        if self._reading is None:
            return
        if self._writer is None:
            path = self._reading.path(self._split.file.name, self._split)
            self._temporary = temporary_name(self._root, path)
            self._moved = self._stack.enter_context(moving(WRITTEN, f"write {path}", STATE))
            self._out = self._stack.enter_context(storage.open_write(self._temporary))
            sink = pa.PythonFile(self._out, mode="w")
            self._writer = pa.ipc.new_stream(sink, batch.rows.schema.remove_metadata())
        rows = batch.rows.replace_schema_metadata(None)
        about = {ABOUT: json.dumps(batch.about, ensure_ascii=False)}
        self._writer.write_batch(rows, custom_metadata=about)

    def drop(self) -> None:
        """Write nothing, and delete what was written."""
        self._reading = None
        if self._writer is not None:
            self._close()
            storage.delete_files([self._temporary])

    def _close(self) -> None:
        assert self._writer is not None
        assert self._out is not None
        self._writer.close()
        self._moved.add(0, self._out.size)
        self._stack.close()
        self._writer = None

    def finish(self) -> Iterator[Written]:
        """The written file, if any."""
        if self._writer is None or self._reading is None:
            return
        self._close()
        assert self._out is not None
        path = self._reading.path(self._split.file.name, self._split)
        yield Written(self._temporary, path, -1, self._out.size, self._out.sha256)
