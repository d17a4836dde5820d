"""Evaluation on a split: ranks the targets among the candidates with the same code for every model and baseline."""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heterrec_model.config import MOST, Config, trained_on_validation
from heterrec_model.data.inference_batches import split_batches
from heterrec_model.data.inputs import lacking
from heterrec_model.evaluation.candidates import CANDIDATE_SETS, candidate_mask, is_temporal
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.per_user import EncodedUsers, RankedUsers, user_blocks
from heterrec_model.evaluation.scorers import Scorer, VectorScorer
from heterrec_model.registry import build_counting
from heterrec_model.runs.load_run import load_run
from heterrec_model.runs.run_folder import RunFolder
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.generation import Generation, open_generation

SPLITS = ("validation", "test")
UNSEEN_FIRST = "unseen-first"
"""The baseline that every table of a temporal split contains."""
OnProgress = Callable[[int], None]
"""Called with the number of users ranked so far."""


def evaluate(
    run: str | Path, data: str | Path | Generation, split: str = "test", **options: Any
) -> dict[str, Any]:
    """Evaluate a checkpoint of a run, as JSON: see `evaluate_run` for options and errors.

    With a temporal split, `unseen_first` is the evaluation of the baseline of this name, else None.
    """
    generation = load_generation(data)
    result = evaluate_run(run, generation, split, **options)
    unseen_first = None
    if is_temporal(generation):
        settings = {name: options.get(name) for name in ("filter_seen", "ks", "candidates")}
        config = with_settings(RunFolder(run).config(), **settings)
        unseen_first = evaluate_baseline(
            generation, UNSEEN_FIRST, split, config=config, max_users=options.get("max_users")
        ).to_json()
    return {**result.to_json(), "unseen_first": unseen_first}


def evaluate_run(
    run: str | Path,
    data: str | Path | Generation,
    split: str = "test",
    *,
    checkpoint: str = "best",
    filter_seen: bool | None = None,
    ks: Sequence[int] | None = None,
    candidates: str | None = None,
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
        candidates: known (at the cut of a temporal split) or all items; None uses the run's config.
        max_users: maximum number of users.
        on_progress: called with the number of users ranked so far.

    Raises:
        CallError: the split, run or checkpoint does not exist, a k is below 1, or `candidates` is unknown.
        GenerationError: the generation does not exist, is damaged, or is not that of the run.
        RunError: a score is not finite.
    """
    check_split(split)
    generation = load_generation(data)
    loaded = load_run(run, checkpoint=checkpoint, data=generation)
    if split == "validation" and trained_on_validation(loaded.config):
        before = "" if loaded.config.train.refit_epochs else ", or the run that it was started from"
        warnings.warn(
            f"{run}{before} was also trained on the validation split (train.refit_epochs): its metrics there are not "
            "meaningful",
            stacklevel=2,
        )
    return evaluate_model(
        loaded.model,
        generation,
        split,
        with_settings(loaded.config, filter_seen, ks, candidates),
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
) -> Evaluation:
    """Evaluate a counting baseline, see `registry.build_counting`, on the same users as a run.

    The config's `evaluation`, batch sizes and `train.refit_epochs` are used; None uses the defaults. `max_users` is the
    maximum number of users.

    Raises:
        CallError: the baseline or the split does not exist.
        GenerationError: the generation does not exist or is damaged.
    """
    check_split(split)
    generation, config = load_generation(data), config or Config()
    refit = config.train.refit_epochs > 0
    scorer = build_counting(name, generation, refit=refit, config=config)
    lacks = lacking(generation, scorer.inputs)
    return evaluate_scorer(
        scorer, generation, split, config, name=name, max_users=max_users, lacks=lacks
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
        lacks=lacking(generation, model.inputs),
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
    on_block: Callable[[EncodedUsers], None] | None = None,
    checkpoint: str | None = None,
    started: float | None = None,
    lacks: tuple[str, ...] = (),
) -> Evaluation:
    """Evaluate any scorer: see `evaluate_model`; `name` and `lacks` are those of the result.

    `on_block` is called with each block of users after its targets were ranked.
    """
    started = time.perf_counter() if started is None else started
    settings = config.evaluation
    batches = split_batches(generation, split, config, max_users=max_users)
    catalogue_N = scorer.table.catalogue_N
    candidates_N = candidate_mask(generation, split, config, catalogue_N)
    ranked = RankedUsers(
        scorer, settings.chunk_items, candidates_N, filter_seen=settings.filter_seen
    )
    for users in user_blocks(scorer, batches, config):
        ranked.add(users)
        if on_block is not None:
            on_block(users)
        if on_progress is not None:
            on_progress(len(ranked.user_ids))
    cold_N = scorer.table.train_count_I[catalogue_N] == 0
    if candidates_N is not None:
        cold_N &= candidates_N
    return Evaluation(
        name=name,
        split=split,
        per_user=ranked.result(),
        catalogue=len(catalogue_N),
        candidate_set="all" if candidates_N is None else "known",
        candidates=len(catalogue_N) if candidates_N is None else int(candidates_N.sum()),
        cold_candidates=int(cold_N.sum()),
        ks=settings.ks,
        seen_filtered=settings.filter_seen,
        checkpoint=checkpoint,
        generation=generation.manifest.generation,
        seconds=time.perf_counter() - started,
        lacks=lacks,
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


def with_settings(
    config: Config,
    filter_seen: bool | None,
    ks: Sequence[int] | None,
    candidates: str | None,
) -> Config:
    """The config with other values of `filter_seen`, `ks` and `candidates`, unless they are None.

    Raises:
        CallError: ks is empty, a k is below 1, or `candidates` is neither known nor all.
    """
    if ks is not None and (not ks or min(ks) < 1 or max(ks) > MOST):
        raise CallError("ks", got=list(ks), expected=f"numbers from 1 to {MOST:,}")
    if candidates not in (None, *CANDIDATE_SETS):
        raise CallError(
            "candidates", got=repr(candidates), expected=f"one of {', '.join(CANDIDATE_SETS)}"
        )
    changes: dict[str, Any] = {}
    if candidates is not None:
        changes["candidates"] = candidates
    if filter_seen is not None:
        changes["filter_seen"] = filter_seen
    if ks is not None:
        changes["ks"] = tuple(dict.fromkeys(ks))
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=changes)})
