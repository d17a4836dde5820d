"""The table of `rejects/`: every rejected row or cell in one file."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.shards import Written, write_shard
from heterrec_schemas.rejects import REJECTS_SCHEMA, VALUE_CHARACTERS, Reason
from heterrec_schemas.tables import shard_name, with_metadata
from heterrec_schemas.user_ids import UserKey
from heterrec_schemas.values import clean_text

RejectedCell = tuple[int, str, Reason, str | None]
"""Row number, column, reason, and the cell as text."""

SAMPLES = 3
"""Number of rejects that a message quotes."""


@dataclass(frozen=True)
class RejectValues:
    """What is told of rejected cells, in `rejects/` and in messages: the setting `rejects.values`.

    Attributes:
        values: their text, its hash, or nothing.
        key: the key of the hashes; needed for `hashed`.
    """

    values: Literal["full", "hashed", "none"] = "full"
    key: UserKey | None = None

    @property
    def quoted(self) -> bool:
        """Whether their text is told."""
        return self.values == "full"

    def told(self, cells: Iterable[RejectedCell]) -> list[RejectedCell]:
        """Rejected cells with what is told of them as text.

        Raises:
            CallError: this process lacks the key.
        """
        if self.quoted:
            return list(cells)
        return [(row, column, reason, self._told(text)) for row, column, reason, text in cells]

    def _told(self, text: str | None) -> str | None:
        cleaned = clean_text(text[:VALUE_CHARACTERS]) if text is not None else None
        if cleaned is None or self.values == "none":
            return None
        assert self.key is not None
        return self.key.hashes.cell(cleaned)


FULL = RejectValues()


def reject_in_words(
    file: str, row: int, column: str, value: str | None, *, told: bool = True
) -> str:
    """A reject as messages quote it; `column` is empty for a row that cannot be read, `told` false if no value is told."""
    where = f"{file} row {row}" + (f", column {column!r}" if column else "")
    if not told or (value is None and not column):
        return where
    return f"{where}: got {'nothing' if value is None else repr(value)}"


def sorted_rejects(tables: Iterable[pa.Table]) -> pl.DataFrame:
    """All entries as one frame, by source, file, row and column."""
    whole = pa.concat_tables([REJECTS_SCHEMA.empty_table(), *tables])
    return pl.DataFrame(pl.from_arrow(whole)).sort("source", "file", "row", "column")


def write_rejects_shard(root: str, rejects: pl.DataFrame) -> Written:
    """Write sorted entries below a folder; the file still has its temporary name."""
    schema = with_metadata(REJECTS_SCHEMA, "rejects")
    table = rejects.to_arrow().cast(REJECTS_SCHEMA).replace_schema_metadata(schema.metadata)
    return write_shard(root, f"rejects/{shard_name('rejects', 0, 1)}", table)
