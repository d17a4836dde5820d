"""Exports the leave-one-out split of a generation for the libraries of this folder, which do not read generations.

    python benchmarks/peers/export_split.py GENERATIONS SPLIT

Writes `interactions.parquet` and `split.json` to SPLIT. The table has one row per interaction: user_id, item_index, place
(position in the user's sequence, from 0, oldest first) and part (train, validation or test). The order within a day is
that of the generation, so that all libraries read equal histories. Runs in the project's own environment.
"""

import argparse
import json
from pathlib import Path

import polars as pl

from heterrec_schemas import CallError, Generation, open_generation


def split_table(generation: Generation) -> pl.DataFrame:
    """The interactions of all users, by user and place.

    Raises:
        CallError: the split is not leave-one-out.
    """
    train, validation, test = (
        pl.DataFrame(generation.sequences(part)).sort("user_id")
        for part in ("train", "validation", "test")
    )
    history, target = pl.col("item_index"), pl.col("target_item_index")
    longest = test.select(history.list.len().max()).item()
    before_test = validation.select(pl.concat_list(history, target).list.tail(longest)).to_series()
    if (
        train["item_index"].to_list() != validation["item_index"].to_list()
        or before_test.to_list() != test["item_index"].to_list()
        or not all(
            (part.select(target.list.len()) == 1).to_series().all() for part in (validation, test)
        )
    ):
        raise CallError("the split is not leave-one-out", todo="Build it with leave_one_out.yaml.")
    lists = pl.concat_list(history, validation["target_item_index"], test["target_item_index"])
    table = train.select("user_id", lists)
    table = table.with_columns(place=pl.int_ranges(history.list.len())).explode(
        "item_index", "place"
    )
    left = pl.len().over("user_id") - pl.col("place")
    part = pl.when(left == 1).then(pl.lit("test")).when(left == 2).then(pl.lit("validation"))
    return table.with_columns(part=part.otherwise(pl.lit("train")))


def main() -> None:
    """Export one generation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generations", type=Path, help="folder of generations, or one generation")
    parser.add_argument("split", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    generation = open_generation(arguments.generations)
    table = split_table(generation)
    arguments.split.mkdir(parents=True, exist_ok=True)
    table.write_parquet(arguments.split / "interactions.parquet")
    about = {
        "content_sha256": generation.manifest.content_sha256,
        "items": generation.items(["item_index"]).num_rows,
        "users": table["user_id"].n_unique(),
        **dict(table.group_by("part").len("rows").sort("part").iter_rows()),
    }
    (arguments.split / "split.json").write_text(json.dumps(about, indent=1) + "\n")
    print(json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
