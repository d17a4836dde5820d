"""Which runs a run may be warm-started from: the generations, the settings, the features, the state of the other run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from heterrec_model.config import Config, WarmStartConfig, trained_on_validation
from heterrec_model.model_settings import flat_settings
from heterrec_model.runs.checkpoints import BEST, LAST, MODEL, Checkpoint, read_checkpoint
from heterrec_model.runs.run_folder import CONFIG, RunFolder, RunGeneration
from heterrec_model.runs.weights import TRAINED
from heterrec_model.training.progress import Progress, is_finished
from heterrec_model.training.saved_state import check_state
from heterrec_schemas.errors import CallError, GenerationError, suggest
from heterrec_schemas.generation import Generation
from heterrec_schemas.generation.lineage import begun_at, place_of_content

Side = Literal["item", "user"]
_SETTINGS: dict[Side, str] = {"item": "model.features", "user": "model.user_features"}
_EARLIER = (
    "was trained by an earlier version, which did not record what a warm start needs: its features in order, and the items "
    "that it was trained on"
)


def with_warm_start(
    config: Config,
    run: str | Path | None,
    generation: Generation,
    folder: RunFolder,
    *,
    resume: bool,
) -> Config:
    """The configuration of a run with its warm start, if it has one.

    Args:
        config: as the caller gave it.
        run: the run to start from, as the caller gave it.
        generation: to train on.
        folder: of the new run, or of the run to resume, which keeps its warm start.
        resume: whether a run in the folder is continued.

    Raises:
        CallError: the settings do not allow the warm start, or the run to start from is unfinished.
        GenerationError: the generation does not descend from that of the run.
        CorruptCheckpointError: the run is damaged.
    """
    if resume and CONFIG in folder.contents():
        return _resumed(config, folder, run)
    if run is not None:
        return warm_started(config, run, generation)
    if config.warm_start is not None:
        raise CallError(
            f"the configuration is that of a run which was warm-started from {config.warm_start.run}",
            todo="Add --warm-start to start from a run again, or --set warm_start=null to train anew.",
        )
    return config


def warm_started(config: Config, run: str | Path, generation: Generation) -> Config:
    """The configuration of a new run that starts from another one: with its features, and the record of its checkpoint.

    Raises:
        CallError: see `with_warm_start`.
        GenerationError: likewise.
        CorruptCheckpointError: likewise.
    """
    folder = RunFolder(run)
    before, trained = folder.config(), folder.generation()
    place = _place(folder, trained, generation)
    if trained.features is None or trained.user_features is None:
        raise _of_an_earlier_version(folder)
    problems = [
        *_other_settings(before, config),
        *_other_features("item", trained.features, config.model.features, generation, place),
        *_other_features(
            "user", trained.user_features, config.model.user_features, generation, place
        ),
    ]
    if problems:
        raise CallError(
            "\n  ".join([f"a warm start from {folder.path} keeps its model", *problems]),
            todo="Leave out --config and these settings to take those of that run, or train a new run without --warm-start.",
        )
    checkpoint = _best_of_finished(folder, before)
    if checkpoint.weight(TRAINED) is None:
        raise _of_an_earlier_version(folder)
    return _with_features(config, trained.features, trained.user_features).model_copy(
        update={
            "warm_start": WarmStartConfig(
                run=str(folder.path.resolve()),
                checkpoint=checkpoint.name,
                sha256=checkpoint.state["sha256"][MODEL],
                generation=trained.id,
                content_sha256=trained.content_sha256,
                refit=trained_on_validation(before),
            )
        }
    )


def recorded_checkpoint(start: WarmStartConfig) -> Checkpoint:
    """The checkpoint that a configuration records.

    Raises:
        CallError: it no longer exists, or has other weights.
        CorruptCheckpointError: it is damaged.
    """
    folder = RunFolder(start.run)
    checkpoint = read_checkpoint(folder.checkpoints.find(start.checkpoint))
    if checkpoint.state["sha256"][MODEL] != start.sha256:
        raise CallError(
            f"{checkpoint.path} has other weights than when this run was started from it",
            got=f"SHA-256 {checkpoint.state['sha256'][MODEL]}",
            expected=start.sha256,
            todo="Start a new run from it in another --run.",
        )
    return checkpoint


def _resumed(config: Config, folder: RunFolder, run: str | Path | None) -> Config:
    """The configuration of a resumed run, which keeps its warm start."""
    saved = folder.config()
    start = saved.warm_start
    if run is not None and (start is None or Path(run).resolve() != Path(start.run)):
        raise CallError(
            f"{folder.path} was not warm-started from {run}",
            got="no warm start" if start is None else f"a warm start from {start.run}",
            todo="Resume it without --warm-start, or choose another --run.",
        )
    if start is None:
        return config
    items, users = saved.model.features or (), saved.model.user_features or ()
    return _with_features(config, items, users).model_copy(update={"warm_start": start})


def _with_features(config: Config, items: tuple[str, ...], users: tuple[str, ...]) -> Config:
    """The configuration with these features in this order, unless it names others."""
    model = config.model
    names = {"features": items, "user_features": users}
    same = {
        name: listed
        for name, listed in names.items()
        if getattr(model, name) is None or set(getattr(model, name)) == set(listed)
    }
    return config.model_copy(update={"model": model.model_copy(update=same)})


def _of_an_earlier_version(folder: RunFolder) -> CallError:
    return CallError(f"{folder.path} {_EARLIER}", todo="Train a new run without --warm-start.")


def _place(folder: RunFolder, trained: RunGeneration, generation: Generation) -> int:
    """The place of the run's generation in the lineage of the new one."""
    manifest = generation.manifest
    place = place_of_content(manifest, trained.content_sha256)
    if place is None:
        known = [ancestor.generation for ancestor in manifest.lineage]
        ancestors = f"{known[0]} to {known[-1]}" if len(known) > 1 else "".join(known)
        raise GenerationError(
            f"{folder.path} cannot be carried over to {manifest.generation}: that is no descendant of the generation that "
            "the run was trained on",
            got=f"{len(known)} ancestor(s), {ancestors}" if known else "a build without ancestors",
            expected=trained.shown,
            todo="Refresh that generation with `heterrec-pipeline refresh --base`, or train a new run without --warm-start.",
        )
    return place


