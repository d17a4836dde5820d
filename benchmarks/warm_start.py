"""Train a chain of generations warm-started from day to day, and anew every day, and print metrics and seconds.

    python benchmarks/warm_start.py --data shop --runs runs/warm --config cpu --days 5

`--data` is the output folder of a build and its refreshes, such as days_of_log.py makes; the days are the last generations in
the lineage of its latest. On the first day both train the same run, with the settings of --anew. `carried` is the model of
the warm-started run before its first step: yesterday's, without training. Finished runs in the folder are not trained again.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from measure import machine

from heterrec_model.config import load_config
from heterrec_model.evaluation.evaluate import evaluate_run
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.metrics import TargetRanks, mean_metrics
from heterrec_model.training.train import train
from heterrec_schemas import open_generation
from heterrec_schemas.generation import Generation
from heterrec_schemas.generation.lineage import whole_lineage

WARM = ("train.epochs=1", "train.refit_epochs=0")
"""Settings of a warm-started run: one epoch a day."""
NEW = "recall@50"
"""The metric that is also shown for the targets that are new since the first day."""


@dataclass(frozen=True)
class Cost:
    """What a run took; nothing for a model that is only carried over.

    Attributes:
        seconds: of training, validation and checkpoints included.
        cpu_seconds: of the process meanwhile.
        steps: optimiser steps.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    steps: int = 0


@dataclass(frozen=True)
class Day:
    """One model of a day.

    Attributes:
        day: number of the day, from 0.
        way: anew, warm, or carried.
        cost: of its training.
        test: its ranking of the test.
        new: the targets of the test that the model was trained on and that of the first day was not.
    """

    day: int
    way: str
    cost: Cost
    test: Evaluation
    new: TargetRanks


def main() -> int:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path, help="output folder of a chain")
    parser.add_argument("--runs", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--config", default="cpu")
    parser.add_argument(
        "--days", type=int, help="number of generations; default: all of the lineage"
    )
    for name, text, default in (
        ("set", "setting of all runs", ()),
        ("warm", "setting of the warm-started runs", WARM),
        ("anew", "setting of the runs that are trained anew", ()),
    ):
        parser.add_argument(
            f"--{name}", action="append", metavar="KEY=VALUE", help=f"{text}; default: {default}"
        )
    call = parser.parse_args()
    shared, anew = call.set or [], call.anew or []
    warm = list(WARM) if call.warm is None else call.warm
    latest = open_generation(call.data, verify="sizes")
    names = [known.generation for known in whole_lineage(latest.manifest)]
    chain = [Path(latest.root).parent / name for name in names[-(call.days or len(names)) :]]
    known = open_generation(chain[0], verify="sizes").item_counts()["item_index"].to_numpy()
    days: list[Day] = []
    for number, data in enumerate(chain):
        generation, run = open_generation(data, verify="sizes"), call.runs / f"{number}-anew"
        cost = trained(data, run, call.config, [*shared, *anew])
        days.append(evaluated(number, "anew", cost, generation, run, known, "best"))
        if number:
            before = call.runs / (f"{number - 1}-warm" if number > 1 else "0-anew")
            run, config = call.runs / f"{number}-warm", str(before / "config.yaml")
            cost = trained(data, run, config, [*shared, *warm], before)
            days.append(evaluated(number, "carried", Cost(), generation, run, known, "step-0"))
            days.append(evaluated(number, "warm", cost, generation, run, known, "best"))
    report(days)
    return 0


def trained(
    data: Path, run: Path, config: str, settings: Sequence[str], before: Path | None = None
) -> Cost:
    """Train a run, unless it has been."""
    done = run / "cost.json"
    if not done.exists():
        began = time.process_time()
        result = train(
            load_config(config, settings),
            data=data,
            run=run,
            warm_start=before,
            resume=run.exists(),
        )
        if result.stopped:
            sys.exit(1)
        cpu_seconds = time.process_time() - began
        cost = {"seconds": result.seconds, "cpu_seconds": cpu_seconds, "steps": result.step}
        done.write_text(json.dumps(cost))
    return Cost(**json.loads(done.read_text()))


def evaluated(
    number: int,
    way: str,
    cost: Cost,
    generation: Generation,
    run: Path,
    known: Sequence[int],
    checkpoint: str,
) -> Day:
    """Evaluate a run on the test of a day; `known` are the items that the first day was trained on."""
    found = evaluate_run(run, generation, checkpoint=checkpoint)
    ranks = found.per_user
    rows = pl.from_arrow(generation.sequences("test", ["user_id", "target_item_index"]))
    targets = rows.rename({"target_item_index": "item"}).explode("item").unique()
    users = pl.DataFrame({"user_id": ranks.user_ids}).with_row_index("user")
    pairs = users.join(targets, on="user_id").sort("user", "item")
    assert pairs["user"].to_list() == ranks.user_P.tolist()
    new_P = ranks.warm_P & ~np.isin(pairs["item"].to_numpy(), known)
    return Day(number, way, cost, found, replace(ranks, warm_P=new_P).part("warm"))


def report(days: Sequence[Day]) -> None:
    """Print a line per model, and means and sums of all days but the first, which both ways share."""
    names = list(days[0].test.metrics)
    heads = [name.replace("recall", "R").replace("ndcg", "N") for name in names]
    heads += ["new targets", f"{NEW.replace('recall', 'R')} of them"]
    print(f"{machine()}; test metrics in %\n")
    print("| day | model | steps | seconds | CPU s | users | " + " | ".join(heads) + " |")
    print("|---|---|" + "---|" * (4 + len(heads)))
    for day in days:
        cost, found = day.cost, values(day)
        head = [str(day.day), day.way, f"{cost.steps:,}", f"{cost.seconds:,.0f}"]
        head += [f"{cost.cpu_seconds:,.0f}", f"{day.test.per_user.users:,}"]
        print("| " + " | ".join([*head, *map(cell, found)]) + " |")
    for way in ("anew", "carried", "warm"):
        later = [day for day in days if day.day and day.way == way]
        if later:
            steps, seconds, cpu = (
                sum(getattr(day.cost, name) for day in later)
                for name in ("steps", "seconds", "cpu_seconds")
            )
            users = sum(day.test.per_user.users for day in later)
            means = np.mean([values(day) for day in later], axis=0)
            head = [f"1 to {later[-1].day}", way, f"{steps:,}", f"{seconds:,.0f}", f"{cpu:,.0f}"]
            print("| " + " | ".join([*head, f"{users:,}", *map(cell, means)]) + " |")


def cell(value: float) -> str:
    """A percentage in the table; empty without a target."""
    return "" if np.isnan(value) else f"{value:.2f}"


def values(day: Day) -> list[float]:
    """The metrics of a day, the share of new targets, and the metric of these, in percent."""
    new, ks = day.new, day.test.ks
    share = len(new.user_P) / len(day.test.per_user.user_P)
    found = [*day.test.metrics.values(), share, mean_metrics(new, ks)[NEW]]
    return [float("nan") if value is None else 100 * value for value in found]


if __name__ == "__main__":
    sys.exit(main())
