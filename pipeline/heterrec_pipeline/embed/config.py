"""Configuration and result of an embedding run."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from heterrec_schemas.errors import CallError
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.own_class import is_own

DEFAULT_MODEL = "all-MiniLM-L6-v2"
MOST = {"batch_size": 2**16, "max_shard_texts": 2**24, "threads": 1024}
"""Maximum of each number that the call may set."""
TEXTS_PER_IMAGE = 8
"""Ratio of texts to images in a shard of the same size: images are larger and slower to encode."""


@dataclass(frozen=True)
class EmbeddedColumn:
    """A column to encode."""

    name: str
    kind: Literal["text", "image"]

    @property
    def stem(self) -> str:
        """The beginning of its shards' names: its own name without characters that are not allowed in paths."""
        return re.sub(r"[^\w.-]+", "_", self.name)

    @property
    def vector_name(self) -> str:
        """The name of the column of vectors."""
        return f"{self.name}_embedding"


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """Configuration of an embedding run.

    Attributes:
        input: base folder of relative paths; local, gs:// or s3://.
        source: the item table: a file, a list of files, or a glob.
        key: the item's key column.
        output: folder of the shards; one folder per set of columns.
        text_columns: text columns, each with its own shards.
        image_columns: image columns: encoded bytes, or paths relative to `input`.
        model: a class of your own, a folder, a packaged name, or a name on the Hugging Face hub (see `resolve_model`).
        revision: branch, tag or commit of a model on the hub.
        prompt: text prepended to every text, which some models require.
        prompt_name: name of one of the model's prompts, instead of `prompt`.
        normalize: scale vectors to length 1 (many models already do).
        batch_size: number of texts or images per model call.
        max_shard_texts: approximate number of distinct texts per shard; an interrupted run keeps its finished shards.
        device: cpu, cuda, mps ...; None lets sentence-transformers choose.
        threads: number of PyTorch threads per worker process; None for PyTorch's default.
        max_reject_ratio: the run fails if the ratio of rejected rows to all rows exceeds it.
        fresh: encode everything again, even if `output` contains finished shards.
        allow_open_ports: accept an engine with ports that other machines can connect to.
        pipeline_args: Beam's flags; without --runner the local engine is used.
    """

    input: str
    source: Source
    key: str
    output: str
    text_columns: tuple[str, ...] = ()
    image_columns: tuple[str, ...] = ()
    model: str = DEFAULT_MODEL
    revision: str | None = None
    prompt: str | None = None
    prompt_name: str | None = None
    normalize: bool = False
    batch_size: int = 64
    max_shard_texts: int = 4096
    device: str | None = None
    threads: int | None = None
    max_reject_ratio: float = 0.01
    fresh: bool = False
    allow_open_ports: bool = False
    pipeline_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            CallError: the first contradiction.
        """
        if not self.columns:
            raise CallError(
                "there is nothing to embed", todo="Name at least one text or image column."
            )
        stems = [c.stem.lower() for c in self.columns]
        for column in self.columns:
            if stems.count(column.stem.lower()) > 1:
                raise CallError(f"column {column.name!r} would share its shards' name with another")
            if column.vector_name == self.key:
                raise CallError(f"the key column is called {self.key!r}, as the vectors would be")
        for name, most in MOST.items():
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise CallError(f"{name} is out of range", got=value, expected=f"1 to {most:,}")
        if not 0 <= self.max_reject_ratio <= 1:  # NaN neither
            raise CallError(
                "max_reject_ratio is out of range", got=self.max_reject_ratio, expected="0 to 1"
            )
        if self.prompt is not None and self.prompt_name is not None:
            raise CallError("both prompt and prompt_name are given", todo="Give one of them.")
        if self.image_columns and (self.prompt or self.prompt_name):
            raise CallError("images take no prompt", todo="Embed text and images in two calls.")
        if is_own(self.model) and (self.prompt, self.prompt_name, self.revision) != (None,) * 3:
            raise CallError(
                f"the class {self.model} takes neither a prompt nor a revision",
                todo="Let its encode() prepend the prompt, and its identity() name the revision.",
            )

    @property
    def columns(self) -> tuple[EmbeddedColumn, ...]:
        """Text columns, then image columns."""
        texts = [EmbeddedColumn(n, "text") for n in self.text_columns]
        return (*texts, *(EmbeddedColumn(n, "image") for n in self.image_columns))

    def shards_for(self, column: EmbeddedColumn, distinct: int) -> int:
        """The number of shards for a number of distinct texts or images."""
        size = self.max_shard_texts
        if column.kind == "image":
            size = max(1, size // TEXTS_PER_IMAGE)
        return max(1, -(-distinct // size))


@dataclass(frozen=True)
class ColumnResult:
    """An embedded column.

    Attributes:
        column: its name.
        kind: text or image.
        glob: its shards, relative to the output folder.
        dim: number of dimensions of a vector.
        shards: number of shards.
        rows: number of keys with a vector.
        texts: number of distinct texts or images among them.
        missing: number of rows without a text or image.
    """

    column: str
    kind: str
    glob: str
    dim: int
    shards: int
    rows: int
    texts: int
    missing: int


@dataclass(frozen=True)
class EmbedResult:
    """Result of an embedding run.

    Attributes:
        output: the output folder.
        model: the model as given.
        columns: one entry per column.
        rejects: number of rejects by reason.
        shards: number of shards.
        kept_shards: number of shards kept from an earlier run.
        kept_texts: number of texts or images in them.
        seconds: wall time.
    """

    output: str
    model: str
    columns: tuple[ColumnResult, ...]
    rejects: dict[str, int]
    shards: int
    kept_shards: int
    kept_texts: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The attributes as JSON values."""
        return asdict(self)
