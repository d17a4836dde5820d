"""Checkpoints: one folder each, complete or absent, without pickles.

    checkpoints/step-00000120/model.safetensors      weights
                              optimizer.safetensors  tensors of the optimiser state
                              state.json             everything else; SHA-256 of the other two files and of itself
    checkpoints/last, best    relative links

A folder is written under a name that starts with a dot, flushed to the disk, and then renamed.
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

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from heterrec_model.runs.atomic_files import draft_of, point, remove_folder, writing
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import CallError, CorruptCheckpointError, suggest
from heterrec_schemas.hashing import file_sha256
from heterrec_schemas.stores.disk import sync

FORMAT_VERSION = 1
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
LAST, BEST = "last", "best"
KEPT = 2
"""Number of newest checkpoints that are kept besides the best."""
_NAME = re.compile(r"step-(\d{8,})")
_LEFTOVER = re.compile(r"\.((old\.)?step-\d{8,}|last|best)\.[0-9a-f]{8}-\d+")
"""Names of what a dead process may have left in the folder."""
_WANTED = re.compile(r"step-(\d+)")
_TODO = "Choose another checkpoint or another run, or train again."


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint with verified files.

    Attributes:
        path: its folder.
        step: optimiser steps done.
        state: content of state.json.
    """

    path: Path
    step: int
    state: dict[str, Any]

    @property
    def name(self) -> str:
        """Such as step-00000120."""
        return self.path.name

    def weights(self) -> dict[str, Tensor]:
        """The tensors of the model, on the CPU."""
        return self._tensors(MODEL)

    def weight(self, name: str) -> Tensor | None:
        """One tensor of the model, on the CPU; None if there is none of this name."""
        try:
            with safe_open(self.path / MODEL, framework="pt") as tensors:
                return tensors.get_tensor(name) if name in tensors.keys() else None
        except (OSError, SafetensorError) as error:
            raise _corrupt(f"{self.path / MODEL} cannot be read: {error}") from None

    def optimizer(self) -> dict[str, Tensor]:
        """The tensors of the optimisers, on the CPU."""
        return self._tensors(OPTIMIZER)

    def _tensors(self, file: str) -> dict[str, Tensor]:
        try:
            return load_file(self.path / file)
        except (OSError, SafetensorError) as error:
            raise _corrupt(f"{self.path / file} cannot be read: {error}") from None


