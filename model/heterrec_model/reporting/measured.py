"""What a page needs from a pass over users: the run and its baselines, evaluated on the same ones.

Shapes: U users, P targets, N catalogue items.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heterrec_model.config import Config
from heterrec_model.data.inputs import lacking
from heterrec_model.evaluation.candidates import candidate_mask, is_temporal
from heterrec_model.evaluation.evaluate import UNSEEN_FIRST, check_split, evaluate_scorer
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.metrics import Floats
from heterrec_model.evaluation.scorers import Scorer, VectorScorer
from heterrec_model.evaluation.top_items import TopItems
from heterrec_model.registry import build_counting, is_counting
from heterrec_model.runs.load_run import LoadedRun, load_run
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation import Generation

TOP = 10
"""Number of items per user in the top of a page; the metrics of its groups are at this k."""
OnProgress = Callable[[str], None]
"""Called with a line that says what is done."""


class Wanted(NamedTuple):
    """What a page is to show of a generation.

    Attributes:
        split: validation or test.
        users: maximum number of users.
        baselines: folders of runs, or names of counting baselines.
        examples: number of example users.
        feature: item feature that colours the map; None chooses one.
    """

    split: str = "test"
    users: int = 10_000
    baselines: tuple[str, ...] = ()
    examples: int = 4
    feature: str | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """A model or baseline on the users of a page.

    Attributes:
        name: as shown.
        evaluation: its ranks.
        top: its best items.
    """

    name: str
    evaluation: Evaluation
    top: TopItems

    def metric_U(self, name: str) -> Floats:
        """A metric of every user, sorted by user id."""
        return self.evaluation.user_metrics()[name][np.argsort(self.evaluation.per_user.user_ids)]


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """A run, its baselines, and what they were measured on.

    Attributes:
        loaded: the model.
        generation: the generation.
        wanted: the options.
        scorer: with the item vectors.
        model: the run.
        others: the baselines.
    """

    loaded: LoadedRun
    generation: Generation
    wanted: Wanted
    scorer: VectorScorer
    model: Measured
    others: Sequence[Measured]


def measure(
    run: Path, generation: Generation, checkpoint: str, wanted: Wanted, on_progress: OnProgress
) -> MeasuredRun:
    """Evaluate a run and its baselines on the first users of a split.

    Counting baselines and runs are ranked with the settings of the run. `repeat` is added for a model with a repeat term,
    `unseen-first` for a temporal split.

    Raises:
        CallError: a run, a checkpoint, the split or a baseline does not exist.
        GenerationError: a run was trained on another generation.
        RunError: a score is not finite.
    """
    check_split(wanted.split)
    loaded = load_run(run, checkpoint, data=generation)
    config = _with_metrics(loaded.config)
    scorer = VectorScorer(loaded.model)
    lacks = lacking(generation, loaded.model.inputs)
    passes = _Passes(generation, config, wanted, on_progress)
    model = passes.of(loaded.config.model.name, scorer, lacks)
    if not model.evaluation.per_user.users:
        raise CallError(
            f"the split {wanted.split} has no user with a target",
            todo="Choose another --split, or leave out --data for a page of the log alone.",
        )
    others = [passes.baseline(name) for name in _names(loaded, generation, wanted)]
    return MeasuredRun(loaded, generation, wanted, scorer, model, others)


def _names(loaded: LoadedRun, generation: Generation, wanted: Wanted) -> list[str]:
    added = ["repeat"] if loaded.model.repeats is not None else []
    added += [UNSEEN_FIRST] if is_temporal(generation) else []
    return list(dict.fromkeys([*wanted.baselines, *added]))


def _with_metrics(config: Config) -> Config:
    """The config, with the metrics at the k of the page besides its own."""
    ks = tuple(sorted({TOP, *config.evaluation.ks}))
    settings = config.evaluation.model_copy(update={"ks": ks})
    return config.model_copy(update={"evaluation": settings})


@dataclass(frozen=True)
class _Passes:
    generation: Generation
    config: Config
    wanted: Wanted
    on_progress: OnProgress

    def baseline(self, name: str) -> Measured:
        """A run in a folder, or a counting baseline."""
        self.on_progress(f"reading {name}")
        if is_counting(name):
            refit = self.config.train.refit_epochs > 0
            counting = build_counting(name, self.generation, refit=refit, config=self.config)
            return self.of(name, counting, lacking(self.generation, counting.inputs))
        loaded = load_run(name, data=self.generation)
        lacks = lacking(self.generation, loaded.model.inputs)
        return self.of(Path(name).name, VectorScorer(loaded.model), lacks, loaded.config)

    def of(
        self, name: str, scorer: Scorer, lacks: tuple[str, ...], own: Config | None = None
    ) -> Measured:
        """A scorer; `own` is the config of a baseline's run, of which only the evaluation is replaced."""
        settings = self.config.evaluation
        config = (own or self.config).model_copy(update={"evaluation": settings})
        mask_N = candidate_mask(
            self.generation, self.wanted.split, config, scorer.table.catalogue_N
        )
        top = TopItems(
            *(scorer, TOP, settings.chunk_items, mask_N), filter_seen=settings.filter_seen
        )
        evaluation = evaluate_scorer(
            scorer,
            self.generation,
            self.wanted.split,
            config,
            name=name,
            max_users=self.wanted.users,
            on_progress=lambda users: self.on_progress(f"{name}: {users:,} users ranked"),
            on_block=top.add,
            lacks=lacks,
        )
        return Measured(name, evaluation, top)
