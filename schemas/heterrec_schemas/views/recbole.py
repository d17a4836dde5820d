"""RecBole's atomic files: text tables whose header names a type per column."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl
import yaml

from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    LeaveOneOut,
)
from heterrec_schemas.generation import Generation
from heterrec_schemas.views.events import events
from heterrec_schemas.views.new_folder import new_folder

BENCHMARK = {"train": "train", "validation": "valid", "test": "test"}
"""Parts of the split to the suffixes of `benchmark_filename`."""
_READ_AS_MISSING = frozenset(
    "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null".split(
        "|"
    )
)
"""Texts that pandas, with which RecBole reads, takes for missing cells."""


def write_recbole(generation: Generation, output: str | Path) -> dict[str, int]:
    """Write a folder of atomic files; its name is that of RecBole's data set, its parent RecBole's `data_path`.

    `NAME.inter` has the rows of `events`; `NAME.train.inter`, `NAME.valid.inter` and `NAME.test.inter` the same rows by
    split. `NAME.item`, and `NAME.user` if the spec declares features of users, have the features' tokens as text.
    `recbole.yaml` has the settings to load them.

    Returns:
        Number of rows by file.

    Raises:
        CallError: the output exists, or the interactions have no parts: see `events`.
        DataError: RecBole would read a key as missing.
        RunError: a file cannot be written.
    """
    with new_folder(output) as folder:
        rows = _write_interactions(generation, folder)
        features = generation.spec.items.features
        tables = (
            _tokens(pl.DataFrame(pl.from_arrow(table)), "item_id", features, "")
            for path in generation.known_item_shards()
            for table in generation.row_groups(path, ["item_id", *(f.name for f in features)])
        )
        rows |= _write(folder / f"{folder.name}.item", tables)
        of_users = generation.spec.user_features
        if of_users:
            names = ["user_id", *(f"user_{f.name}" for f in of_users)]
            users = (
                _tokens(pl.DataFrame(pl.from_arrow(table)), "user_id", of_users, "user_")
                for path in generation.sequence_shards("latest")
                for table in generation.row_groups(path, names)
            )
            rows |= _write(folder / f"{folder.name}.user", users)
        (folder / "recbole.yaml").write_text(_settings(generation, folder.name), "utf-8")
        return rows


def _write_interactions(generation: Generation, folder: Path) -> dict[str, int]:
    """Write all interactions, then those of each part; each reading is by shard."""

    def rows(part: str | None) -> Iterable[pl.DataFrame]:
        for frame in events(generation):
            chosen = frame if part is None else frame.filter(pl.col("split") == part)
            more = [pl.col("behaviour").alias("behaviour:token")] if "behaviour" in frame else []
            yield chosen.select(
                pl.col("user_id").alias("user_id:token"),
                pl.col("item_id").alias("item_id:token"),
                (pl.col("timestamp_ms") / 1000).alias("timestamp:float"),
                *more,
            )

    found = _write(folder / f"{folder.name}.inter", rows(None))
    for part, suffix in BENCHMARK.items():
        found |= _write(folder / f"{folder.name}.{suffix}.inter", rows(part))
    return found


def _tokens(rows: pl.DataFrame, key: str, features: Iterable[Feature], prefix: str) -> pl.DataFrame:
    """Key and tokens as text; codes of embeddings as `group.code`, since RecBole numbers all texts of a column."""
    columns = [pl.col(key).alias(f"{key}:token")]
    for feature in features:
        name = f"{prefix}{feature.name}"
        if isinstance(feature, EmbeddingFeature):
            codes = rows[name].cast(pl.List(pl.Int32)).explode().cast(pl.String)
            groups = pl.Series(
                [str(g) for g in range(feature.token_count)] * len(rows), dtype=pl.String
            )
            texts = (groups + "." + codes).to_frame(name)
            lists = texts.select(
                pl.col(name).reshape((len(rows), feature.token_count)).arr.join(" ")
            )
            columns.append(pl.lit(lists[name]).alias(f"{name}:token_seq"))
        elif isinstance(feature, CategoricalFeature) and feature.multivalued:
            texts_of = pl.col(name).cast(pl.List(pl.String)).list.join(" ")
            columns.append(texts_of.alias(f"{name}:token_seq"))
        else:
            columns.append(pl.col(name).cast(pl.String).alias(f"{name}:token"))
    return rows.select(columns)


def _write(path: Path, frames: Iterable[pl.DataFrame]) -> dict[str, int]:
    """Write frames as one table; cells with quotes, tabs or ends of lines are quoted, as pandas reads them."""
    rows = 0
    with path.open("wb") as sink:
        for number, frame in enumerate(frames):
            _check_keys(frame)
            rows += len(frame)
            frame.write_csv(sink, separator="\t", include_header=number == 0)
    return {path.name: rows}


def _check_keys(frame: pl.DataFrame) -> None:
    for column in ("user_id:token", "item_id:token"):
        if column in frame.columns and frame[column].dtype == pl.String:
            bad = frame[column].filter(frame[column].is_in(_READ_AS_MISSING))
            if len(bad):
                raise DataError(
                    f"the key {bad[0]!r} of {column.removesuffix(':token')} cannot be in RecBole's files",
                    expected="keys that pandas does not take for a missing cell",
                    todo="Give it another key in the input.",
                )


def _settings(generation: Generation, name: str) -> str:
    """The settings of RecBole that load the files."""
    log = ["user_id", "item_id", "timestamp"]
    if generation.spec.interactions.behaviour is not None:
        log.append("behaviour")
    load = {"inter": log, "item": ["item_id", *(f.name for f in generation.spec.items.features)]}
    if generation.spec.user_features:
        load["user"] = ["user_id", *(f"user_{f.name}" for f in generation.spec.user_features)]
    settings = {
        "dataset": name,
        "field_separator": "\t",
        "seq_separator": " ",
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp",
        "load_col": load,
    }
    if isinstance(generation.spec.split, LeaveOneOut):
        settings["eval_args"] = {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": "user",
            "mode": "full",
        }
    else:
        settings["benchmark_filename"] = list(BENCHMARK.values())
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
