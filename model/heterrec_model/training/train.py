"""Set-up of a new, warm-started or resumed training run: `train(config)`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from rich.console import Console

from heterrec_model.config import Config
from heterrec_model.data.token_table import TokenTable, configured_table, with_trained
from heterrec_model.data.train_loader import TrainLoader
from heterrec_model.evaluation.candidates import check_candidates
from heterrec_model.model_settings import flat_settings
from heterrec_model.progress_display import ProgressDisplay
from heterrec_model.registry import build_model, move_to_device
from heterrec_model.runs.checkpoints import Checkpoint
from heterrec_model.runs.mlflow_log import MlflowLog, Status
from heterrec_model.runs.run_folder import RunFolder
from heterrec_model.runs.run_log import RunLog
from heterrec_model.runs.weights import TRAINED
from heterrec_model.training.carry_over import carry_over, trained_items
from heterrec_model.training.check_config import (
    check_for_device,
    check_for_generation,
    check_settings,
)
from heterrec_model.training.processes import World, joined_processes, lost_process
from heterrec_model.training.progress import TrainResult
from heterrec_model.training.saved_state import check_state
from heterrec_model.training.stop_request import StopRequest
from heterrec_model.training.trainer import Trainer
from heterrec_model.training.validation import validation
from heterrec_model.training.warm_start import recorded_checkpoint, with_warm_start
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import CallError, CorruptCheckpointError, RunError
from heterrec_schemas.generation import Generation, open_generation
from heterrec_schemas.generation.lineage import place_of_content
from heterrec_schemas.leases import reader_lease

_LOST_PROCESS = ("closed by peer", "connection", "timed out", "broken pipe", "gloo", "nccl")
"""Words in PyTorch's errors about a process that does not respond."""


