"""Rank the targets of a split in the full catalogue, whatever gives the scores, with one and the same code."""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heterrec_model.config import Config, EvaluationConfig
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
    data: str | Path | Generation,
    run: str | Path,
    split: str = "test",
    *,
    checkpoint: str = "best",
    filter_seen: bool | None = None,
    ks: Sequence[int] | None = None,
    max_users: int | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Evaluate a run's checkpoint: the JSON of `evaluate_run`, with the same arguments and errors."""
    return evaluate_run(
        data,
        run,
        split,
        checkpoint=checkpoint,
        filter_seen=filter_seen,
        ks=ks,
        max_users=max_users,
        on_progress=on_progress,
    ).to_json()


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
    """Evaluate a run's checkpoint on a split of the generation that it was trained on.

    Args:
        data: an output folder (its latest generation), a generation's own folder, or an open one.
        run: the run's folder.
        split: validation or test.
        checkpoint: best, last, or a checkpoint's name.
        filter_seen: whether the items of a history, all that its row holds, leave the ranking, targets excepted; left
            out: as the run's config says.
        ks: of the metrics; left out: the run's.
        max_users: the first users only.
        on_progress: called with the number of users ranked so far.

    Raises:
        CallError: there is no such split, run or checkpoint, or a k is below 1.
        GenerationError: there is no generation, it is damaged, or it is not the run's.
        RunError: a score is not finite.
    """
    check_split(split)
    generation = load_generation(data)
    loaded = load_run(run, checkpoint=checkpoint, data=generation)
    if split == "validation" and loaded.config.train.refit_epochs:
        warnings.warn(
            f"{run} was trained on the validation split in the end (train.refit_epochs): its figures there are no measure",
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
    data: str | Path | Generation,
    name: str,
    split: str = "test",
    *,
    config: Config | None = None,
    max_users: int | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Evaluate a baseline without weights on the same users as a run.

    Args:
        data: as for `evaluate_run`.
        name: a key of `registry.COUNTING`.
        split: validation or test.
        config: its `evaluation`, how batches are made, and whether a refit takes the validation split in; left out: the
            defaults.
        max_users: the first users only.
        on_progress: called with the number of users ranked so far.

    Raises:
        CallError: there is no such baseline or split.
        GenerationError: there is no generation, or it is damaged.
    """
    check_split(split)
    generation, config = load_generation(data), config or Config()
    return evaluate_scorer(
        build_counting(name, generation, refit=config.train.refit_epochs > 0),
        generation,
        split,
        config,
        name=name,
        max_users=max_users,
        on_progress=on_progress,
    )


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
    """Evaluate a model as it is; it is left in the mode, training or not, that it was found in.

    Args:
        model: on any device.
        generation: whose token table the model has.
        split: validation or test.
        config: its `evaluation`, and `data` and `model.max_length` for the batches.
        max_users: the first users only.
        on_progress: called with the number of users ranked so far.
        checkpoint: the name that the result carries.

    Raises:
        CallError: there is no such split.
        RunError: a score is not finite.
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
    """Rank by any scorer: see `evaluate_model`; `name` is the result's."""
    started = time.perf_counter() if started is None else started
    settings = config.evaluation
    wide = with_whole_histories(config, generation) if settings.filter_seen else config
    batches = split_batches(generation, split, wide, max_users=max_users)
    ranked = RankedUsers(scorer, settings.chunk_items)
    for users in user_blocks(scorer, batches, config):
        ranked.add(users)
        if on_progress is not None:
            on_progress(ranked.users)
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
    """Refuse a split without targets.

    Raises:
        CallError: it is neither validation nor test.
    """
    if split not in SPLITS:
        raise CallError(f"there is no split {split!r} with targets", todo=suggest(split, SPLITS))


def load_generation(data: str | Path | Generation) -> Generation:
    """The generation itself, or the one at a path; its files' sizes are checked."""
    return data if isinstance(data, Generation) else open_generation(data, verify="sizes")


def with_settings(config: Config, filter_seen: bool | None, ks: Sequence[int] | None) -> Config:
    """The config with another filter and other ks, where they are given.

    Raises:
        CallError: there is no k, or one is below 1.
    """
    if ks is not None and (not ks or min(ks) < 1):
        raise CallError("ks", got=list(ks), expected="numbers from 1")
    changes: dict[str, Any] = {}
    if filter_seen is not None:
        changes["filter_seen"] = filter_seen
    if ks is not None:
        changes["ks"] = tuple(dict.fromkeys(ks))
    evaluation: EvaluationConfig = config.evaluation.model_copy(update=changes)
    return config.model_copy(update={"evaluation": evaluation})
