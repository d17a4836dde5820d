"""Comparison of a model with others on the same users: runs, several seeds of one model, or counting baselines."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heterrec_model.evaluation.candidates import is_temporal
from heterrec_model.evaluation.evaluate import (
    UNSEEN_FIRST,
    evaluate_baseline,
    evaluate_run,
    load_generation,
    with_settings,
)
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.intervals import Comparison, compare
from heterrec_model.registry import is_counting
from heterrec_model.runs.run_folder import RunFolder
from heterrec_schemas.generation import Generation


@dataclass(frozen=True, eq=False)
class ComparedModel:
    """One of the compared models: its name as given, and one evaluation per seed."""

    name: str
    evaluations: Sequence[Evaluation]


@dataclass(frozen=True, eq=False)
class ComparisonReport:
    """The candidate, the baselines, and for each baseline one comparison per metric."""

    model: ComparedModel
    others: Sequence[ComparedModel]
    comparisons: Sequence[Sequence[Comparison]]

    def to_json(self) -> dict[str, Any]:
        """All evaluations, and all comparisons by the name of the baseline."""
        models = [self.model, *self.others]
        return {
            "evaluations": {m.name: [e.to_json() for e in m.evaluations] for m in models},
            "comparisons": {
                other.name: [asdict(c) for c in comparisons]
                for other, comparisons in zip(self.others, self.comparisons, strict=True)
            },
        }


def compare_models(
    model: str,
    data: str | Path | Generation,
    others: Sequence[str],
    split: str = "test",
    *,
    filter_seen: bool | None = None,
    candidates: str | None = None,
    resamples: int = 10_000,
    on_model: Callable[[str], None] | None = None,
) -> ComparisonReport:
    """Evaluate a model and others on one split, and compare them by a paired bootstrap over users.

    Args:
        data: an output folder (its latest generation), the folder of a generation, or an open generation.
        model: folder of a run, or folders of several seeds separated by commas.
        others: likewise, or a baseline of `registry.build_counting`; with a temporal split unseen-first is added.
        split: validation or test.
        filter_seen: whether items of the history are left out of the ranking; None uses the config of each run.
        candidates: known (at the cut of a temporal split) or all items; None uses the config of each run.
        resamples: number of resamples of the bootstrap.
        on_model: called with the name of each run or baseline before it is evaluated.

    Raises:
        CallError: a run does not exist, or two models were evaluated on different users.
        GenerationError: the generation does not exist, or is not that of a run.
    """
    generation = load_generation(data)
    # Baselines use the settings of the model: the same items, and the same interactions to count.
    config = with_settings(RunFolder(model.split(",")[0]).config(), filter_seen, None, candidates)
    if is_temporal(generation) and UNSEEN_FIRST not in others:
        others = [*others, UNSEEN_FIRST]

    def evaluated(names: str) -> ComparedModel:
        evaluations = []
        for name in names.split(","):
            if on_model is not None:
                on_model(name)
            if is_counting(name):
                evaluations.append(evaluate_baseline(generation, name, split, config=config))
            else:
                evaluations.append(
                    evaluate_run(
                        name, generation, split, filter_seen=filter_seen, candidates=candidates
                    )
                )
        return ComparedModel(names, evaluations)

    candidate, baselines = evaluated(model), [evaluated(other) for other in others]
    return ComparisonReport(
        candidate,
        baselines,
        [compare(b.evaluations, candidate.evaluations, resamples=resamples) for b in baselines],
    )
