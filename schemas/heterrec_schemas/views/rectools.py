"""RecTools' `Dataset`."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from heterrec_schemas.feature_spec import EmbeddingFeature, Feature
from heterrec_schemas.generation import Generation
from heterrec_schemas.views.events import events
from heterrec_schemas.views.libraries import library


def to_rectools(generation: Generation) -> Any:
    """The interactions and features of a generation as a `rectools.dataset.Dataset`, in memory.

    Its interactions are the rows of `events` with weight 1 and, as further columns, `split` and `behaviour`. Categorical and
    numeric features are categorical features with their tokens as values; embeddings are left out. Features of items and
    users without interactions are left out, since RecTools requires interactions of both.

    Raises:
        CallError: rectools is not installed, or the interactions have no parts: see `events`.
    """
    datasets = library("rectools.dataset", "rectools")
    log = pl.concat(events(generation)).with_columns(
        weight=pl.lit(1.0), datetime=pl.from_epoch("timestamp_ms", time_unit="ms")
    )
    spec = generation.spec
    of_items = [f for f in spec.items.features if not isinstance(f, EmbeddingFeature)]
    of_users = [f for f in spec.user_features if not isinstance(f, EmbeddingFeature)]
    named: dict[str, Any] = {}
    for side, features, prefix, paths in (
        ("item", of_items, "", generation.known_item_shards()),
        ("user", of_users, "user_", generation.sequence_shards("latest")),
    ):
        if features:
            columns = [f"{side}_id", *(f"{prefix}{f.name}" for f in features)]
            rows = pl.DataFrame(pl.from_arrow(generation.read(paths, columns)))
            rows = rows.join(log, on=f"{side}_id", how="semi", maintain_order="left")
            long = _long(rows, f"{side}_id", features, prefix)
            named[f"{side}_features_df"] = _pandas(long)
            named[f"cat_{side}_features"] = [f.name for f in features]
    return datasets.Dataset.construct(
        _pandas(log.drop("timestamp_ms")), keep_extra_cols=True, **named
    )


def _long(rows: pl.DataFrame, key: str, features: Sequence[Feature], prefix: str) -> pl.DataFrame:
    """One row per token: id, feature, value."""
    parts = []
    for feature in features:
        name = f"{prefix}{feature.name}"
        part = rows.select(pl.col(key).alias("id"), pl.col(name).alias("value"))
        if isinstance(part["value"].dtype, pl.List):
            part = part.explode("value")
        parts.append(part.select("id", pl.lit(feature.name).alias("feature"), "value"))
    return pl.concat(parts)


def _pandas(rows: pl.DataFrame) -> Any:
    """The rows in pandas, which RecTools requires."""
    pandas = library("pandas", "pandas")
    return pandas.DataFrame({name: rows[name].to_numpy() for name in rows.columns})
