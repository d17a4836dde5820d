"""The loop itself: steps, validations and checkpoints, until the run's end or a wish to stop.

What comes when at a step: the step, its line in the log, a validation, a checkpoint. Whatever is decided here is decided
alike on every rank; rank 0 alone validates and writes.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.runs.checkpoints import Checkpoint, CheckpointFolder
from heterrec_model.runs.log import RunLog
from heterrec_model.runs.weights import load_weights, weights_of
from heterrec_model.training.display import Display
from heterrec_model.training.meter import Meter, line_of
from heterrec_model.training.optimizer import Optimizers
from heterrec_model.training.processes import World
from heterrec_model.training.progress import Progress
from heterrec_model.training.result import Validate
from heterrec_model.training.schedule import rate_factor, run_share
from heterrec_model.training.signals import StopRequest
from heterrec_model.training.step import Stepper, StepResult
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import DataError, RunError


class Loader(Protocol):
    """What the loop asks of a loader; see `heterrec_model.data.loader.TrainLoader`."""

    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def run_rows(self) -> int: ...  # noqa: D102
    def __iter__(self) -> Iterator[Batch]: ...
    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state: dict[str, Any]) -> None: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class _Group:
    """The batches of one step on this rank, and the loader's place before them."""

    batches: list[Batch]
    parts: int
    rows: int
    before: dict[str, Any] | None


class _StoppedValidationError(Exception):
    """Somebody asked to stop while a validation ran; it is made again after a resume."""


@dataclass(eq=False, kw_only=True)
class Trainer:
    """Trains a model.

    Attributes:
        config: the run's.
        model: on its device.
        loader: of this rank.
        world: this process and the others.
        validate: the validation's metrics by name; None where there is nobody to validate on.
        checkpoints: where they go.
        log: on rank 0, else None.
        display: quiet on the other ranks.
        stop: whether somebody wants the run to stop.
        fingerprint: of the generation, for the checkpoints.
        progress: where the run stands.
    """

    config: Config
    model: TwoTowerModel
    loader: Loader
    world: World
    validate: Validate | None
    checkpoints: CheckpointFolder
    display: Display
    stop: StopRequest
    fingerprint: dict[str, str]
    log: RunLog | None = None

    def __post_init__(self) -> None:
        self.progress = Progress()
        self.stopped = False
        self._optimizers = Optimizers(self.model, self.config.train)
        self._stepper = Stepper(self.model, self._optimizers, self.config.train, self.world)
        self._meter = Meter()
        self._batches: Iterator[Batch] | None = None
        self._out = False
        self._dirty = False

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of as many processes.

        Raises:
            CallError: it does not fit the model or the data.
        """
        state = checkpoint.state
        mine = state["ranks"][self.world.rank]
        load_weights(self.model, checkpoint.weights(), checkpoint.name)
        self._optimizers.load(checkpoint.optimizer(), state["optimizer"])
        self.progress = Progress.from_json(state["progress"])
        self.loader.load_state_dict(mine["loader"])
        # This rank may have been out of batches in an epoch that others were still in.
        self._out = self.loader.epoch > self.progress.epoch
        self._meter.load(mine["meter"])

    def fit(self) -> None:
        """Train until the run's end or a wish to stop; the last state is saved in either case.

        Raises:
            RunError: the loss is no longer one, or something cannot be written.
            DataError: there is nothing to train on.
        """
        self.model.train()
        if self.progress.validation_due:
            self._validate()
        while not (self.stopped or self._finished()):
            group = self._next_group()
            if group.parts:
                self._step(group)
            else:
                self._end_epoch()
        if not self.stopped and self.progress.validated_step != self.progress.step:
            self._validate()
        if self._dirty:
            self._save()

    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        p = self.progress
        return run_share(self.config.train, step=p.step, rows=p.rows, run_rows=self.loader.run_rows)

    @property
    def stopped_by(self) -> str | None:
        """The signal that ended the run before its end; on a rank that got none itself, SIGTERM."""
        return (self.stop.name or "SIGTERM") if self.stopped else None

    def _finished(self) -> bool:
        train, p = self.config.train, self.progress
        return (
            p.epoch >= train.epochs + train.refit_epochs
            or (train.max_steps is not None and p.step >= train.max_steps)
            or (train.patience is not None and p.bad_validations >= train.patience)
        )

    def _next_group(self) -> _Group:
        """As many batches as a step takes; `parts` is 0 when no rank has any left in this epoch."""
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
        told = self.world.exchange(len(batches), rows, int(self.stop.name is not None))
        self.stopped = any(wish for _, _, wish in told)
        return _Group(batches, max(n for n, _, _ in told), sum(n for _, n, _ in told), before)

    def _step(self, group: _Group) -> None:
        train, p = self.config.train, self.progress
        share = self.share()
        if p.step <= train.warmup_steps:
            p.warm_share = share
        factor = rate_factor(train, step=p.step, share=share, warm_share=p.warm_share)
        try:
            result = self._stepper.run(
                group.batches, step=p.step, parts=group.parts, factor=factor, expected=p.terms
            )
        except RunError:
            self._keep_state_before(group)
            raise
        p.step += 1
        p.rows += group.rows
        p.refit = p.epoch >= train.epochs
        p.terms = p.terms or list(result.terms)
        self._dirty = True
        self._note(result, group, train.learning_rate * factor)
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

    def _note(self, result: StepResult, group: _Group, rate: float) -> None:
        """Measure a step, and write a line when one is due."""
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
            self._write_line(rate)

    def _write_line(self, rate: float) -> None:
        parts = self.world.gather((self._meter.means(), self._meter.rates()))
        self._meter.reset()
        if self.log is not None:
            p = self.progress
            place = {"step": p.step, "epoch": p.epoch, "learning_rate": rate}
            self.log.line("train", {**place, **line_of(parts)})

    def _validate(self) -> None:
        """Validate on rank 0 while the others wait; a new best is saved at once."""
        p = self.progress
        p.validation_due = self._dirty = True
        if self.stopped:
            return  # made after a resume
        metrics: dict[str, float] | None = {}
        with self._meter.paused():
            if self.world.main and self._validates:
                metrics = self._metrics()
            metrics = self.world.share(metrics)
        if metrics is None:
            self.stopped = True
            return
        decides = self.config.train.metric if self._validates else None
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

    @property
    def _validates(self) -> bool:
        """Whether there are users to validate on, whom the model has not been trained on."""
        return self.validate is not None and not self.progress.refit

    def _metrics(self) -> dict[str, float] | None:
        """The validation's metrics, or None if somebody wants to stop."""
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
        """Write a checkpoint; `loader` is this rank's place in the data if it is not the current one."""
        with self._meter.paused():
            place = loader if loader is not None else self.loader.state_dict()
            ranks = self.world.gather({"loader": place, "meter": self._meter.state()})
            if self.log is not None:
                self.progress.log_bytes = self.log.length
                tensors, values = self._optimizers.state()
                state = {
                    "step": self.progress.step,
                    "epoch": self.progress.epoch,
                    "generation": self.fingerprint,
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

    def _keep_state_before(self, group: _Group) -> None:
        """After a step that failed: let `last` name the state that it began with, so that a resume meets it again."""
        # Of several ranks perhaps only this one failed, and the others' places in the data cannot be asked for.
        if self.world.size == 1 and self._dirty:
            self._save(group.before)
