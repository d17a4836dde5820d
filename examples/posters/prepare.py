"""Write MovieLens as the two tables that `spec.yaml` reads, and a folder of drawn posters.

    python examples/posters/prepare.py MOVIELENS OUTPUT

MOVIELENS is the unpacked archive ml-latest-small (movies.csv and ratings.csv) from grouplens.org/datasets/movielens, or the
folder of examples/movielens (items.jsonl.gz and interactions.csv.gz).
"""

import argparse
import gzip
import sys
from collections.abc import Iterable
from pathlib import Path

import polars as pl
from draw import poster

FORMATS = (("movies.csv", "ratings.csv"), ("items.jsonl.gz", "interactions.csv.gz"))
PNG = {"format": "PNG", "compress_level": 1}


def films(folder: Path) -> pl.DataFrame:
    """All films: item_id, title, genres (a list), year."""
    if (folder / FORMATS[0][0]).is_file():
        read = pl.read_csv(folder / FORMATS[0][0], schema_overrides={"movieId": pl.String})
        genres = pl.col("genres").replace("(no genres listed)", None).str.split("|")
        year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int64)
        table = read.select("title", item_id="movieId", genres=genres.fill_null([]), year=year)
    else:
        read = pl.read_ndjson(gzip.decompress((folder / FORMATS[1][0]).read_bytes()))
        table = read.select("title", "year", item_id="item_id", genres="categories")
    return table.select("item_id", "title", "genres", "year").sort(pl.col("item_id").cast(pl.Int64))


def ratings(folder: Path) -> pl.DataFrame:
    """All ratings: user_id, item_id, timestamp in seconds."""
    archive = (folder / FORMATS[0][0]).is_file()
    table = pl.read_csv(folder / FORMATS[not archive][1])
    names = {"userId": "user_id", "movieId": "item_id"} if archive else {}
    return table.rename(names).select("user_id", pl.col("item_id").cast(pl.String), "timestamp")


def draw_all(table: pl.DataFrame, folder: Path) -> Iterable[str]:
    """Write a poster per film into a folder, and return the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for item_id, title, genres, year in table.iter_rows():
        poster(item_id, title, genres, year).save(folder / f"{item_id}.png", **PNG)
        yield f"{folder.name}/{item_id}.png"


def prepare(movielens: Path, output: Path) -> dict[str, int]:
    """Write items.parquet, interactions.parquet and posters/; return the number of rows of each.

    Raises:
        SystemExit: the folder does not have the files.
    """
    if not any(all((movielens / name).is_file() for name in names) for names in FORMATS):
        raise SystemExit(
            f"{movielens} has neither {' and '.join(FORMATS[0])} nor {' and '.join(FORMATS[1])}. Unpack "
            "ml-latest-small from grouplens.org/datasets/movielens, and name its folder: "
            "make posters MOVIELENS=FOLDER"
        )
    items = films(movielens)
    items = items.with_columns(picture=pl.Series(list(draw_all(items, output / "posters"))))
    log = ratings(movielens)
    items.write_parquet(output / "items.parquet")
    log.write_parquet(output / "interactions.parquet")
    return {"items.parquet": len(items), "interactions.parquet": len(log), "posters": len(items)}


def main() -> int:
    """Parse the command line and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movielens", type=Path, help="folder of MovieLens latest-small")
    parser.add_argument("output", type=Path, help="folder for the tables and pictures")
    call = parser.parse_args()
    for name, rows in prepare(call.movielens, call.output).items():
        print(f"{call.output / name}: {rows:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
