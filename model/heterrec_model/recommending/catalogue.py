"""The items of a catalogue: ids, and the values of their features, for filters and for people.

Shapes: N items of the catalogue, M retired items, P items.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_model.recommending.history import Key
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.values import value_text

Ints = npt.NDArray[np.int64]

NO_ROW = -1
"""Position of an id that is no item of the catalogue."""
MISSING_WORDS = "(missing)"
NESTED = " > "
"""Separator of the nodes of a path."""
KEY_COLUMNS = ("item_index", "item_id", "retired")
_NEAR = 2_000
"""Number of ids or values that a hint about a wrong one is searched in."""


class Catalogue:
    """The items in the order of their vectors.

    Args:
        table: columns item_index, item_id, retired, then one per feature: text, or lists of text; the catalogue first, in
            the order of item_index, then retired items.

    Attributes:
        item_index_N: int64, ascending.
        features: names of the features that `where` may use.
    """

    def __init__(self, table: pa.Table) -> None:
        retired = table["retired"].to_numpy()
        self._table = table.combine_chunks()
        self._size = int(len(table) - retired.sum())
        self.item_index_N: Ints = table["item_index"].to_numpy()[: self._size].astype(np.int64)
        self._retired_M: Ints = table["item_index"].to_numpy()[self._size :].astype(np.int64)
        self.features = [n for n in table.column_names if n not in KEY_COLUMNS]
        self._masks: dict[str, _Values] = {}

    def __len__(self) -> int:
        return self._size

    @cached_property
    def _row_of(self) -> dict[Key, int]:
        return {key: row for row, key in enumerate(self._table["item_id"].to_pylist())}

    @cached_property
    def _ids(self) -> pa.Array:
        return pa.concat_arrays(self._table["item_id"].chunks)

    @property
    def integral(self) -> bool:
        """Whether ids are integers."""
        return bool(pa.types.is_integer(self._table["item_id"].type))

    def key(self, item: Any) -> Key | None:
        """An id in the type of the catalogue; None if it can be no id."""
        return as_key(item, integral=self.integral)

    def item_index_of(self, item: Any) -> int | None:
        """The item_index of an id, retired items included; None if there is no such item."""
        key = self.key(item)
        row = None if key is None else self._row_of.get(key)
        return None if row is None else int(self._table["item_index"][row].as_py())

    def position_of(self, item: Any) -> int:
        """The position of an id in the catalogue; NO_ROW if it is retired or no item."""
        key = self.key(item)
        row = NO_ROW if key is None else self._row_of.get(key, NO_ROW)
        return row if row < self._size else NO_ROW

    def positions(self, items: Iterable[Any], what: str) -> Ints:
        """The positions of some ids, ascending; retired items are left out.

        Raises:
            CallError: an id is no item; near ids are suggested. `what` names the argument.
        """
        found = []
        for item in items:
            if self.item_index_of(item) is None:
                raise CallError(f"{what}: there is no item {item!r}", todo=self.hint(item))
            found.append(self.position_of(item))
        listed = np.unique(np.asarray(found, np.int64))
        kept: Ints = listed[listed != NO_ROW]
        return kept

    def positions_of_index(self, item_index_P: Ints) -> Ints:
        """The positions of the given item_index, those without a place in the catalogue left out."""
        found: Ints = self._places(item_index_P)[self.are_listed(item_index_P)]
        return found

    def are_listed(self, item_index_P: Ints) -> npt.NDArray[np.bool_]:
        """Whether the given item_index have a place in the catalogue."""
        if not self._size:
            return np.zeros(len(item_index_P), np.bool_)
        listed: npt.NDArray[np.bool_] = (
            self.item_index_N[self._places(item_index_P)] == item_index_P
        )
        return listed

    def _places(self, item_index_P: Ints) -> Ints:
        place = np.searchsorted(self.item_index_N, item_index_P)
        return np.minimum(place, max(self._size - 1, 0))

    def ids(self, position_P: Ints) -> list[Key]:
        """The ids at some positions."""
        taken: list[Key] = self.id_array(position_P).to_pylist()
        return taken

    def id_array(self, position_P: Ints) -> pa.Array:
        """The ids at some positions as an Arrow array."""
        taken: pa.Array = self._ids.take(pa.array(position_P))
        return taken

    def hint(self, item: Any) -> str:
        """Near ids of one that is no item."""
        return near(item, self._table["item_id"])

    def where(self, conditions: Mapping[str, Key | Sequence[Key]]) -> npt.NDArray[np.bool_]:
        """Which items have one of the values of every feature, bool [N].

        Raises:
            CallError: a feature or a value does not exist; near ones are suggested.
        """
        mask = np.ones(self._size, np.bool_)
        for name, wanted in conditions.items():
            if name not in self.features:
                raise CallError(
                    f"where: there is no feature {name!r} to filter by",
                    todo=suggest(name, self.features) or "The items have no such features.",
                )
            if name not in self._masks:
                self._masks[name] = _Values(self._table[name].slice(0, self._size))
            values = [wanted] if isinstance(wanted, str | int | float) else list(wanted)
            mask &= self._masks[name].having(name, values)
        return mask

    def words(self, item_index: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Items by item_index: item_id, item_index, and features in words.

        Of a path and its prefixes only the path is shown. Unknown item_index are left out.
        """
        found = self._table.take(pa.array(self._rows_of(sorted(set(map(int, item_index))))))
        columns = {
            name: [_shown(cell) for cell in found[name].to_pylist()] for name in self.features
        }
        keys = zip(found["item_index"].to_pylist(), found["item_id"].to_pylist(), strict=True)
        return {
            index: {
                "item_id": item_id,
                "item_index": index,
                "features": {name: columns[name][row] for name in self.features},
            }
            for row, (index, item_id) in enumerate(keys)
        }

    def _rows_of(self, item_index: Sequence[int]) -> Ints:
        """The rows of some item_index, those without a row left out."""
        wanted = np.asarray(item_index, np.int64)
        parts = []
        for start, known in ((0, self.item_index_N), (self._size, self._retired_M)):
            place = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
            inside = known[place] == wanted if len(known) else np.zeros(len(wanted), np.bool_)
            parts.append(place[inside] + start)
        return np.concatenate(parts)


