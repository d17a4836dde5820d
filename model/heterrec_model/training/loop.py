"""`train(config)`: sets a run up, or takes it up again, and lets the trainer work."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from rich.console import Console

from heterrec_model.config import Config
from heterrec_model.data.loader import train_loader
from heterrec_model.data.token_table import TokenTable, open_token_table
from heterrec_model.registry import build_model, move_to_device
from heterrec_model.runs.checkpoints import Checkpoint
from heterrec_model.runs.log import RunLog
from heterrec_model.runs.run_folder import RunFolder
from heterrec_model.training.display import Display
from heterrec_model.training.processes import World, joined, lost
from heterrec_model.training.result import TrainResult
from heterrec_model.training.signals import StopRequest
from heterrec_model.training.trainer import Trainer
from heterrec_model.training.validation import check_metric, validation
from heterrec_schemas.errors import CallError, RunError
from heterrec_schemas.generation import Generation, open_generation

_GONE = ("closed by peer", "connection", "timed out", "broken pipe", "gloo", "nccl")


def train(
    config: Config, *, data: str | Path, run: str | Path, resume: bool = False, quiet: bool = False
) -> TrainResult:
    """Train a model from a generation into a run folder.

    On a CPU a run that was interrupted and resumed ends with the same bits as one that was left alone, given as many
    threads. SIGTERM and Ctrl-C end the run after the step that it is in; it is saved and can be resumed. Under torchrun
    every process calls this; they need the run folder in common.

    Args:
        config: all settings.
        data: an output folder (its latest generation) or a generation's own folder.
        run: the run's folder; made if absent.
        resume: go on with the run in the folder; without a checkpoint it starts at step 0.
        quiet: show nothing but warnings.

    Raises:
        CallError: the folder already holds a run and `resume` is false, or a setting does not fit.
        GenerationError: the generation cannot be read, or the run was trained on another one.
        RunError: the loss is no longer finite, a disk is full, another process has ended.
    """
    started = time.monotonic()
    check_metric(config)
    stop, folder = StopRequest(), RunFolder(run)
    with (
        stop.listening(),
        joined(config.train.device) as world,
        _settled(config, world),
        _named(world),
    ):
        generation = open_generation(data, verify="sizes")
        console = Console(stderr=True, markup=False) if world.main and not quiet else None
        with folder.lock() if world.main else nullcontext(), Display(console) as display:
            world.first(lambda: folder.start(config, generation, resume=resume))
            trainer = _trainer(config, generation, folder, world, display, stop)
            try:
                trainer.fit()
            finally:
                if trainer.log is not None:
                    trainer.log.close()
    p = trainer.progress
    return TrainResult(
        run=folder.path,
        step=p.step,
        epoch=p.epoch,
        best_metric=p.best,
        best_step=p.best_step,
        metrics=p.best_metrics,
        stopped=trainer.stopped_by,
        seconds=time.monotonic() - started,
        main=world.main,
    )


def _trainer(
    config: Config,
    generation: Generation,
    folder: RunFolder,
    world: World,
    display: Display,
    stop: StopRequest,
) -> Trainer:
    """A trainer that stands where the run's newest whole checkpoint left off."""
    if config.train.sparse_tables and world.size > 1 and world.device.type == "cuda":
        raise CallError(
            "train.sparse_tables: several GPUs cannot add up sparse gradients (NCCL knows none)",
            todo="Set it to false, or train on one GPU.",
        )
    checkpoint = _newest(folder, world, display)
    table = _token_table(config, generation, folder, world)
    model = move_to_device(build_model(config, table, generation), world.device)
    trainer = Trainer(
        config=config,
        model=model,
        loader=train_loader(generation, config, rank=world.rank, world=world.size),
        world=world,
        validate=validation(model, generation, config),
        checkpoints=folder.checkpoints,
        display=display,
        stop=stop,
        fingerprint={
            "id": generation.manifest.generation,
            "content_sha256": generation.manifest.content_sha256,
        },
    )
    if checkpoint is not None:
        trainer.restore(checkpoint)
        display.say(f"going on at step {checkpoint.step:,}")
    if world.main:
        trainer.log = RunLog(
            folder,
            length=trainer.progress.log_bytes,
            step=trainer.progress.step,
            tensorboard=config.train.tensorboard,
        )
    return trainer


def _newest(folder: RunFolder, world: World, display: Display) -> Checkpoint | None:
    """The checkpoint to go on from, the same on every rank; what is newer and broken is removed."""

    def choose() -> Checkpoint | None:
        chosen = folder.checkpoints.newest(display.warn)
        folder.checkpoints.rewind(chosen)
        return chosen

    found = world.first(choose)
    if found is None:
        return None
    if found.state["world"] != world.size:
        raise CallError(
            f"{folder.path} was trained by another number of processes",
            got=world.size,
            expected=found.state["world"],
            todo="Resume with as many: each has its own place in the data.",
        )
    now = {"threads": torch.get_num_threads(), "torch": str(torch.__version__)}
    now["device"] = world.device.type
    other = [
        f"{name} {found.state[name]}, now {now[name]}"
        for name in now
        if found.state[name] != now[name]
    ]
    if world.main and other:
        display.warn(
            f"{found.name} was trained with {'; '.join(other)}: the run goes on, but its last bits may differ from those of "
            "a run left alone"
        )
    return found


def _token_table(
    config: Config, generation: Generation, folder: RunFolder, world: World
) -> TokenTable:
    """The items' tokens; several processes share the pages of one copy, which rank 0 writes."""

    def read(cache: Path | None) -> TokenTable:
        return open_token_table(
            generation,
            features=config.model.features,
            user_features=config.model.user_features,
            cache=cache,
            refit=config.train.refit_epochs > 0,
        )

    if world.size == 1:
        return read(None)
    world.first(lambda: read(folder.cache) and None)
    return read(folder.cache)


@contextmanager
def _settled(config: Config, world: World) -> Iterator[None]:
    """Threads and determinism as a run needs them, and afterwards as they were."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    if world.device.type == "cpu":
        # Several threads would add up gradients of one row in the order in which they come. Unlike its sister
        # use_deterministic_algorithms, this call does not spend seconds on importing the compiler.
        torch.set_deterministic_debug_mode("error")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


@contextmanager
def _named(world: World) -> Iterator[None]:
    """Give the errors of PyTorch that a run can expect a message of their own."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise RunError(
            f"the GPU's memory is full: {str(error).partition('.')[0]}",
            todo="Lower data.batch_items (and raise train.accumulate), or negatives.in_batch and negatives.uniform.",
        ) from error
    except RuntimeError as error:
        if world.size > 1 and any(word in str(error).lower() for word in _GONE):
            raise lost(error) from error
        raise
