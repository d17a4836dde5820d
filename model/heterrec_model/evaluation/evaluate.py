"""Evaluation on a split: ranks the targets in the full catalogue with the same code for every model and baseline."""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heterrec_model.config import MOST, Config
from heterrec_model.data.inference_batches import split_batches
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.history_length import with_whole_histories
from heterrec_model.evaluation.per_user import RankedUsers, user_blocks
from heterrec_model.evaluation.scorers import Scorer, VectorScorer
from heterrec_model.registry import build_counting
from heterrec_model.runs.load_run import load_run
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.generation import Generation, open_generation

SPLITS = ("validation", "test")
OnProgress = Callable[[int], None]
"""Called with the number of users ranked so far."""


def evaluate(
    data: str | Path | Generation, run: str | Path, split: str = "test", **options: Any
) -> dict[str, Any]:
    """Evaluate a checkpoint of a run, as JSON: see `evaluate_run` for options and errors."""
    return evaluate_run(data, run, split, **options).to_json()


def evaluate_run(
    data: str | Path | Generation,
    run: str | Path,
    split: str = "test",
    *,
    checkpoint: str = "best",
    filter_seen: bool | None = None,
    ks: Sequence[int] | None = None,
    max_users: int | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Evaluate a checkpoint of a run on a split of the generation that it was trained on.

    Args:
        data: an output folder (its latest generation), the folder of a generation, or an open generation.
        run: folder of the run.
        split: validation or test.
        checkpoint: best, last, or the name of a checkpoint.
        filter_seen: whether all items of the history's row are left out of the ranking, unless they are targets; None
            uses the run's config.
        ks: of the metrics; None uses the run's config.
        max_users: maximum number of users.
        on_progress: called with the number of users ranked so far.

    Raises:
        CallError: the split, run or checkpoint does not exist, or a k is below 1.
        GenerationError: the generation does not exist, is damaged, or is not that of the run.
        RunError: a score is not finite.
    """
    check_split(split)
    generation = load_generation(data)
    loaded = load_run(run, checkpoint=checkpoint, data=generation)
    if split == "validation" and loaded.config.train.refit_epochs:
        warnings.warn(
            f"{run} was also trained on the validation split (train.refit_epochs): its metrics there are not meaningful",
            stacklevel=2,
        )
    return evaluate_model(
        loaded.model,
        generation,
        split,
        with_settings(loaded.config, filter_seen, ks),
        max_users=max_users,
        on_progress=on_progress,
        checkpoint=loaded.name,
    )


def evaluate_baseline(
    data: str | Path | Generation, name: str, split: str = "test", *, config: Config | None = None
) -> Evaluation:
    """Evaluate a counting baseline, a key of `registry.COUNTING`, on the same users as a run.

    The config's `evaluation`, batch sizes and `train.refit_epochs` are used; None uses the defaults.

    Raises:
        CallError: the baseline or the split does not exist.
        GenerationError: the generation does not exist or is damaged.
    """
    check_split(split)
    generation, config = load_generation(data), config or Config()
    scorer = build_counting(name, generation, refit=config.train.refit_epochs > 0)
    return evaluate_scorer(scorer, generation, split, config, name=name)


def evaluate_model(
    model: TwoTowerModel,
    generation: Generation,
    split: str,
    config: Config,
    *,
    max_users: int | None = None,
    on_progress: OnProgress | None = None,
    checkpoint: str | None = None,
) -> Evaluation:
    """Evaluate a model on any device; its mode, training or evaluation, is unchanged.

    The config's `evaluation`, `data` and `model.max_length` are used. `max_users`, `on_progress` and errors are those of
    `evaluate_run`; `checkpoint` is a name for the result.
    """
    check_split(split)
    started = time.perf_counter()
    return evaluate_scorer(
        VectorScorer(model),
        generation,
        split,
        config,
        name=config.model.name,
        max_users=max_users,
        on_progress=on_progress,
        checkpoint=checkpoint,
        started=started,
    )


def evaluate_scorer(
    scorer: Scorer,
    generation: Generation,
    split: str,
    config: Config,
    *,
    name: str,
    max_users: int | None = None,
    on_progress: OnProgress | None = None,
    checkpoint: str | None = None,
    started: float | None = None,
) -> Evaluation:
    """Evaluate any scorer: see `evaluate_model`; `name` is that of the result."""
    started = time.perf_counter() if started is None else started
    settings = config.evaluation
    whole = with_whole_histories(config, generation) if settings.filter_seen else config
    batches = split_batches(generation, split, whole, max_users=max_users)
    ranked = RankedUsers(scorer, settings.chunk_items)
    for users in user_blocks(scorer, batches, config):
        ranked.add(users)
        if on_progress is not None:
            on_progress(len(ranked.user_ids))
    return Evaluation(
        name=name,
        split=split,
        per_user=ranked.result(),
        catalogue=len(scorer.table.catalogue_N),
        ks=settings.ks,
        seen_filtered=settings.filter_seen,
        checkpoint=checkpoint,
        generation=generation.manifest.generation,
        seconds=time.perf_counter() - started,
    )


def check_split(split: str) -> None:
    """Check that a split has targets.

    Raises:
        CallError: it is neither validation nor test.
    """
    if split not in SPLITS:
        raise CallError(f"there is no split {split!r} with targets", todo=suggest(split, SPLITS))


def load_generation(data: str | Path | Generation) -> Generation:
    """An open generation as it is, or the generation at a path, with its file sizes checked."""
    return data if isinstance(data, Generation) else open_generation(data, verify="sizes")


def with_settings(config: Config, filter_seen: bool | None, ks: Sequence[int] | None) -> Config:
    """The config with other values of `filter_seen` and `ks`, unless they are None.

    Raises:
        CallError: ks is empty, or a k is below 1.
    """
    if ks is not None and (not ks or min(ks) < 1 or max(ks) > MOST):
        raise CallError("ks", got=list(ks), expected=f"numbers from 1 to {MOST:,}")
    changes: dict[str, Any] = {}
    if filter_seen is not None:
        changes["filter_seen"] = filter_seen
    if ks is not None:
        changes["ks"] = tuple(dict.fromkeys(ks))
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=changes)})
