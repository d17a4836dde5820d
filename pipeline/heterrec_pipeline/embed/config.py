"""What to embed and with what, and what came of it."""

import re
from dataclasses import dataclass
from typing import Literal

from heterrec_schemas.errors import CallError
from heterrec_schemas.feature_spec import Source

Kind = Literal["text", "image"]
DEFAULT_MODEL = "all-MiniLM-L6-v2"
IMAGES_A_SHARD = 8
"""A shard holds this many times fewer images than texts: they are larger, and slower to encode."""


@dataclass(frozen=True)
class EmbeddedColumn:
    """One column to encode."""

    name: str
    kind: Kind

    @property
    def stem(self) -> str:
        """What its shards are called: the name, without characters that a path cannot hold."""
        return re.sub(r"[^\w.-]+", "_", self.name)

    @property
    def vector_name(self) -> str:
        """The column of its vectors."""
        return f"{self.name}_embedding"


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """One call of `embed`.

    Attributes:
        input: the folder that relative paths start from; local, gs:// or s3://.
        source: the item table: a file, a list of files, or a glob.
        key: the item's key column.
        output: the folder for the shards; one folder a call's columns.
        text_columns: columns of text; each gets shards of its own.
        image_columns: columns of images: encoded bytes, or paths relative to `input`.
        model: a folder, a name on the Hugging Face hub, or a packaged name (see `resolve_model`).
        revision: a branch, tag or commit of a model on the hub.
        prompt: text put before every text, as some models want.
        prompt_name: the name of one of the model's own prompts, instead of `prompt`.
        normalize: scale vectors to length 1 (many models do so anyway).
        batch_size: how many texts or images go through the model at once.
        max_shard_texts: about how many distinct texts a shard holds; an interrupted run keeps its
            finished shards.
        device: cpu, cuda, mps ...; None lets sentence-transformers choose.
        threads: how many threads PyTorch may use a worker process; None for its own choice.
        max_reject_ratio: above this share of rows with a reject the run fails.
        fresh: encode everything again, whatever stands in `output`.
        pipeline_args: Beam's own flags; without a --runner Beam's FnApiRunner is used.
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
    pipeline_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            CallError: the first mistake.
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
        for name in ("batch_size", "max_shard_texts", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CallError(f"{name} is too small", got=value, expected="1 or more")
        if self.prompt is not None and self.prompt_name is not None:
            raise CallError("both prompt and prompt_name are given", todo="Give one of them.")
        if self.image_columns and (self.prompt or self.prompt_name):
            raise CallError("images take no prompt", todo="Embed text and images in two calls.")

    @property
    def columns(self) -> tuple[EmbeddedColumn, ...]:
        """Text columns, then image columns."""
        texts = [EmbeddedColumn(n, "text") for n in self.text_columns]
        return (*texts, *(EmbeddedColumn(n, "image") for n in self.image_columns))

    def shards_for(self, column: EmbeddedColumn, distinct: int) -> int:
        """How many shards a column's distinct texts or images are spread over."""
        size = self.max_shard_texts
        if column.kind == "image":
            size = max(1, size // IMAGES_A_SHARD)
        return max(1, -(-distinct // size))


@dataclass(frozen=True)
class ColumnResult:
    """One embedded column.

    Attributes:
        column: the column's name.
        kind: text or image.
        glob: its shards, relative to the output folder.
        dim: the width of a vector.
        shards: how many files.
        rows: keys that have a vector.
        texts: distinct texts or images among them.
        missing: rows with nothing to encode.
    """

    column: str
    kind: Kind
    glob: str
    dim: int
    shards: int
    rows: int
    texts: int
    missing: int


@dataclass(frozen=True)
class EmbedResult:
    """What a call of `embed` did.

    Attributes:
        output: the folder.
        model: the model's name, as it was given.
        columns: one entry a column.
        rejects: rows set aside, by reason.
        shards: how many shards stand.
        kept_shards: those of them that stood already.
        kept_texts: how many texts or images they spared.
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