class _Values:
    """The values of a feature as codes, for masks."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
        self._row_of: Ints | None = None
        if pa.types.is_list(array.type):
            self._row_of = array.value_parent_indices().to_numpy(zero_copy_only=False)
            flat = array.flatten()
        else:
            flat = array
        encoded = flat if pa.types.is_dictionary(flat.type) else flat.dictionary_encode()
        self._values = encoded.dictionary
        self._code_of = {value: code for code, value in enumerate(self._values.to_pylist())}
        self._codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self._rows = len(array)

    def having(self, name: str, wanted: Sequence[Any]) -> npt.NDArray[np.bool_]:
        """Which items have one of the values."""
        codes = []
        for value in wanted:
            text = value_text(value) if isinstance(value, str | int | float) else None
            if text is None or text not in self._code_of:
                raise CallError(
                    f"where: no item has {value!r} as {name}", todo=near(value, self._values)
                )
            codes.append(self._code_of[text])
        chosen = np.isin(self._codes, codes)
        if self._row_of is None:
            return chosen
        mask = np.zeros(self._rows, np.bool_)
        mask[self._row_of[chosen]] = True
        return mask


def as_key(value: Any, *, integral: bool) -> Key | None:
    """An id in the type of a table's key; None if it can be no key of the table."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = value_text(value)
    if text is None or not integral:
        return text
    digits = text.removeprefix("-")
    # only the text that the pipeline hashes is a key: neither 007 nor 1_000
    plain = digits.isascii() and digits.isdecimal() and str(int(text[:25])) == text[:25]
    return int(text) if plain and -(2**63) <= int(text[:25]) < 2**63 and len(text) < 21 else None


def near(given: Any, known: pa.Array | pa.ChunkedArray) -> str:
    """A hint of similar texts, or examples, among those with the same beginning: there may be millions."""
    texts = pc.drop_null(pc.cast(known, pa.string()))
    text = str(given)[:100]
    for length in range(len(text), -1, -1):
        alike = pc.filter(texts, pc.starts_with(texts, text[:length]))
        if len(alike):
            return suggest(text, alike[:_NEAR].to_pylist())
    return ""


def _shown(cell: str | list[str] | None) -> str:
    """A cell in words."""
    if not cell:
        return MISSING_WORDS
    if isinstance(cell, str):
        return cell
    ends = [v for v in cell if not any(other.startswith(v + NESTED) for other in cell)]
    return ", ".join(ends)
