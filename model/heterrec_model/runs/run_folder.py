"""A run's folder: its configuration, the generation it belongs to, its logs and checkpoints.

config.yaml  generation.json  metrics.jsonl  tensorboard/  checkpoints/
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from heterrec_model.config import Config, parse_config
from heterrec_model.runs.atomic_files import write_text, writing
from heterrec_model.runs.checkpoints import CheckpointFolder
from heterrec_schemas.errors import CallError, GenerationError
from heterrec_schemas.generation import Generation

CONFIG, GENERATION, METRICS = "config.yaml", "generation.json", "metrics.jsonl"
TENSORBOARD, CHECKPOINTS, CACHE = "tensorboard", "checkpoints", "cache"
LOCK = ".lock"
MAY_CHANGE = frozenset(
    {
        "data.prefetch",
        "evaluation.batch_users",
        "evaluation.chunk_items",
        "train.checkpoint_every",
        "train.device",
        "train.log_every",
        "train.patience",
        "train.tensorboard",
        "train.threads",
        "train.validate_every",
    }
)
"""Settings that a resumed run may have otherwise. Another device or number of threads rounds sums otherwise, so such a
run goes on, but no longer bit for bit."""
ENDS = frozenset({"train.epochs", "train.max_steps"})
"""They may change too under a constant schedule; under another one they would change the rates of steps already done."""


class RunFolder:
    """The names in a run's folder.

    Attributes:
        path: the folder.

    Raises:
        CallError: it is a URI.
    """

    def __init__(self, path: str | Path) -> None:
        if "://" in str(path):
            raise CallError(
                f"a run's folder is local, {path} is not", todo="Copy it when it is done."
            )
        self.path = Path(path)

    @property
    def metrics(self) -> Path:
        """metrics.jsonl."""
        return self.path / METRICS

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / TENSORBOARD

    @property
    def cache(self) -> Path:
        """Where several processes share the items' token table."""
        return self.path / CACHE

    @property
    def checkpoints(self) -> CheckpointFolder:
        """The run's checkpoints."""
        return CheckpointFolder(self.path / CHECKPOINTS)

    def config(self) -> Config:
        """The configuration that the run was started with.

        Raises:
            CallError: there is no run in the folder, or its config.yaml is damaged.
        """
        file = self.path / CONFIG
        if not file.is_file():
            raise CallError(
                f"{self.path} holds no run: there is no {CONFIG} in it",
                todo="Give the folder that `heterrec-model train --run` wrote.",
            )
        try:
            settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CallError(f"{file} is no YAML: {error}") from None
        return parse_config(settings or {}, where=str(file))

    def check_generation(self, generation: Generation) -> None:
        """Refuse a generation that the run was not trained on.

        What counts is the content: an equal generation that was built again is accepted.

        Raises:
            CallError: the run does not say what it was trained on.
            GenerationError: it was trained on another generation.
        """
        file = self.path / GENERATION
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            name, content = str(told["id"]), str(told["content_sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            raise CallError(
                f"{file} does not say which generation the run was trained on"
            ) from None
        manifest = generation.manifest
        if content != manifest.content_sha256:
            raise GenerationError(
                f"{self.path} was trained on another generation",
                got=f"{manifest.generation} (content {manifest.content_sha256[:12]})",
                expected=f"{name} (content {content[:12]})",
                todo="Give that generation's own folder as --data, or train anew in another --run.",
            )

    def held(self) -> list[str]:
        """What of a run stands in the folder."""
        known = (CONFIG, GENERATION, METRICS, TENSORBOARD, CHECKPOINTS)
        return [name for name in known if (self.path / name).exists()]

    def start(self, config: Config, generation: Generation, *, resume: bool) -> None:
        """Make the folder, or take up the run in it.

        Raises:
            CallError: it holds a run and `resume` is false, or a setting differs that must not.
            GenerationError: its run belongs to another generation.
            RunError: it cannot be written.
        """
        held = self.held()
        if held and not resume:
            raise CallError(
                f"{self.path} already holds a run ({', '.join(held)})",
                todo="Go on with it by --resume, or choose another --run.",
            )
        with writing(self.path):
            (self.path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        if (self.path / GENERATION).exists():
            self.check_generation(generation)
        else:
            manifest = generation.manifest
            told = {"id": manifest.generation, "content_sha256": manifest.content_sha256}
            write_text(self.path / GENERATION, json.dumps(told) + "\n")
        if (self.path / CONFIG).exists():
            check_changes(self.config(), config, where=str(self.path))
        write_text(self.path / CONFIG, config.to_yaml())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in the folder; the lock dies with the process.

        Raises:
            CallError: another process trains in it.
            RunError: it cannot be written.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / LOCK).open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CallError(
                    f"another process is training in {self.path}",
                    todo="Wait for it, or choose another --run.",
                ) from None
            except OSError:
                pass  # a file system without locks
            yield


def check_changes(before: Config, now: Config, where: str) -> None:
    """Refuse settings that a resumed run must not change.

    Raises:
        CallError: some differ; all are named.
    """
    old, new = _flat(before.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    allowed = MAY_CHANGE | (ENDS if before.train.schedule == "constant" else frozenset())
    names = sorted(n for n in {*old, *new} - allowed if old.get(n) != new.get(n))
    if not names:
        return
    shown = [f"{name}: got {new.get(name)!r}, expected {old.get(name)!r}" for name in names]
    todo = "Resume with the run's own settings, or start another run in another --run."
    if ENDS & set(names):
        todo += f" The end of a run is part of its {before.train.schedule} schedule."
    raise CallError("\n  ".join([f"{where} was started with other settings", *shown]), todo=todo)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `section.key`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