def train(
    config: Config,
    *,
    data: str | Path,
    run: str | Path,
    warm_start: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> TrainResult:
    """Train a model from a generation into a run folder.

    On a CPU, an interrupted and resumed run ends with the same bits as an uninterrupted one with the same number of
    threads. SIGTERM and Ctrl-C stop the run after the current step; it is saved and can be resumed. Under torchrun every
    process calls this function; all of them need access to the run folder. Where the output of the generation can be written,
    a lease keeps purges from deleting it meanwhile.

    Args:
        config: configuration of the run.
        data: an output folder (its latest generation) or the folder of a generation.
        run: folder of the run; created if absent.
        warm_start: folder of a finished run whose weights the new run begins with. Its generation is `data` or an ancestor of
            it, and its `model` settings are those of `config`, whose features may be None: those of that run.
        resume: continue the run in the folder; without a checkpoint it starts at step 0.
        quiet: print nothing but warnings.

    Raises:
        CallError: the folder already contains a run and `resume` is false, a setting is invalid or differs from those of the
            run to start from, or that run is unfinished.
        GenerationError: the generation cannot be read, the run was trained on another one, or the generation does not descend
            from that of the run to start from.
        CorruptCheckpointError: the run to start from is damaged.
        RunError: the loss is not finite, a disk is full, or another process has ended.
    """
    started = time.monotonic()
    check_settings(config)
    stop, folder = StopRequest(), RunFolder(run)
    with (
        stop.listening(),
        joined_processes(config.train.device) as world,
        _torch_settings(config, world),
        _torch_errors(world),
    ):
        check_for_device(config, world.device, world.size)
        generation = open_generation(data, verify="sizes")
        check_candidates(generation, config)
        given = config
        config = world.on_main(
            lambda: with_warm_start(given, warm_start, generation, folder, resume=resume)
        )
        check_for_generation(config, generation, resume=resume)
        # before the folder exists: what is refused leaves nothing behind
        world.on_main(lambda: folder.check(config, generation, resume=resume))
        console = Console(stderr=True, markup=False) if world.main and not quiet else None
        with (
            folder.lock() if world.main else nullcontext(),
            reader_lease(generation.folder.path, "train") if world.main else nullcontext(),
            ProgressDisplay(console) as display,
        ):
            world.on_main(lambda: folder.check(config, generation, resume=resume))
            trainer = _trainer(config, generation, folder, world, display, stop)
            status: Status = "FAILED"
            try:
                trainer.fit()
                status = "KILLED" if trainer.stopped else "FINISHED"
                if trainer.log is not None and not trainer.stopped:
                    settings = flat_settings(config.model_dump(mode="json"))
                    p = trainer.progress
                    trainer.log.result(settings, p.best_metrics, p.step)
            finally:
                if trainer.log is not None:
                    trainer.log.close(status)
    p = trainer.progress
    return TrainResult(
        run=folder.path,
        step=p.step,
        epoch=p.epoch,
        best_metric=p.best,
        best_step=p.best_step,
        metrics=p.best_metrics,
        stuck_gates=p.gates.stuck,
        stopped=trainer.stopped_by,
        warm_start=None if config.warm_start is None else config.warm_start.model_dump(),
        seconds=time.monotonic() - started,
        training_seconds=p.training_seconds,
        cpu_seconds=p.cpu_seconds,
        main=world.main,
    )


def _trainer(
    config: Config,
    generation: Generation,
    folder: RunFolder,
    world: World,
    display: ProgressDisplay,
    stop: StopRequest,
) -> Trainer:
    """A trainer in the state of the newest checkpoint that can be restored, or a new one without checkpoints.

    Raises:
        CorruptCheckpointError: complete checkpoints exist, but none can be restored.
    """
    table = _token_table(config, generation, folder, world)
    below, first = None, ""
    while True:
        checkpoint = _newest(folder, world, display, below)
        if checkpoint is None and first:
            raise CorruptCheckpointError(first, todo="Train again into another folder.")
        trainer = _new_trainer(config, generation, table, folder, world, display, stop, checkpoint)
        problem = _restore(trainer, checkpoint, world) if checkpoint is not None else ""
        if checkpoint is None or not problem:
            break
        below, first = checkpoint.step, first or problem
        if world.main:
            display.warn(f"{problem.rstrip('.')}; the previous one is used")
    world.on_main(lambda: folder.checkpoints.rewind(checkpoint))
    if checkpoint is not None:
        display.say(f"resuming at step {checkpoint.step:,}")
    world.on_main(lambda: folder.start(config, generation))
    if world.main:
        trainer.log = RunLog(
            folder,
            length=trainer.progress.log_bytes,
            step=trainer.progress.step,
            tensorboard=config.train.tensorboard,
            mlflow=MlflowLog(folder, config, trainer.generation, display.warn)
            if config.train.mlflow
            else None,
        )
    return trainer


def _new_trainer(
    config: Config,
    generation: Generation,
    table: TokenTable,
    folder: RunFolder,
    world: World,
    display: ProgressDisplay,
    stop: StopRequest,
    checkpoint: Checkpoint | None,
) -> Trainer:
    """A trainer for the state of a checkpoint, or for the first step."""
    warm = checkpoint is None and config.warm_start is not None
    if checkpoint is not None:
        table = with_trained(table, checkpoint.weight(TRAINED))
    if warm:
        model = _warm_model(config, table, generation, display)
    else:
        model = build_model(config, table, generation, frozen=checkpoint is None)
    model = move_to_device(model, world.device)
    return Trainer(
        config=config,
        model=model,
        loader=TrainLoader(generation, config, rank=world.rank, world=world.size),
        world=world,
        validate=validation(model, generation, config),
        checkpoints=folder.checkpoints,
        display=display,
        stop=stop,
        generation={
            "id": generation.manifest.generation,
            "content_sha256": generation.manifest.content_sha256,
        },
        warm=warm,
    )


def _restore(trainer: Trainer, checkpoint: Checkpoint, world: World) -> str:
    """Restore a checkpoint; returns the message of the first rank that cannot, or an empty text."""
    try:
        trainer.restore(checkpoint)
        problem = ""
    except CorruptCheckpointError as error:
        problem = f"{checkpoint.path}: {error.message}"
    return next(filter(None, world.gather(problem)), "")


def _warm_model(
    config: Config, table: TokenTable, generation: Generation, display: ProgressDisplay
) -> TwoTowerModel:
    """A model with the weights of the run that the configuration records."""
    assert config.warm_start is not None
    start = recorded_checkpoint(config.warm_start)
    weights = start.weights()
    table = with_trained(table, trained_items(weights[TRAINED], table, generation))
    model = build_model(config, table, generation)
    place = place_of_content(generation.manifest, config.warm_start.content_sha256)
    assert place is not None, "checked before"
    carried = carry_over(model, weights, generation, place)
    refitted = f", new weights for {', '.join(carried.refitted)}" if carried.refitted else ""
    display.say(
        f"starting from {config.warm_start.run}, {start.name}, of generation {config.warm_start.generation}: "
        f"{carried.new_items:,} new items{refitted}"
    )
    return model


def _newest(
    folder: RunFolder, world: World, display: ProgressDisplay, below: int | None
) -> Checkpoint | None:
    """The newest complete checkpoint, of a step below `below` if given, equal on every rank."""
    checkpoint = world.on_main(
        lambda: folder.checkpoints.newest(display.warn, check_state, below=below)
    )
    if checkpoint is None:
        return None
    state = checkpoint.state
    if state["world"] != world.size:
        raise CallError(
            f"{folder.path} was trained by another number of processes",
            got=world.size,
            expected=state["world"],
            todo="Resume with the same number: each process has its own position in the data.",
        )
    now = {"threads": torch.get_num_threads(), "torch": str(torch.__version__)}
    now["device"] = world.device.type
    changed = [
        f"{key} {state[key]}, now {value}" for key, value in now.items() if state[key] != value
    ]
    if world.main and changed:
        display.warn(
            f"{checkpoint.name} was trained with {'; '.join(changed)}: the run continues, but may not be bit-identical to an "
            "uninterrupted run"
        )
    return checkpoint


def _token_table(
    config: Config, generation: Generation, folder: RunFolder, world: World
) -> TokenTable:
    """The token table; several processes map one copy, which rank 0 writes."""
    if world.size == 1:
        return configured_table(config, generation)
    world.on_main(lambda: configured_table(config, generation, folder.cache) and None)
    return configured_table(config, generation, folder.cache)


@contextmanager
def _torch_settings(config: Config, world: World) -> Iterator[None]:
    """Set threads and determinism for a run, and restore them afterwards."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    if world.device.type == "cpu":
        # Otherwise several threads would add the gradients of a row in varying order. Unlike
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
def _torch_errors(world: World) -> Iterator[None]:
    """Convert the errors of PyTorch that a run can expect."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise RunError(
            f"the GPU is out of memory: {str(error).partition('.')[0]}",
            todo="Lower data.batch_items (and raise train.accumulate), or negatives.in_batch and negatives.uniform.",
        ) from error
    except RuntimeError as error:
        if world.size > 1 and any(word in str(error).lower() for word in _LOST_PROCESS):
            raise lost_process(error) from error
        raise
