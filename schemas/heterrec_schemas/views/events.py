"""The interactions of a generation, one row each, with the part of the split that they belong to."""

from collections.abc import Iterator

import polars as pl

from heterrec_schemas.errors import CallError
from heterrec_schemas.feature_spec import LeaveOneOut
from heterrec_schemas.generation import Generation
from heterrec_schemas.tokens import FIRST_FREE

PARTS = ("train", "validation", "test")
"""Values of the column `split`."""


def item_keys(generation: Generation) -> pl.DataFrame:
    """item_index and item_id of all items with a row, those of the catalogue and retired ones."""
    paths = generation.known_item_shards()
    return pl.DataFrame(pl.from_arrow(generation.read(paths, ["item_index", "item_id"])))


def events(generation: Generation) -> Iterator[pl.DataFrame]:
    """The interactions of sequences/latest by shard, in its order: oldest first within a user.

    Columns: user_id, item_id, timestamp_ms, behaviour (text, if the spec declares it), split (one of `PARTS`). They are
    each user's last `max_length` interactions. Interactions with items outside the catalogue have no key, and are left out.

    Raises:
        CallError: the split is leave-one-out, and `max_length` is too short to tell its parts.
    """
    spec = generation.spec
    if isinstance(spec.split, LeaveOneOut) and spec.sequences.max_length < len(PARTS):
        raise CallError(
            "sequences.max_length",
            got=spec.sequences.max_length,
            expected="at least 3, since shorter histories do not tell their last two interactions",
        )
    keys = item_keys(generation)
    columns = ["user_id", "item_index", "timestamp_ms"]
    behaviour = spec.interactions.behaviour
    if behaviour is not None:
        columns.append("behaviour")
    for path in generation.sequence_shards("latest"):
        rows = pl.DataFrame(pl.from_arrow(generation.read([path], columns)))
        rows = rows.with_columns(
            position=pl.int_ranges(pl.col("item_index").list.len()),
            length=pl.col("item_index").list.len().cast(pl.Int64),
        ).explode([*columns[1:], "position"])
        rows = rows.with_columns(split=_part(generation))
        if behaviour is not None:
            names = dict(enumerate(behaviour.values, FIRST_FREE))
            texts = pl.col("behaviour").replace_strict(names, return_dtype=pl.String)
            rows = rows.with_columns(behaviour=texts)
        rows = rows.join(keys, on="item_index", how="inner", maintain_order="left")
        yield rows.select("user_id", "item_id", *columns[2:], "split")


def _part(generation: Generation) -> pl.Expr:
    """The part of the split, from columns position, length and timestamp_ms."""
    if isinstance(generation.spec.split, LeaveOneOut):
        after = pl.col("length") - pl.col("position") - 1
        long = pl.col("length") >= len(PARTS)
        is_test, is_validation = long & (after == 0), long & (after == 1)
    else:
        cuts = generation.manifest.cuts
        time = pl.col("timestamp_ms")
        is_test = time >= cuts["test_at_ms"]
        is_validation = ~is_test & (time >= cuts["validation_at_ms"])
    train, validation, test = map(pl.lit, PARTS)
    return pl.when(is_test).then(test).when(is_validation).then(validation).otherwise(train)