def _other_settings(before: Config, now: Config) -> Iterator[str]:
    """The settings that the weights depend on and that differ: those of the model, and which terms the loss has."""
    old, new = (
        flat_settings(config.model_dump(mode="json", include={"model", "loss"}))
        for config in (before, now)
    )
    for name in sorted({*old, *new}):
        got, expected = new.get(name), old.get(name)
        if name == "loss.token_weight":
            differs = bool(got) != bool(expected)  # 0: there is no W_i of tokens
        elif name.startswith("model.frozen."):
            # the files are those of another day; they are given for the same features
            differs = name.endswith(".files") and (got is None) != (expected is None)
        elif name in _SETTINGS.values():
            differs = False  # features have messages of their own
        else:
            differs = got != expected and (name.startswith("model.") or name == "loss.steps")
        if differs:
            yield f"{name}: got {got!r}, expected {expected!r}"


def _other_features(
    side: Side,
    had: tuple[str, ...],
    wanted: tuple[str, ...] | None,
    generation: Generation,
    place: int,
) -> Iterator[str]:
    """The features of one side that are not those of the run, or whose ids are not."""
    manifest = generation.manifest
    entries = {entry.name: entry for entry in manifest.features if entry.side == side}
    for name in dict.fromkeys([*had, *(wanted or ())]):
        entry = entries.get(name)
        if entry is None:
            hint = f". {suggest(name, entries)}" if wanted is not None and name in wanted else ""
            yield f"{side} feature {name!r}: {manifest.generation} does not have it{hint}"
        elif begun_at(manifest, entry) > place:
            begun = entry.begun or manifest.generation
            yield f"{side} feature {name!r}: begun in {begun}, later than the generation of the run"
    if wanted is not None and set(wanted) != set(had):
        yield f"{_SETTINGS[side]}: got {list(wanted)}, expected {list(had)}"


def _best_of_finished(folder: RunFolder, config: Config) -> Checkpoint:
    """The best checkpoint of a run that has ended."""
    last = read_checkpoint(folder.checkpoints.find(LAST))
    check_state(last)
    progress = Progress(**last.state["progress"])
    if not is_finished(config.train, progress):
        epochs = config.train.epochs + config.train.refit_epochs
        raise CallError(
            f"{folder.path} is unfinished",
            got=f"{progress.epoch} of {epochs} epochs, {progress.step:,} steps",
            todo=f"Finish it with `heterrec-model train --resume --run {folder.path}`, then start from it.",
        )
    best = folder.checkpoints.find(BEST)
    return last if best == last.path else read_checkpoint(best)