def step_name(step: int) -> str:
    """Name of the checkpoint of a step."""
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
        """Write the checkpoint of `state["step"]`, update `last` and `best`, and remove old checkpoints.

        `best` points to the checkpoint of `state["progress"]["best_step"]`, if it exists.

        Raises:
            RunError: the folder cannot be written; its previous content is unchanged.
        """
        step, best = int(state["step"]), state["progress"]["best_step"]
        final = self.path / step_name(step)
        draft = draft_of(final)
        with writing(final):
            try:
                _write(draft, {MODEL: weights, OPTIMIZER: optimizer}, state)
                if final.exists():
                    self._point_elsewhere(final)
                    remove_folder(final)
                draft.replace(final)
                sync(self.path)
            except SafetensorError as error:
                raise _system_error(error) from error
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        point(self.path / LAST, final.name)
        self.point_best(best)
        for old in self.steps()[:-KEPT]:
            if old != best:
                remove_folder(self.path / step_name(old))
        return Checkpoint(final, step, dict(state))

    def _point_elsewhere(self, doomed: Path) -> None:
        """Let no link name a checkpoint that is removed, so that a killed process leaves none that points nowhere."""
        others = [step for step in self.steps() if step_name(step) != doomed.name]
        for name in (LAST, BEST):
            link = self.path / name
            if link.is_symlink() and link.readlink().name == doomed.name:
                if name == LAST and others:
                    point(link, step_name(others[-1]))
                else:
                    link.unlink()

    def point_best(self, step: int | None) -> None:
        """Point `best` to the checkpoint of a step, or remove the link if that does not exist."""
        link = self.path / BEST
        if step is not None and (self.path / step_name(step)).is_dir():
            point(link, step_name(step))
        else:
            link.unlink(missing_ok=True)

    def newest(
        self,
        warn: Callable[[str], None],
        check: Callable[[Checkpoint], None] = lambda _: None,
        *,
        below: int | None = None,
    ) -> Checkpoint | None:
        """The newest checkpoint that is complete.

        Args:
            warn: called for newer ones that are damaged.
            check: raises CorruptCheckpointError for a state that cannot be used.
            below: only checkpoints of earlier steps; None for all.
        """
        for step in reversed(self.steps()):
            if below is not None and step >= below:
                continue
            try:
                found = read_checkpoint(self.path / step_name(step))
                check(found)
                return found
            except CorruptCheckpointError as error:
                warn(f"{error.message.partition('. ' + _TODO)[0]}; the previous one is used")
        return None

    def rewind(self, checkpoint: Checkpoint | None) -> None:
        """Make a checkpoint the last one: remove newer ones and the leftovers of dead processes."""
        with writing(self.path):
            for leftover in self.path.glob(".*"):
                if not _LEFTOVER.fullmatch(leftover.name):
                    continue
                if leftover.is_dir() and not leftover.is_symlink():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
        if checkpoint is not None:
            point(self.path / LAST, checkpoint.name)
            self.point_best(checkpoint.state["progress"]["best_step"])
        else:
            for name in (LAST, BEST):
                (self.path / name).unlink(missing_ok=True)
        for step in self.steps():
            if checkpoint is None or step > checkpoint.step:
                remove_folder(self.path / step_name(step))

    def steps(self) -> list[int]:
        """Steps of all checkpoints, damaged ones included, ascending."""
        if not self.path.is_dir():
            return []
        matches = (_NAME.fullmatch(p.name) for p in self.path.iterdir() if not p.is_symlink())
        return sorted(int(match[1]) for match in matches if match)

    def find(self, wanted: str) -> Path:
        """The folder of `best`, `last` or `step-N`.

        Raises:
            CallError: the checkpoint does not exist.
            CorruptCheckpointError: it is a link out of the run.
        """
        match = _WANTED.fullmatch(wanted)
        name = step_name(int(match[1])) if match else wanted
        known = [step_name(step) for step in self.steps()]
        known += [link for link in (LAST, BEST) if (self.path / link).exists()]
        if not known:
            raise CallError(
                f"{self.path.parent} contains no checkpoint yet", todo="Train first, or longer."
            )
        if name not in known:
            raise CallError(
                f"there is no checkpoint {wanted!r} in {self.path.parent}",
                todo=suggest(wanted, known),
            )
        path = (self.path / name).resolve()
        if path.parent != self.path.resolve():
            raise _corrupt(
                f"{self.path / name} is a link to {path}, which is no checkpoint of this run"
            )
        return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint and verify all of its files.

    Raises:
        CorruptCheckpointError: a file is absent or damaged, or the format is unknown.
    """
    try:
        state = parse_json((path / STATE).read_bytes())
        claimed = state.pop("state_sha256")
    except FileNotFoundError:
        raise _corrupt(f"{path} is incomplete: {STATE} is absent") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _corrupt(f"{path / STATE} is damaged") from None
    if claimed != _body_sha256(state):
        raise _corrupt(f"{path / STATE} is damaged")
    if state.get("format_version") != FORMAT_VERSION:
        raise CorruptCheckpointError(
            f"{path}: unknown format version",
            got=state.get("format_version"),
            expected=FORMAT_VERSION,
            todo="Install the release of heterrec that wrote it.",
        )
    if not _is_plausible(path, state):
        raise _corrupt(f"{path / STATE} is damaged")
    for file, expected in state["sha256"].items():
        if not (path / file).is_file():
            raise _corrupt(f"{path} is incomplete: {file} is absent")
        if (got := file_sha256(path / file)) != expected:
            raise _corrupt(f"{path / file} is damaged", got=f"SHA-256 {got}", expected=expected)
    return Checkpoint(path, state["step"], state)


def _is_plausible(path: Path, state: dict[str, Any]) -> bool:
    """Whether a state describes the checkpoint in a folder: its step, its two files, and the best step."""
    step, hashes, progress = (state.get(name) for name in ("step", "sha256", "progress"))
    return (
        type(step) is int
        and path.resolve().name == step_name(step)  # `path` may be a link
        and isinstance(hashes, dict)
        and set(hashes) == {MODEL, OPTIMIZER}
        and isinstance(progress, dict)
        and type(progress.get("best_step", "")) in (int, type(None))
    )


def _write(
    draft: Path, files: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> None:
    draft.mkdir(parents=True)
    hashes = {}
    for file, tensors in files.items():
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, draft / file)
        sync(draft / file)
        hashes[file] = file_sha256(draft / file)
    body = {"format_version": FORMAT_VERSION, **state, "sha256": hashes}
    text = json.dumps({**body, "state_sha256": _body_sha256(body)}, indent=1)
    (draft / STATE).write_text(text, encoding="utf-8")
    sync(draft / STATE)
    sync(draft)


def _corrupt(what: str, **values: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(what, todo=_TODO, **values)


def _system_error(error: SafetensorError) -> OSError:
    """The operating system error in the text of a safetensors error."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


def _body_sha256(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode("utf-8")).hexdigest()
