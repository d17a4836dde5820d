"""Train HeterRec and the baselines with several seeds on a generation, and print the tables of docs/results.md.

    python benchmarks/model_results.py --data beauty/loo --runs runs/loo --seeds 0 1 2

Finished runs in the folder are not trained again; interrupted ones are resumed. A setting of --set applies to the models that
read it.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from heterrec_model.config import load_config
from heterrec_model.evaluation.candidates import CANDIDATE_SETS
from heterrec_model.evaluation.evaluate import evaluate_baseline, evaluate_run
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.intervals import Comparison, compare
from heterrec_model.evaluation.metrics import Part
from heterrec_model.model_settings import DEFAULT_MODEL, is_read
from heterrec_model.registry import COUNTING
from heterrec_model.training.train import train
from heterrec_schemas import open_generation

SASREC = ["model.name=sasrec", "model.item_blocks=2"]
IDS = ["model.features=[]", "model.user_features=[]", "model.behaviour=false", "model.id_dropout=0"]
MODELS: dict[str, list[str]] = {
    "SASRec, ids": [*SASREC, *IDS],
    "SASRec, all features": SASREC,
    "SASRec, all inputs": ["model.name=sasrec_time", "model.item_blocks=2"],
    "HeterRec": [],
}
"""Settings by the name in the tables; the table of a model states the inputs that it lacks."""
KS = (10, 50, 100, 200)
NAMES = [f"{name}@{k}" for k in KS for name in ("recall", "ndcg")]


def main() -> int:
    """Train missing runs and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a generation of Amazon Beauty")
    parser.add_argument("--runs", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--config", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument(
        "--candidates",
        choices=CANDIDATE_SETS,
        default="known",
        help="items that are ranked; all is the whole catalogue, items of the future included",
    )
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    call = parser.parse_args()
    for model in call.models:
        for seed in call.seeds:
            settings = [*settings_of(model, call.settings), f"train.seed={seed}"]
            run = folder(call.runs, model, seed)
            if not (run / "done").exists():
                config = load_config(call.config, settings)
                result = train(config, data=call.data, run=run, resume=run.exists())
                if result.stopped:
                    return 1
                (run / "done").write_text(f"{result.seconds:.0f} s in the last call\n")
    for filtered in (False, True):
        report(call, filtered)
    return 0


def settings_of(model: str, shared: Sequence[str]) -> list[str]:
    """The settings of a model: its own, and those of the shared ones that it reads."""
    own = MODELS[model]
    name = next((s.partition("=")[2] for s in own if s.startswith("model.name=")), DEFAULT_MODEL)
    return [*own, *(s for s in shared if is_read(name, s.partition("=")[0].strip()))]


def folder(runs: Path, model: str, seed: int) -> Path:
    """The folder of a run."""
    return runs / f"{model.lower().replace(', ', '-').replace(' ', '-')}-{seed}"


def report(call: argparse.Namespace, filtered: bool) -> None:
    """Print the table of one protocol, and HeterRec compared with each other model."""
    runs, models, seeds = call.runs, call.models, call.seeds
    generation = open_generation(call.data, verify="sizes")
    trained = {
        model: [
            evaluate_run(
                folder(runs, model, seed),
                generation,
                filter_seen=filtered,
                candidates=call.candidates,
            )
            for seed in seeds
        ]
        for model in models
    }
    settings = [
        f"evaluation.filter_seen={str(filtered).lower()}",
        f"evaluation.candidates={call.candidates}",
    ]
    config = load_config(call.config, [*call.settings, *settings])
    counted = {n: [evaluate_baseline(generation, n, config=config)] for n in COUNTING}
    print(f"\nseen items {'left out' if filtered else 'kept'}, {len(seeds)} seeds, in %\n")
    about(next(iter(trained.values()))[0])
    table({**counted, **trained})
    for model in models:
        if model != "HeterRec" and "HeterRec" in trained:
            print(f"\nHeterRec compared with {model}: lift, 95% interval, p\n")
            lifts(compare(trained[model], trained["HeterRec"], metrics=NAMES))
    print(json.dumps({m: [e.to_json() for e in es] for m, es in trained.items()}), file=sys.stderr)


def about(evaluation: Evaluation) -> None:
    """Print the numbers of candidates and of targets, warm, cold and not ranked, which are equal for all models."""
    body = evaluation.to_json()
    targets = body["targets"]
    parts = {
        "warm": body["warm"]["targets"],
        "cold": body["cold"]["targets"],
        "not known at the cut, misses": body["targets_unknown"],
        "without a row, misses": body["targets_without_row"],
    }
    shares = ", ".join(f"{n:,} {what} ({n / targets:.1%})" for what, n in parts.items() if n)
    print(
        f"Candidates ({body['candidate_set']}): {body['candidates']:,} of {body['catalogue']:,} items,"
    )
    print(f"{body['cold_candidates']:,} of them cold. Targets: {targets:,}: {shares}.\n")


def table(results: Mapping[str, Sequence[Evaluation]]) -> None:
    """Print means over the seeds, the nDCG@50 of each seed, and the inputs that a model lacks."""
    heads = [n.replace("recall", "R").replace("ndcg", "N") for n in NAMES]
    more = ["N@50 of the seeds", "warm R@200", "cold R@200", "lacks"]
    print("| model | " + " | ".join([*heads, *more]) + " |")
    print("|---|" + "---|" * (len(heads) + len(more)))
    for model, evaluations in results.items():
        means = [statistics.mean(e.metrics[n] or 0.0 for e in evaluations) for n in NAMES]
        seeds = [e.metrics["ndcg@50"] or 0.0 for e in evaluations]
        warm, cold = (_part_recall(evaluations, part) for part in ("warm", "cold"))
        cells = [f"{100 * m:.2f}" for m in means]
        spread = " ".join(f"{100 * s:.2f}" for s in seeds)
        lacks = "; ".join(evaluations[0].lacks)
        print(f"| {model} | " + " | ".join([*cells, spread, warm, cold, lacks]) + " |")


def _part_recall(evaluations: Sequence[Evaluation], part: Part) -> str:
    """Recall@200 of a part in percent; empty if it has no targets."""
    found = [e.part(part)["recall@200"] for e in evaluations]
    known = [value for value in found if value is not None]
    return f"{100 * statistics.mean(known):.1f}" if known else ""


def lifts(comparisons: Sequence[Comparison]) -> None:
    """Print one row with the lift of every metric."""
    print("| " + " | ".join(c.metric for c in comparisons) + " |")
    print("|" + "---|" * len(comparisons))
    cells = []
    for c in comparisons:
        low, high = c.lift_interval or (0.0, 0.0)
        cells.append(f"{c.lift or 0.0:+.1%} ({low:+.1%} to {high:+.1%}), {c.p:.3f}")
    print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
