"""Reasons why a row or a cell is rejected, and the table that records rejects."""

from enum import StrEnum

import pyarrow as pa


class Reason(StrEnum):
    """The reasons in `rejects/`, in the manifest's counts and in messages about bad rows."""

    MALFORMED_ROW = "malformed_row"
    """A CSV row with too few or too many fields, or a line that is not a JSON object."""
    MISSING_KEY = "missing_key"
    """No item, user or join key."""
    DUPLICATE_ITEM = "duplicate_item"
    """Another row of the same item, with other values, was kept."""
    DUPLICATE_ROW = "duplicate_row"
    """Another row of the same key of a joined table, with other values, was kept."""
    DUPLICATE_USER = "duplicate_user"
    """Another row of the same user, with other values, was kept."""
    NOT_UTF8 = "not_utf8"
    """A text cell of Parquet with bytes that are not UTF-8."""
    NOT_A_NUMBER = "not_a_number"
    """A numeric cell whose text is not a number."""
    WRONG_TYPE = "wrong_type"
    """A cell of a type that its feature cannot use."""
    WRONG_WIDTH = "wrong_width"
    """A vector whose length is not `dim`."""
    NON_FINITE = "non_finite"
    """A vector with NaN, an infinity or a null in it."""
    TIME_UNREADABLE = "time_unreadable"
    """A time that is absent or cannot be parsed."""
    TIME_OUT_OF_RANGE = "time_out_of_range"
    """A time before 1970-01-01 or not before 2200-01-01 (UTC)."""
    ORDER_UNREADABLE = "order_unreadable"
    """An `order` cell that is not an integer."""
    UNKNOWN_BEHAVIOUR = "unknown_behaviour"
    """A behaviour that the spec does not list."""
    UNKNOWN_ITEM = "unknown_item"
    """An interaction with an item outside the catalogue, under `unknown_items: reject`."""
    EXPRESSION_FAILED = "expression_failed"
    """A row for which an expression of its source has no result, such as a cast of text that is no number."""
    UNREADABLE_IMAGE = "unreadable_image"
    """An image to embed that is missing or cannot be decoded."""


REJECTS_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("column", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=True),
    ]
)
"""`source` is items, items.joins[k], interactions or users; `row` counts from 0 within its file."""

VALUE_CHARACTERS = 200
"""Number of characters of a rejected value that are recorded."""
