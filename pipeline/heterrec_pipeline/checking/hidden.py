"""What messages about columns may repeat of a file: nothing that the spec erases or keeps out of messages.

The names of columns are data where a CSV file lacks its header line.
"""

import re
from dataclasses import dataclass, replace

import polars as pl

from heterrec_pipeline.checking.file_schemas import FileSchema
from heterrec_pipeline.job import INTERACTIONS, USERS
from heterrec_pipeline.reading.erased import ErasedList, is_erased
from heterrec_pipeline.reading.looks_like import header_cells
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.values import clean_text


@dataclass(frozen=True)
class Hidden:
    """Says of names whether messages must not repeat them; by default of none.

    Attributes:
        lists: the lists of what the spec erases. One that cannot be read hides every name.
        everything: whether every name is hidden, as those of the lists themselves, of tables with hashed user ids, and of
            all tables if the spec keeps rejected texts out of messages.
    """

    lists: tuple[ErasedList, ...] = ()
    everything: bool = False

    def __bool__(self) -> bool:
        """Whether it may hide anything."""
        return self.everything or bool(self.lists)

    def __call__(self, name: str) -> bool:
        """Whether a name, or a part of it that may be a cell, is erased."""
        parts = [name, *header_cells(name), *re.findall(r"\w+", name)]
        texts = pl.Series([clean_text(part) for part in parts], dtype=pl.String)
        return self.everything or any(_may_erase(listed, texts) for listed in self.lists)


NOTHING_HIDDEN = Hidden()


def _may_erase(listed: ErasedList, texts: pl.Series) -> bool:
    try:
        return not listed.files or bool(is_erased(listed, texts).any())
    except HeterrecError:  # it is among the errors
        return True


def hidden_in(spec: FeatureSpec, lists: tuple[ErasedList, ...], table: str) -> Hidden:
    """What messages about the columns of a table must not repeat.

    Args:
        spec: the spec.
        lists: the lists of what it erases.
        table: the table.
    """
    has_ids = spec.hash_key is not None and table in (INTERACTIONS, USERS)
    return Hidden(lists, everything=has_ids or not spec.quotes_cells)


def without_cells(schema: FileSchema, hidden: Hidden) -> FileSchema:
    """The columns of a file, of whose cells only the places are known."""
    name, more = schema.file.name, "" if hidden.lists else " or hides"
    places = {
        column: re.match(rf"{re.escape(name)} row \d+", cell)
        for column, cell in schema.mixed_cells.items()
    }
    shown = {
        column: f"{place[0] if place else name}, which is not shown since it may hold what the spec erases{more}"
        for column, place in places.items()
    }
    return replace(schema, mixed_cells=shown)
