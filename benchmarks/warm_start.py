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
from dataclasses import asdict, dataclass, replace
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
        way: anew, warm, or carried.
        seconds: of training, validation and checkpoints included.
        cpu_seconds: of the process meanwhile.
        steps: optimiser steps.
        users: number of users of the test.
        metrics: of the test, by name.
    """

    day: int
    generation: str
    way: str
    seconds: float
    cpu_seconds: float
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
        days += trained(number, data, fresh, call.config, [*shared, *anew])
        if number:
            before = call.runs / (f"{number - 1}-warm" if number > 1 else "0-anew")
            run, config = call.runs / f"{number}-warm", str(before / "config.yaml")
            days += trained(number, data, run, config, [*shared, *warm], before)
    report(days)
    return 0


def trained(
    number: int,
    data: Path,
    run: Path,
    config: str,
    settings: Sequence[str],
    before: Path | None = None,
) -> list[Day]:
    """Train a run, unless it has been, and evaluate it on the test; if it is warm-started, also before its first step."""
    done = run / "day.json"
    if not done.exists():
        began = time.process_time()
        result = train(
            load_config(config, settings),
            data=data,
            run=run,
            warm_start=before,
            resume=run.exists(),
        )
        cpu_seconds = time.process_time() - began
        if result.stopped:
            sys.exit(1)
        name = data.name
        days = []
        if before is not None:
            days.append(
                tested(Day(number, name, "carried", 0.0, 0.0, 0, 0, {}), data, run, "step-0")
            )
        way = "anew" if before is None else "warm"
        cost = round(result.seconds, 1), round(cpu_seconds, 1)
        days.append(tested(Day(number, name, way, *cost, result.step, 0, {}), data, run, "best"))
        done.write_text(json.dumps([asdict(day) for day in days]))
    return [Day(**day) for day in json.loads(done.read_text())]


def tested(day: Day, data: Path, run: Path, checkpoint: str) -> Day:
    """A day with the number of users and the metrics of its test."""
    found = evaluate_run(data, run, checkpoint=checkpoint)
    return replace(day, users=len(found.per_user.user_ids), metrics=dict(found.metrics))


def report(days: Sequence[Day]) -> None:
    """Print a line per run, and the sums of all days but the first, which both ways share."""
    names = list(days[0].metrics)
    heads = [name.replace("recall", "R").replace("ndcg", "N") for name in names]
    print(f"{machine()}; test metrics in %\n")
    print("| day | run | steps | seconds | CPU s | users | " + " | ".join(heads) + " |")
    print("|---|---|" + "---|" * (4 + len(heads)))
    for day in days:
        cells = [f"{100 * (day.metrics[name] or 0):.2f}" for name in names]
        cost = [f"{day.steps:,}", f"{day.seconds:,.1f}", f"{day.cpu_seconds:,.1f}"]
        print("| " + " | ".join([str(day.day), day.way, *cost, f"{day.users:,}", *cells]) + " |")
    for way in ("anew", "warm", "carried"):
        later = [day for day in days if day.day and day.way == way]
        if later:
            seconds, cpu = sum(day.seconds for day in later), sum(day.cpu_seconds for day in later)
            means = [
                f"{head} {100 * sum(day.metrics[name] or 0 for day in later) / len(later):.2f}"
                for head, name in zip(heads, names, strict=True)
            ]
            print(
                f"\n{way}, days 1 to {later[-1].day}: {seconds:,.1f} s, {cpu:,.1f} CPU s; mean {', '.join(means)}"
            )


if __name__ == "__main__":
    sys.exit(main())
