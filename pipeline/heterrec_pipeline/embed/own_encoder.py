"""Encoders of users, by the name of their class: any model, of any library, without sentence-transformers."""

import hashlib
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heterrec_pipeline.embed.config import EmbedConfig
from heterrec_schemas.errors import CallError
from heterrec_schemas.own_class import own_class

Vectors = npt.NDArray[np.float32]

_SMALLEST_NORM = 1e-12
"""Length below which a vector is not scaled, as in PyTorch's `normalize`."""


class OwnEncoder(ABC):
    """Base class of own encoders: `embed` uses a subclass if its model is `my_module:MyEncoder`.

    The module has to be importable on every worker. A worker makes one instance, which one thread uses at a time.
    """

    @abstractmethod
    def __init__(self, device: str | None) -> None:
        """Load the model.

        Args:
            device: as given to `embed`: cpu, cuda, mps ...; None leaves the choice to the encoder.
        """

    @classmethod
    @abstractmethod
    def identity(cls) -> str:
        """A text that changes with the vectors, such as a hash of the weights; `embed` adds a hash of the module's file.

        Shards of another identity are encoded again. Called once per run, on the machine that starts it.
        """

    @abstractmethod
    def encode(self, batch: Sequence[Any]) -> Vectors:
        """Encode N texts, or N RGB images of Pillow, to vectors: [N, D] float32, for the same D in every call."""


def own_encoder(name: str) -> type[OwnEncoder]:
    """Import the class of an encoder.

    Raises:
        CallError: there is none, or it lacks a method.
    """
    found: type[OwnEncoder] = own_class(name, OwnEncoder)
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise CallError(
            f"{name} lacks {', '.join(missing)}", todo="See OwnEncoder in docs/embed.md."
        )
    return found


def own_identity(name: str) -> str:
    """The identity of an encoder: its name, a hash of the file of its module, and what it says itself.

    Raises:
        CallError: there is no such encoder.
    """
    found = own_encoder(name)
    file = getattr(sys.modules[found.__module__], "__file__", None)
    source = hashlib.sha256(Path(file).read_bytes() if file else b"").hexdigest()
    return f"own:{name}@{source}:{found.identity()}"


class OwnModel:
    """A loaded own encoder with the options of a run."""

    def __init__(self, encoder: type[OwnEncoder], config: EmbedConfig) -> None:
        """Load the encoder; an exception of its own is raised as it is."""
        self._encoder = encoder(config.device)
        self._config = config
        self._dim: int | None = None
        self._lock = threading.Lock()

    def encode(self, batch: Sequence[Any]) -> Vectors:
        """Encode a batch; see `Encoder`.

        Raises:
            CallError: there is not one vector per input, or its number of dimensions differs from that of earlier calls.
        """
        with self._lock:
            found = np.asarray(self._encoder.encode(batch))
        if self._dim is None and found.ndim == 2 and found.shape[1]:
            self._dim = found.shape[1]
        if found.shape != (len(batch), self._dim):
            raise CallError(
                f"{self._config.model} returns vectors of another shape",
                got=str(list(found.shape)),
                expected=f"[{len(batch)}, {self._dim or 'D'}]: one vector per input",
                todo="Correct its encode().",
            )
        vectors_ND = np.ascontiguousarray(found, dtype=np.float32)
        if self._config.normalize:
            norm_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
            vectors_ND = vectors_ND / np.maximum(norm_N1, _SMALLEST_NORM)
        return vectors_ND
