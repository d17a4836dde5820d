"""Checkpoints: a folder each, whole or absent, and no pickle in it.

    checkpoints/step-00000120/model.safetensors      weights
                              optimizer.safetensors  what the optimisers remember, as tensors
                              state.json             everything else; the SHA-256 of the other two and of itself
    checkpoints/last, best    relative links

A folder is written under a name that begins with a dot, reaches the disk, and is then renamed.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from heterrec_model.runs.atomic_files import point, remove_folder, sha256, sync, writing
from heterrec_schemas.errors import CallError, CorruptCheckpointError, suggest

FORMAT_VERSION = 1
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
LAST, BEST = "last", "best"
KEPT = 2
"""The newest checkpoints that are kept, besides the best."""
_NAME = re.compile(r"step-(\d{8,})")
_ASKED = re.compile(r"step-(\d+)")
_AGAIN = "Choose another checkpoint, or train again."


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint whose files are as they were written.

    Attributes:
        path: its folder.
        step: optimiser steps done.
        state: the content of state.json.
    """

    path: Path
    step: int
    state: dict[str, Any]

    @property
    def name(self) -> str:
        """Such as step-00000120."""
        return self.path.name

    def weights(self) -> dict[str, Tensor]:
        """The model's tensors, on the CPU."""
        return self._tensors(MODEL)

    def optimizer(self) -> dict[str, Tensor]:
        """The optimisers' tensors, on the CPU."""
        return self._tensors(OPTIMIZER)

    def _tensors(self, file: str) -> dict[str, Tensor]:
        try:
            return load_file(self.path / file)
        except (OSError, SafetensorError) as error:
            raise CorruptCheckpointError(
                f"{self.path / file} cannot be read: {error}", todo=_AGAIN
            ) from None


def step_name(step: int) -> str:
    """The name of a step's checkpoint."""
    return f"step-{step:08d}"


class CheckpointFolder:
    """The checkpoints of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(
        self,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
    ) -> Checkpoint:
        """Write the checkpoint of `state["step"]`, let `last` and `best` point where they have to, drop old ones.

        `best` points at the checkpoint of `state["progress"]["best_step"]`, if there is one.

        Raises:
            RunError: the folder cannot be written; what stood there before still stands.
        """
        step, best = int(state["step"]), state["progress"]["best_step"]
        final = self.path / step_name(step)
        draft = self.path / f".writing-{final.name}-{os.getpid()}"
        with writing(final):
            try:
                self._write(draft, weights, optimizer, state)
                if final.exists():
                    remove_folder(final)
                draft.replace(final)
                sync(self.path)
            except SafetensorError as error:
                raise _system_error(error) from error
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        point(self.path / LAST, final.name)
        self.point_best(best)
        self._drop_old(best)
        return Checkpoint(final, step, dict(state))

    def point_best(self, step: int | None) -> None:
        """Let `best` name a step's checkpoint; where that has gone, there is no `best`."""
        link = self.path / BEST
        if step is not None and (self.path / step_name(step)).is_dir():
            point(link, step_name(step))
        else:
            link.unlink(missing_ok=True)

    def newest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that is whole; newer ones that are not are named to `warn`."""
        for step in reversed(self.steps()):
            path = self.path / step_name(step)
            try:
                return read_checkpoint(path)
            except CorruptCheckpointError as error:
                warn(f"{error.message.partition('. ' + _AGAIN)[0]}; the one before it is used")
        return None

    def rewind(self, checkpoint: Checkpoint | None) -> None:
        """Make a checkpoint the last one: newer ones and the leftovers of dead processes are removed."""
        with writing(self.path):
            for leftover in self.path.glob(".*"):
                if leftover.is_dir() and not leftover.is_symlink():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
        for step in self.steps():
            if checkpoint is None or step > checkpoint.step:
                remove_folder(self.path / step_name(step))
        if checkpoint is not None:
            point(self.path / LAST, checkpoint.name)
            self.point_best(checkpoint.state["progress"]["best_step"])

    def steps(self) -> list[int]:
        """The steps of the checkpoints, whole or not, ascending."""
        if not self.path.is_dir():
            return []
        found = (_NAME.fullmatch(p.name) for p in self.path.iterdir() if not p.is_symlink())
        return sorted(int(match[1]) for match in found if match)

    def find(self, wanted: str) -> Path:
        """The folder that `best`, `last` or `step-N` means.

        Raises:
            CallError: there is no such checkpoint.
        """
        asked = _ASKED.fullmatch(wanted)
        path = self.path / (step_name(int(asked[1])) if asked else wanted)
        known = [step_name(step) for step in self.steps()]
        known += [link for link in (LAST, BEST) if (self.path / link).exists()]
        if not known:
            raise CallError(
                f"{self.path.parent} holds no checkpoint yet",
                todo="Train first, or a little longer.",
            )
        if path.name not in known:
            raise CallError(
                f"there is no checkpoint {wanted!r} in {self.path.parent}",
                todo=suggest(wanted, known),
            )
        return path.resolve()

    def _write(
        self,
        draft: Path,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
    ) -> None:
        draft.mkdir(parents=True)
        hashes = {}
        for file, tensors in ((MODEL, weights), (OPTIMIZER, optimizer)):
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, draft / file)
            sync(draft / file)
            hashes[file] = sha256(draft / file)
        body = {"format_version": FORMAT_VERSION, **state, "sha256": hashes}
        text = json.dumps({**body, "state_sha256": _body_sha256(body)}, indent=1)
        (draft / STATE).write_text(text, encoding="utf-8")
        sync(draft / STATE)
        sync(draft)

    def _drop_old(self, best: int | None) -> None:
        for step in self.steps()[:-KEPT]:
            if step != best:
                remove_folder(self.path / step_name(step))


def read_checkpoint(path: Path) -> Checkpoint:
    """Check every file of a checkpoint.

    Raises:
        CorruptCheckpointError: a file is absent or not as it was written, or the format is unknown.
    """
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        claimed = state.pop("state_sha256")
    except FileNotFoundError:
        raise CorruptCheckpointError(
            f"{path} is not whole: {STATE} is absent", todo=_AGAIN
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CorruptCheckpointError(f"{path / STATE} is damaged", todo=_AGAIN) from None
    if claimed != _body_sha256(state):
        raise CorruptCheckpointError(f"{path / STATE} is damaged", todo=_AGAIN)
    if state["format_version"] != FORMAT_VERSION:
        raise CorruptCheckpointError(
            f"{path}: unknown format version",
            got=state["format_version"],
            expected=FORMAT_VERSION,
            todo="Install the release of heterrec that wrote it.",
        )
    for file, expected in state["sha256"].items():
        if not (path / file).is_file():
            raise CorruptCheckpointError(f"{path} is not whole: {file} is absent", todo=_AGAIN)
        if (got := sha256(path / file)) != expected:
            raise CorruptCheckpointError(
                f"{path / file} is damaged", got=f"SHA-256 {got}", expected=expected, todo=_AGAIN
            )
    return Checkpoint(path, int(state["step"]), state)


def _system_error(error: SafetensorError) -> OSError:
    """The error of the operating system that safetensors hides in a text."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


def _body_sha256(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode("utf-8")).hexdigest()
