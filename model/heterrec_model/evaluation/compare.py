"""Hold a model against others on the same users: runs, several seeds of one model, or a baseline that only counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heterrec_model.evaluation.evaluate import (
    evaluate_baseline,
    evaluate_run,
    load_generation,
    with_settings,
)
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.intervals import Comparison, compare
from heterrec_model.registry import COUNTING
from heterrec_model.runs.run_folder import RunFolder
from heterrec_schemas.generation import Generation


@dataclass(frozen=True, eq=False)
class ComparedModel:
    """One side of a comparison.

    Attributes:
        name: as it was asked for.
        evaluations: one, or one a seed.
    """

    name: str
    evaluations: Sequence[Evaluation]


@dataclass(frozen=True, eq=False)
class ComparisonReport:
    """A model and what it was compared with.

    Attributes:
        model: the side in question.
        others: the sides it was held against.
        comparisons: for each of them the metrics in turn; the others are the baseline.
    """

    model: ComparedModel
    others: Sequence[ComparedModel]
    comparisons: Sequence[Sequence[Comparison]]

    def to_json(self) -> dict[str, Any]:
        """Every evaluation, and every comparison by the name of the other side."""
        sides = [self.model, *self.others]
        return {
            "evaluations": {s.name: [e.to_json() for e in s.evaluations] for s in sides},
            "comparisons": {
                side.name: [c.to_json() for c in found]
                for side, found in zip(self.others, self.comparisons, strict=True)
            },
        }


def compare_models(
    data: str | Path | Generation,
    model: str,
    others: Sequence[str],
    split: str = "test",
    *,
    filter_seen: bool | None = None,
    resamples: int = 10_000,
    on_model: Callable[[str], None] | None = None,
) -> ComparisonReport:
    """Evaluate a model and others on one split, and compare them by a paired bootstrap over users.

    Args:
        data: an output folder (its latest generation), a generation's own folder, or an open one.
        model: a run's folder, or those of several seeds, separated by commas.
        others: likewise, or a key of `registry.COUNTING`.
        split: validation or test.
        filter_seen: whether the items of a history leave the ranking; left out: as each run's config says.
        resamples: of the bootstrap.
        on_model: called with the name of each run or baseline before it is evaluated.

    Raises:
        CallError: there is no such run, or two sides are not about the same users.
        GenerationError: there is no generation, or a run is another one's.
    """
    generation = load_generation(data)

    config = with_settings(RunFolder(model.split(",")[0]).config(), filter_seen, None)

    def side(name: str) -> ComparedModel:
        found = []
        for part in name.split(","):
            if on_model is not None:
                on_model(part)
            if part in COUNTING:  # as the model: the same items, the same interactions to count
                found.append(evaluate_baseline(generation, part, split, config=config))
            else:
                found.append(evaluate_run(generation, part, split, filter_seen=filter_seen))
        return ComparedModel(name, found)

    chosen, beside = side(model), [side(other) for other in others]
    comparisons = [compare(o.evaluations, chosen.evaluations, resamples=resamples) for o in beside]
    return ComparisonReport(chosen, beside, comparisons)
