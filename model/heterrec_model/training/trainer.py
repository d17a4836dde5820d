"""The training loop: steps, validations and checkpoints, until the end of the run or a stop request.

Order within a step: the update, its log line, a validation, a checkpoint. Every rank makes the same decisions; only rank 0
validates and writes.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.train_loader import TrainLoader
from heterrec_model.progress_display import ProgressDisplay
from heterrec_model.runs.checkpoints import Checkpoint, CheckpointFolder
from heterrec_model.runs.run_log import RunLog
from heterrec_model.runs.weights import load_weights, weights_of
from heterrec_model.training.optimizer import Optimizers
from heterrec_model.training.processes import World
from heterrec_model.training.progress import Progress, is_finished
from heterrec_model.training.schedule import rate_factor, run_share
from heterrec_model.training.step import Stepper, StepResult
from heterrec_model.training.step_meter import StepMeter, log_line
from heterrec_model.training.stop_request import StopRequest
from heterrec_model.training.validation import Validate
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import DataError, RunError


@dataclass(frozen=True, eq=False)
class _StepBatches:
    """The batches of one step.

    Attributes:
        batches: of this rank.
        parts: maximum number of batches over the ranks.
        rows: users of all ranks.
        before: position of the loader before the batches; None with several processes.
    """

    batches: list[Batch]
    parts: int
    rows: int
    before: dict[str, Any] | None


class _StoppedValidationError(Exception):
    """A stop request arrived during a validation, which is repeated after a resume."""


@dataclass(eq=False, kw_only=True)
class Trainer:
    """Trains a model.

    Attributes:
        validate: returns the validation metrics; None without validation users.
        log: on rank 0, else None.
        display: without a console on the other ranks.
        generation: id and content hash, for the checkpoints.
        warm: whether the model has the weights of another run.
    """

    config: Config
    model: TwoTowerModel
    loader: TrainLoader
    world: World
    validate: Validate | None
    checkpoints: CheckpointFolder
    display: ProgressDisplay
    stop: StopRequest
    generation: dict[str, str]
    warm: bool = False
    log: RunLog | None = None

    def __post_init__(self) -> None:
        self.progress = Progress()
        self.stopped = False
        self._optimizers = Optimizers(self.model, self.config.train)
        self._stepper = Stepper(self.model, self._optimizers, self.config.train, self.world)
        self._meter = StepMeter()
        self._batches: Iterator[Batch] | None = None
        self._out = False
        """This rank has no batches left in the epoch."""
        self._dirty = False
        """The state has changed since the last checkpoint."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore a checkpoint of the same number of processes.

        Raises:
            CorruptCheckpointError: it does not fit the model, or has no valid position in the data.
            CallError: its position is one of other data or settings.
        """
        state = checkpoint.state
        own = state["ranks"][self.world.rank]
        load_weights(self.model, checkpoint.weights(), checkpoint.name)
        self._optimizers.load(checkpoint.optimizer(), state["optimizer"])
        self.progress = Progress(**state["progress"])
        self.loader.load_state_dict(own["loader"])
        # This rank may have run out of batches in an epoch that others had not finished.
        self._out = self.loader.epoch > self.progress.epoch
        self._meter.reset(own["meter"]["sums"])

    def fit(self) -> None:
        """Train until the end of the run or a stop request, and save the final state.

        Raises:
            RunError: the loss is not finite, or a file cannot be written.
            DataError: there are no rows to train on.
        """
        self.model.train()
        if self.warm:
            # A resumed run then does not need the run that it was started from.
            self._save()
        if self.progress.validation_due:
            self._validate()
        while not (self.stopped or is_finished(self.config.train, self.progress)):
            with self.progress.timed():
                group = self._next_batches()
            if group.parts:
                self._step(group)
            else:
                self._end_epoch()
        if not self.stopped and self.progress.validated_step != self.progress.step:
            self._validate()
        if self._dirty:
            self._save()

    def share(self) -> float:
        """Share of the run that is done, 0 to 1."""
        p = self.progress
        return run_share(self.config.train, step=p.step, rows=p.rows, run_rows=self.loader.run_rows)

    @property
    def stopped_by(self) -> str | None:
        """The signal that stopped the run early; SIGTERM on a rank that received none itself."""
        return (self.stop.name or "SIGTERM") if self.stopped else None

    def _next_batches(self) -> _StepBatches:
        """The batches of the next step; `parts` is 0 if no rank has any left in this epoch."""
        before = self.loader.state_dict() if self.world.size == 1 else None
        batches: list[Batch] = []
        with self._meter.waiting():
            if self._batches is None:
                self._batches = iter(self.loader if not self._out else ())
            while len(batches) < self.config.train.accumulate and not self._out:
                batch = next(self._batches, None)
                if batch is None:
                    self._out = True
                else:
                    batches.append(batch)
        rows = sum(batch.users for batch in batches)
        ranks = self.world.gather_ints(len(batches), rows, int(self.stop.name is not None))
        parts_by_rank, rows_by_rank, stop_by_rank = zip(*ranks, strict=True)
        self.stopped = any(stop_by_rank)
        return _StepBatches(batches, max(parts_by_rank), sum(rows_by_rank), before)

    def _step(self, group: _StepBatches) -> None:
        train, p = self.config.train, self.progress
        share = self.share()
        if p.step <= train.warmup_steps:
            p.warm_share = share
        factor = rate_factor(train, step=p.step, share=share, warm_share=p.warm_share)
        try:
            with p.timed():
                result = self._stepper.run(
                    group.batches, step=p.step, parts=group.parts, factor=factor, expected=p.terms
                )
        except RunError:
            # Save the state before the step, so that a resume repeats it. With several ranks perhaps only this one
            # failed, and the positions of the others cannot be collected.
            if self.world.size == 1 and self._dirty:
                self._save(group.before)
            raise
        p.step += 1
        p.rows += group.rows
        p.refit = p.epoch >= train.epochs
        p.terms = p.terms or list(result.terms)
        self._dirty = True
        self._record(result, group, train.learning_rate * factor)
        self._watch_gates(result)
        if self.world.size == 1:
            self.stopped = self.stop.name is not None
        if train.validate_every and p.step % train.validate_every == 0:
            self._validate()
        if train.checkpoint_every and p.step % train.checkpoint_every == 0 and self._dirty:
            self._save()

    def _end_epoch(self) -> None:
        p = self.progress
        if p.rows == 0:
            raise DataError("the generation's train split has no row to train on")
        p.epoch += 1
        self._batches, self._out, self._dirty = None, False, True
        if self.config.train.validate_every is None:
            self._validate()
        if self.config.train.checkpoint_every is None and self._dirty:
            self._save()

    def _record(self, result: StepResult, group: _StepBatches, rate: float) -> None:
        """Measure a step, and write a log line if one is due."""
        p = self.progress
        items = sum(int(batch.length_B.sum()) for batch in group.batches)
        tokens = items * (len(self.model.table.features) + self.config.model.item_id)
        users = sum(batch.users for batch in group.batches)
        self._meter.count(users=users, items=items, tokens=tokens)
        self._meter.add({"loss": result.loss, "gradient_norm": result.norm})
        self._meter.add({f"terms {name}": value for name, value in result.terms.items()})
        self._meter.add({f"metrics {name}": value for name, value in result.metrics.items()})
        self.display.step(
            step=p.step, share=self.share(), loss=result.loss, items=items * self.world.size
        )
        if p.step % self.config.train.log_every == 0:
            parts = self.world.gather((self._meter.sums(), self._meter.rates()))
            self._meter.reset()
            if self.log is not None:
                head = {"step": p.step, "epoch": p.epoch, "learning_rate": rate}
                self.log.line("train", {**head, **log_line(parts)})

    def _watch_gates(self, result: StepResult) -> None:
        """Warn once when gates become stuck, and when they recover."""
        message = self.progress.gates.add(result.metrics)
        if message is not None and self.log is not None:
            self.display.warn(f"step {self.progress.step:,}: {message}")
            self.log.line("warning", {"step": self.progress.step, "message": message})

    def _validate(self) -> None:
        """Validate on rank 0 while the others wait; a new best is saved immediately."""
        p = self.progress
        p.validation_due = self._dirty = True
        if self.stopped:
            return  # repeated after a resume
        metrics: dict[str, float] | None = {}
        # In refit epochs the model has been trained on the validation users.
        decides = None if self.validate is None or p.refit else self.config.train.metric
        with self._meter.paused():
            if self.world.main and decides is not None:
                metrics = self._metrics()
            metrics = self.world.broadcast(metrics)
        if metrics is None:
            self.stopped = True
            return
        better = p.note_validation(metrics, decides)
        if decides is not None:
            if self.log is not None:
                body = {"step": p.step, "epoch": p.epoch, "metrics": metrics, "best": better}
                self.log.line("validation", body)
            note = "the best so far" if better else f"best {p.best:.4f} at step {p.best_step}"
            value = metrics[decides]
            self.display.say(f"step {p.step:,}, epoch {p.epoch}: {decides} {value:.4f} ({note})")
        if better:
            self._save()

    def _metrics(self) -> dict[str, float] | None:
        """The validation metrics, or None after a stop request."""
        assert self.validate is not None

        def on_progress(done: int, total: int) -> None:
            if self.stop.name is not None:
                raise _StoppedValidationError
            self.display.show(f"step {self.progress.step:,}, validation: {done:,}/{total:,} users")

        self.model.eval()
        try:
            return self.validate(on_progress)
        except _StoppedValidationError:
            return None
        finally:
            self.model.train()

    def _save(self, loader: dict[str, Any] | None = None) -> None:
        """Write a checkpoint; `loader` is this rank's position in the data, by default the current one."""
        with self._meter.paused():
            position = loader if loader is not None else self.loader.state_dict()
            ranks = self.world.gather({"loader": position, "meter": {"sums": self._meter.sums()}})
            if self.log is not None:
                self.progress.log_bytes = self.log.length
                tensors, values = self._optimizers.state()
                state = {
                    "step": self.progress.step,
                    "epoch": self.progress.epoch,
                    "generation": self.generation,
                    "progress": asdict(self.progress),
                    "optimizer": values,
                    "world": self.world.size,
                    "ranks": ranks,
                    "device": self.world.device.type,
                    "threads": torch.get_num_threads(),
                    "torch": str(torch.__version__),
                }
                self.checkpoints.save(weights_of(self.model), tensors, state)
        self._dirty = False
