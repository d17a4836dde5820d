"""The folder of a run: its configuration, its generation, its logs and checkpoints.

config.yaml  generation.json  metrics.jsonl  tensorboard/  mlflow.json  checkpoints/
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from heterrec_model.config import Config, parse_config
from heterrec_model.data.chosen_features import configured_entries
from heterrec_model.model_settings import flat_settings
from heterrec_model.runs.atomic_files import locked_folder, write_text, writing
from heterrec_model.runs.checkpoints import CheckpointFolder
from heterrec_schemas.documents import parse_json, parse_settings
from heterrec_schemas.errors import CallError, GenerationError
from heterrec_schemas.generation import Generation
from heterrec_schemas.generation.lineage import place_of_content
from heterrec_schemas.stores.disk import make_folder

CONFIG, GENERATION, METRICS = "config.yaml", "generation.json", "metrics.jsonl"
MLFLOW = "mlflow.json"
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
        "train.mlflow",
        "train.patience",
        "train.tensorboard",
        "train.threads",
        "train.validate_every",
    }
)
"""Settings that may differ in a resumed run. With another device or number of threads sums are rounded differently, so the
run continues but is not bit-identical."""
ENDS = frozenset({"train.epochs", "train.max_steps"})
"""Settings that may differ with a constant schedule only: another schedule would change the rates of steps already done."""


@dataclass(frozen=True)
class RunGeneration:
    """The generation that a run was trained on, as generation.json states it.

    Attributes:
        id: of the generation.
        content_sha256: hash of its content.
        features: item features that the run reads, in the order of its tokens; None if an earlier version wrote the file.
        user_features: user features, likewise.
    """

    id: str
    content_sha256: str
    features: tuple[str, ...] | None = None
    user_features: tuple[str, ...] | None = None

    @property
    def shown(self) -> str:
        """The generation in messages."""
        return _shown(self.id, self.content_sha256)


class RunFolder:
    """The folder of a run.

    Attributes:
        path: the folder.
        metrics: path of metrics.jsonl.
        tensorboard: folder of TensorBoard's event files.
        mlflow: path of mlflow.json, the id of the run in MLflow.
        cache: folder of the token table that several processes share.
        checkpoints: folder of the checkpoints.

    Raises:
        CallError: the path is a URI.
    """

    def __init__(self, path: str | Path) -> None:
        if "://" in str(path):
            raise CallError(
                f"the folder of a run must be local, got {path}",
                todo="Copy the folder when the run is done.",
            )
        self.path = Path(path)
        self.metrics, self.tensorboard = self.path / METRICS, self.path / TENSORBOARD
        self.mlflow, self.cache = self.path / MLFLOW, self.path / CACHE
        self.checkpoints = CheckpointFolder(self.path / CHECKPOINTS)

    def config(self) -> Config:
        """The configuration of the run.

        Raises:
            CallError: the folder contains no run, or its config.yaml is damaged.
        """
        file = self.path / CONFIG
        if not file.is_file():
            raise CallError(
                f"{self.path} contains no run: it has no {CONFIG}",
                todo="Use a folder that `heterrec-model train --run` wrote.",
            )
        settings = parse_settings(file.read_bytes(), str(file))
        return parse_config({} if settings is None else settings, where=str(file))

    def generation(self) -> RunGeneration:
        """The generation that the run was trained on.

        Raises:
            CallError: generation.json is absent or damaged.
        """
        file = self.path / GENERATION
        try:
            body = parse_json(file.read_bytes())
            names = (body.get(key) for key in ("features", "user_features"))
            return RunGeneration(
                str(body["id"]),
                str(body["content_sha256"]),
                *(None if listed is None else tuple(map(str, listed)) for listed in names),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise CallError(
                f"{file} does not state which generation the run was trained on",
                todo="Restore the file, or use another run.",
            ) from None

    def check_generation(self, generation: Generation) -> None:
        """Check that the run was trained on a generation with the same content, which may have been built again.

        Raises:
            CallError: generation.json is absent or damaged.
            GenerationError: the run was trained on another generation.
        """
        trained, manifest = self.generation(), generation.manifest
        if trained.content_sha256 == manifest.content_sha256:
            return
        todo = "Use the folder of that generation as --data, or train a new run in another --run."
        if place_of_content(manifest, trained.content_sha256) is not None:
            todo = (
                f"{manifest.generation} descends from it: `heterrec-model train --warm-start {self.path} --data "
                f"{generation.root} --run NEW` carries the run over. Or use the folder of that generation as --data."
            )
        raise GenerationError(
            f"{self.path} was trained on another generation",
            got=_shown(manifest.generation, manifest.content_sha256),
            expected=trained.shown,
            todo=todo,
        )

    def contents(self) -> list[str]:
        """Names of the files and folders of a run that exist."""
        known = (CONFIG, GENERATION, METRICS, TENSORBOARD, CHECKPOINTS)
        return [name for name in known if (self.path / name).exists()]

    def check(self, config: Config, generation: Generation, *, resume: bool) -> None:
        """Check that a run can be started or resumed in the folder; writes nothing.

        Raises:
            CallError: the folder contains a run and `resume` is false, or a setting differs that must not.
            GenerationError: its run was trained on another generation.
        """
        contents = self.contents()
        if contents and not resume:
            raise CallError(
                f"{self.path} already contains a run ({', '.join(contents)})",
                todo="Continue it with --resume, or choose another --run.",
            )
        if GENERATION in contents:
            self.check_generation(generation)
        if CONFIG in contents:
            check_changes(self.config(), config, where=str(self.path))

    def start(self, config: Config, generation: Generation) -> None:
        """Create the folder, or adopt the changed settings of a resumed run, after `check`.

        Raises:
            RunError: the folder cannot be written.
        """
        with writing(self.path):
            make_folder(self.path / CHECKPOINTS)
        if not (self.path / GENERATION).exists():
            items, users = configured_entries(config, generation)
            body = {
                "id": generation.manifest.generation,
                "content_sha256": generation.manifest.content_sha256,
                "features": [entry.name for entry in items],
                "user_features": [entry.name for entry in users],
            }
            write_text(self.path / GENERATION, json.dumps(body) + "\n")
        write_text(self.path / CONFIG, config.to_yaml())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in the folder; the lock ends with the process.

        A folder that was created for the lock is removed if no run was started in it.

        Raises:
            CallError: another process is training in it.
            RunError: the folder cannot be written.
        """
        new = not self.path.exists()
        busy = CallError(
            f"another process is training in {self.path}",
            todo="Wait for it, or choose another --run.",
        )
        with locked_folder(self.path, busy, LOCK):
            try:
                yield
            finally:
                if new and not self.contents():
                    shutil.rmtree(self.cache, ignore_errors=True)
                    with suppress(OSError):  # not empty, or the storage fails
                        (self.path / LOCK).unlink(missing_ok=True)
                        self.path.rmdir()


def _shown(generation: str, content_sha256: str) -> str:
    return f"{generation} (content {content_sha256[:12]})"


def check_changes(before: Config, now: Config, where: str) -> None:
    """Check that a resumed run changes no setting that it must not.

    Raises:
        CallError: some differ; all are named.
    """
    old, new = (
        flat_settings(before.model_dump(mode="json")),
        flat_settings(now.model_dump(mode="json")),
    )
    allowed = MAY_CHANGE | (ENDS if before.train.schedule == "constant" else frozenset())
    names = sorted(n for n in {*old, *new} - allowed if old.get(n) != new.get(n))
    if not names:
        return
    shown = [f"{name}: got {new.get(name)!r}, expected {old.get(name)!r}" for name in names]
    todo = "Resume with the settings of the run, or start a new run in another --run."
    if ENDS & set(names):
        todo += f" The end of a run is part of its {before.train.schedule} schedule."
    raise CallError("\n  ".join([f"{where} was started with other settings", *shown]), todo=todo)
