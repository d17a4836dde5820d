"""Cut the log of a shop into growing days, build the first one and refresh the others: the chain of warm_start.py.

    python benchmarks/days_of_log.py --spec examples/amazon_beauty/temporal.yaml --input data --output beauty/days --step 28

Day k ends at its cut, midnight UTC; the cuts are `--step` calendar days apart. Its input is the log up to the next cut: what
was recorded before the cut is for training, what follows is the test of the day. There is no validation split. The catalogue
contains the items that occur in this log.
"""

import argparse
import gzip
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml

LOG, ITEMS = "log.parquet", "items.parquet"


def main() -> None:
    """Write the input of each day, and build or refresh it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spec", required=True, type=Path, help="its times are numbers")
    parser.add_argument("--input", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path, help="a new folder")
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--step", type=int, default=1, help="calendar days from cut to cut")
    parser.add_argument(
        "--until",
        type=datetime.fromisoformat,
        help="date at which the test of the last day ends; default: the end of the log",
    )
    parser.add_argument("--targets", choices=["all", "next", "last"], default="all")
    call = parser.parse_args()
    call.output.mkdir(parents=True)
    days = Days(yaml.safe_load(call.spec.read_text()), call.input, call.output / "input")
    until = call.until.replace(tzinfo=UTC) if call.until else days.end()
    for day in range(call.days):
        cut = until - timedelta(days=(call.days - day) * call.step)
        cell = days.write(cut, cut + timedelta(days=call.step))
        cell["split"] = {
            "method": "temporal",
            "validation_at": f"{cut:%Y-%m-%dT%H:%M:%SZ}",
            "test_at": f"{cut:%Y-%m-%dT%H:%M:%SZ}",
            "targets": call.targets,
        }
        spec = call.output / f"spec-{day}.yaml"
        spec.write_text(yaml.safe_dump(cell, sort_keys=False))
        made = ["refresh", "--base", str(call.output)] if day else ["build"]
        given = ["--spec", str(spec), "--input", str(days.folder), "--output", str(call.output)]
        command = [sys.executable, "-m", "heterrec_pipeline", *made, *given, "--quiet"]
        print(f"day {day}, cut {cut:%Y-%m-%d}", flush=True)
        subprocess.run(command, check=True)


class Days:
    """The input of one day after the other, in one folder.

    Args:
        spec: of the whole shop; its items are a table.
        source: the input folder of the whole shop.
        folder: to write.
    """

    def __init__(self, spec: dict[str, Any], source: Path, folder: Path) -> None:
        self.spec, self.folder = spec, folder
        folder.mkdir()
        log, items = spec["interactions"], spec["items"]
        self.log = table(source / log["source"]["path"])
        self.items = table(source / items["source"]["path"])
        unit, column = log["timestamp"]["unit"], log["timestamp"]["column"]
        self.time = (pl.col(column) * (1000 if unit == "s" else 1)).cast(pl.Datetime("ms", "UTC"))
        for join in items.get("joins", []):
            path = folder / join["source"]["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / join["source"]["path"], path)

    def end(self) -> datetime:
        """The first midnight after the last interaction."""
        last = self.log.select(self.time.max().dt.truncate("1d")).item()
        assert isinstance(last, datetime)
        return last + timedelta(days=1)

    def write(self, cut: datetime, end: datetime) -> dict[str, Any]:
        """Write the log up to an end and its items; returns their spec, still with the split of the whole shop."""
        log = self.log.filter(self.time < end)
        log.write_parquet(self.folder / LOG)
        at, keys = self.spec["interactions"], self.spec["items"]
        items = self.items.join(
            log, left_on=keys["key"], right_on=at["item"], how="semi", maintain_order="left"
        )
        items.write_parquet(self.folder / ITEMS)
        trained = log.select((self.time < cut).sum()).item()
        print(
            f"{trained:,} interactions before {cut:%Y-%m-%d}, {len(log) - trained:,} after it;",
            end=" ",
        )
        print(f"{len(items):,} items")
        return {
            **self.spec,
            "items": {**keys, "source": {"path": ITEMS}},
            "interactions": {**at, "source": {"path": LOG}},
        }


def table(path: Path) -> pl.DataFrame:
    """A Parquet, CSV or JSON lines file, compressed or not."""
    whole = ".".join(path.suffixes)
    if "parquet" in whole:
        return pl.read_parquet(path)
    if "csv" in whole:
        return pl.read_csv(path, infer_schema_length=None)
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return pl.read_ndjson(text, infer_schema_length=None)


if __name__ == "__main__":
    main()
