"""Train a chain of generations warm-started from day to day, and anew every day, and print metrics and seconds.

    python benchmarks/warm_start.py --data shop --runs runs/warm --config cpu --days 5

`--data` is the output folder of a build and its refreshes; the days are the last generations in the lineage of its latest.
On the first day both train the same run, with the settings of --anew. Finished runs in the folder are not trained again.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from measure import machine

from heterrec_model.config import load_config
from heterrec_model.evaluation.evaluate import evaluate_run
from heterrec_model.training.train import train
from heterrec_schemas import open_generation
from heterrec_schemas.generation.lineage import whole_lineage

WARM = ("train.epochs=1", "train.refit_epochs=0")
"""Settings of a warm-started run: one epoch a day."""


@dataclass(frozen=True)
class Day:
    """One run of a day.

    Attributes:
        day: number of the day, from 0.
        generation: that it was trained on.
        way: warm or anew.
        seconds: of training, validation and checkpoints included.
        steps: optimiser steps.
        users: number of users of the test.
        metrics: of the test, by name.
    """

    day: int
    generation: str
    way: str
    seconds: float
    steps: int
    users: int
    metrics: dict[str, float | None]


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
    days: list[Day] = []
    for number, data in enumerate(chain):
        fresh = call.runs / f"{number}-anew"
        days.append(trained(number, data, fresh, call.config, [*shared, *anew]))
        if number:
            before = call.runs / (f"{number - 1}-warm" if number > 1 else "0-anew")
            run = call.runs / f"{number}-warm"
            days.append(
                trained(number, data, run, str(before / "config.yaml"), [*shared, *warm], before)
            )
    report(days)
    return 0


def trained(
    number: int,
    data: Path,
    run: Path,
    config: str,
    settings: Sequence[str],
    before: Path | None = None,
) -> Day:
    """Train a run, unless it has been, and evaluate it on the test."""
    done = run / "day.json"
    if not done.exists():
        result = train(
            load_config(config, settings),
            data=data,
            run=run,
            warm_start=before,
            resume=run.exists(),
        )
        if result.stopped:
            sys.exit(1)
        found = evaluate_run(data, run)
        day = Day(
            day=number,
            generation=data.name,
            way="anew" if before is None else "warm",
            seconds=round(result.seconds, 1),
            steps=result.step,
            users=len(found.per_user.user_ids),
            metrics=dict(found.metrics),
        )
        done.write_text(json.dumps(asdict(day)))
    return Day(**json.loads(done.read_text()))


def report(days: Sequence[Day]) -> None:
    """Print a line per run, and the sums of all days but the first, which both ways share."""
    names = list(days[0].metrics)
    heads = [name.replace("recall", "R").replace("ndcg", "N") for name in names]
    print(f"{machine()}; test metrics in %\n")
    print("| day | run | steps | seconds | users | " + " | ".join(heads) + " |")
    print("|---|---|" + "---|" * (3 + len(heads)))
    for day in days:
        cells = [f"{100 * (day.metrics[name] or 0):.2f}" for name in names]
        line = [str(day.day), day.way, f"{day.steps:,}", f"{day.seconds:,.1f}", f"{day.users:,}"]
        print("| " + " | ".join([*line, *cells]) + " |")
    for way in ("warm", "anew"):
        later = [day for day in days if day.day and day.way == way]
        if later:
            seconds = sum(day.seconds for day in later)
            means = [
                f"{head} {100 * sum(day.metrics[name] or 0 for day in later) / len(later):.2f}"
                for head, name in zip(heads, names, strict=True)
            ]
            print(f"\n{way}, days 1 to {later[-1].day}: {seconds:,.1f} s; mean {', '.join(means)}")


if __name__ == "__main__":
    sys.exit(main())
