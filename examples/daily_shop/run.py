"""A shop by weeks: build on the first week, then refresh, warm-start and evaluate every week, and print what changed.

    python examples/daily_shop/run.py FOLDER

Needs the extras pipeline, model, embed and demo. The folder must not exist yet. The sales of week 1 are those of the
data set's first eight days (its own weeks 1 and 2), and each further week adds one.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "complete_journey"))
from prepare import DEMOGRAPHICS, DESCRIPTIVE, data_folder, items, purchases  # noqa: E402

WEEKS = 4
UNSOLD_WEEKS = 2
"""Number of weeks without a sale after which a product leaves the catalogue; when it is sold again, it returns."""
PIPELINE = [sys.executable, "-m", "heterrec_pipeline"]
MODEL = [sys.executable, "-m", "heterrec_model"]
COLUMNS = {
    "week": "week",
    "items": "items",
    "new": "new items",
    "retired": "retired",
    "interactions": "interactions",
    "drift": "drift",
    "worst": "largest PSI",
    "data_s": "data, s",
    "train_s": "training, s",
    "recall": "Recall@50, %",
}


def main() -> int:
    """Run all weeks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new folder for input, generations and runs")
    folder: Path = parser.parse_args().folder
    if folder.exists():
        raise SystemExit(f"{folder} exists already; name a new folder, or delete it")
    shop = Shop(folder / "shop")
    rows: list[dict[str, Any]] = []
    for week in range(1, WEEKS + 1):
        say(f"week {week}: the shop exports its tables")
        shop.export(week)
        row = {"week": week, **one_week(folder, week)}
        before = rows[-1]["ids"] if rows else row["ids"] - row["items"]
        row["new"] = row["ids"] - before
        rows.append(row)
    print(table(rows))
    return 0


class Shop:
    """The shop's export: a folder whose files change from week to week.

    Args:
        folder: the folder to write.
    """

    def __init__(self, folder: Path) -> None:
        """Read the data set, and embed the text of every product that is sold in these weeks."""
        self.folder = folder
        folder.mkdir(parents=True)
        source = data_folder()
        sold = purchases(source).with_columns(week=(pl.col("week") - 1).clip(1))
        self.sold = sold.filter(pl.col("week") <= WEEKS)
        first = self.sold.group_by("product_id").agg(first=pl.col("week").min())
        products = items(source, self.sold).join(first, on="product_id")
        self.products = products
        self.users = pl.read_parquet(source / "demographics.parquet")
        texts = folder.parent / "texts"
        texts.mkdir()
        products.select("product_id", "text").write_parquet(texts / "items.parquet")
        call = ["embed", "--input", texts, "--items", "items.parquet", "--key", "product_id"]
        run(
            PIPELINE,
            *call,
            "--text",
            "text",
            "--model",
            "all-MiniLM-L6-v2",
            "--output",
            texts / "vectors",
        )
        vectors = pl.read_parquet(texts / "vectors" / "text-*.parquet")
        self.vectors = vectors.join(first, on="product_id")

    def export(self, week: int) -> None:
        """Write the state of the shop at the end of a week; files that did not change keep their bytes."""
        recent = self.sold.filter(pl.col("week").is_between(week - UNSOLD_WEEKS, week))
        listed = self.products.join(recent, on="product_id", how="semi").sort("product_id")
        for first in range(1, week + 1):
            of_week = listed.filter(pl.col("first") == first)
            columns = of_week.select("product_id", *DESCRIPTIVE, "price")
            columns.write_parquet(self.folder / f"items-{first:02d}.parquet")
        vectors = self.vectors.filter(pl.col("first") == week).drop("first")
        vectors.write_parquet(self.folder / f"vectors-{week:02d}.parquet")
        seconds = pl.col("transaction_timestamp").dt.epoch("s").alias("timestamp")
        log = self.sold.filter(pl.col("week") == week).select("household_id", "product_id", seconds)
        log.write_parquet(self.folder / f"log-{week:02d}.parquet")
        seen = self.sold.filter(pl.col("week") <= week)
        users = self.users.join(seen, on="household_id", how="semi").sort("household_id")
        users.select("household_id", *DEMOGRAPHICS).write_parquet(self.folder / "users.parquet")


def one_week(folder: Path, week: int) -> dict[str, Any]:
    """Build or refresh, train, evaluate; returns a row of the table."""
    out, shop, spec = folder / "tokens", folder / "shop", HERE / "spec.yaml"
    given = ["--spec", spec, "--input", shop]
    began = time.monotonic()
    if week == 1:
        done = run(PIPELINE, "build", *given, "--output", out, "--json")
    else:
        done = run(PIPELINE, "refresh", "--base", out, *given, "--json")
    data = time.monotonic() - began
    began = time.monotonic()
    warm = [] if week == 1 else ["--warm-start", folder / f"run-{week - 1}"]
    this = folder / f"run-{week}"
    run(MODEL, "train", "--data", out, "--config", HERE / "model.yaml", "--run", this, *warm)
    trained = time.monotonic() - began
    evaluated = run(MODEL, "evaluate", "--data", out, "--run", this, "--json")
    manifest = done["manifest"]
    counts = manifest["counts"]
    row = {
        "items": counts["items"]["kept"],
        "ids": manifest["item_vocabulary_size"],
        "retired": counts["items"]["retired"],
        "interactions": counts["interactions"]["kept"],
        "data_s": round(data, 1),
        "train_s": round(trained, 1),
        "recall": round(100 * evaluated["metrics"]["recall@50"], 2),
    }
    return row | drift(out, week)


def drift(out: Path, week: int) -> dict[str, Any]:
    """The status of the drift, and the feature that differs most from last week."""
    if week == 1:
        return {"drift": "-"}
    report = run(PIPELINE, "inspect", out, "--drift", "--json")["drift"]
    judged = [f for f in report["features"] if f["psi"] is not None]
    worst = max(judged, key=lambda f: f["psi"])
    return {"drift": report["status"], "worst": f"{worst['name']} {worst['psi']:.3f}"}


def run(program: list[str], *call: object) -> Any:
    """Run a command of the package and show it; returns its object if the call has --json."""
    command = [*program, *map(str, call)]
    say(" ".join(["heterrec-pipeline" if program is PIPELINE else "heterrec-model", *command[3:]]))
    as_json = "--json" in command
    done = subprocess.run(
        command, check=False, text=True, stdout=subprocess.PIPE if as_json else None
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return json.loads(done.stdout) if as_json else None


def say(text: str) -> None:
    """Print a line that is not the output of a command."""
    print(f"== {text}", flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """The weeks as a Markdown table."""
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        cells = [row.get(name, "") for name in COLUMNS]
        lines.append(
            "| " + " | ".join(f"{c:,}" if isinstance(c, int) else str(c) for c in cells) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
