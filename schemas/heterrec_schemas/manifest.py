"""The manifest of a generation. It is written last: its presence is the commit."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from heterrec_schemas.rejects import Reason
from heterrec_schemas.user_ids import UserKey

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
LATEST_NAME = "latest.json"
GENERATIONS = "generations"
"""The folder of all generations in an output."""
GENERATION_ID = re.compile(r"\d{8}T\d{9}Z-[0-9a-f]{8}")
"""UTC time to the millisecond and 8 random hex digits."""
CONTENT_FOLDERS = (
    "vocabularies",
    "boundaries",
    "quantizers",
    "items",
    "retired",
    "sequences",
    "item_counts",
)
SPLITS = ("train", "validation", "test", "latest")
OWN_HASH = "manifest_sha256"
"""Key of the manifest's own hash."""
_SHARD = re.compile(r"(-\d{5}-of-\d{5})?\.parquet$")
Size = Annotated[int, Field(ge=0)]
DriftStatus = Literal["pass", "warn", "fail"]


class _Entry(BaseModel):
    # Later releases add keys, which this one ignores; the manifest's own hash covers them.
    model_config = ConfigDict(extra="ignore", frozen=True)


class FileEntry(_Entry):
    """One file of the generation; `rows` is None unless the file is a table."""

    path: str
    rows: Size | None
    bytes: Size
    sha256: str


def table_stem(path: str) -> str:
    """A file's path without suffix and number of the shard, the same for all shards of a table: `vocabularies/brand`."""
    return _SHARD.sub("", path)


class InputEntry(_Entry):
    """One input file, identified by its SHA-256 on local disks, by its ETag or generation number in object stores."""

    path: str
    bytes: Size
    sha256: str | None = None
    etag: str | None = None


class FeatureEntry(_Entry):
    """One fitted feature.

    `quantizer` (None in an embedding of an earlier release: `quantile`) and `groups`, the number of tokens of a vector, are
    those of embeddings. `quantiles` belongs to the quantizer `quantile`, `codes` (per codebook) to `pq` and `rq`;
    `reduced_dim`, the number of dimensions that are quantized, to features with `reduce`.
    `missing` counts the items (or users) whose token is 1 (missing); `oov` those with at least one value outside the
    vocabulary. `begun` is the generation in which its ids began, `fitted` the one whose edges it has (categorical: `begun`);
    None, as releases without refreshes wrote it, stands for the generation itself.
    """

    name: str
    kind: Literal["categorical", "numeric", "embedding"]
    side: Literal["item", "user"]
    vocabulary_size: Size
    multivalued: bool = False
    quantizer: Literal["quantile", "pq", "rq"] | None = None
    groups: Size | None = None
    quantiles: Size | None = None
    codes: Size | None = None
    reduced_dim: Size | None = None
    bins: Size | None = None
    boundary_version: int | None = None
    missing: Size
    oov: Size
    begun: str | None = None
    fitted: str | None = None

    def details(self) -> dict[str, Any]:
        """The fields that the metadata of the feature's tables repeats; the name is not one of them."""
        left_out = {"name", "multivalued", "boundary_version", "missing", "oov", "begun", "fitted"}
        if (
            self.quantizer == "quantile"
        ):  # the metadata of earlier releases had no other one to name
            left_out.add("quantizer")
        return self.model_dump(exclude=left_out, exclude_none=True)


class RowCounts(_Entry):
    """Rows of a table; equal rows of one key count as one: read = kept + rejected + erased + filtered."""

    read: Size
    kept: Size
    rejected: Size
    repeated: Size = 0
    """Further copies of the kept rows; not part of `read`."""
    erased: Size = 0
    """Rows with a key that the spec erases."""
    filtered: Size = 0
    """Rows that the spec leaves out, such as those for which `where` is not true; not part of the reject ratio."""


class ItemCounts(RowCounts):
    """Rows of the catalogue."""

    retired: Size = 0
    """Items of earlier generations that have left the catalogue, with or without a row in `retired/`; not part of `read`."""


class InteractionCounts(_Entry):
    """Rows of the log; `read` is the sum of the others."""

    read: Size
    kept: Size
    unknown_item: Size
    duplicate: Size
    short_user: Size
    rejected: Size
    erased: Size = 0
    filtered: Size = 0


class Counts(_Entry):
    """All counts of a generation."""

    items: ItemCounts
    users: RowCounts | None = None
    interactions: InteractionCounts
    sequences: dict[str, Size]


class Ancestor(_Entry):
    """A generation from which this one descends."""

    generation: str
    content_sha256: str


class UserIds(_Entry):
    """How user ids are hashed: the environment variable of the key, and its fingerprint."""

    hash_key: str
    fingerprint: str


STATE = "state"
"""The folder that only the pipeline reads: what a refresh takes over instead of parsing unchanged input again."""


class Manifest(_Entry):
    """The whole manifest."""

    format_version: Literal[1] = 1
    generation: str
    parent: str | None = None
    lineage: list[Ancestor] = []
    """The ancestors, the first build first, the parent last; empty after a build."""
    drift: DriftStatus | None = None
    """The status in `drift.json`; None after a build."""
    created: str
    name: str
    user_ids: UserIds | None = None
    """How user ids are hashed; None if they are not."""
    spec_sha256: str
    content_sha256: str
    files: list[FileEntry]
    features: list[FeatureEntry]
    item_vocabulary_size: Size
    """The largest item_index + 1."""
    counts: Counts
    rejects: dict[Reason, int]
    cuts: dict[str, int]
    inputs: list[InputEntry]
    libraries: dict[str, str]
    manifest_sha256: str | None = None
    """SHA-256 of the other keys (see `manifest_sha256`); None in a manifest that has not been written yet, or was written
    by a release without it."""

    @property
    def user_key(self) -> UserKey | None:
        """The key of the hashes of user ids; None if they are not hashed."""
        return UserKey(self.user_ids.hash_key, self.user_ids.fingerprint) if self.user_ids else None

    def to_json(self) -> str:
        """The manifest as indented JSON text with its own hash."""
        digest = manifest_sha256(self.model_dump(mode="json"))
        return self.model_copy(update={OWN_HASH: digest}).model_dump_json(indent=1) + "\n"


def manifest_sha256(data: Mapping[str, Any]) -> str:
    """The SHA-256 of a manifest as plain data: of its JSON without `manifest_sha256`.

    The JSON has sorted keys, no blanks, and escapes all characters outside ASCII.
    """
    body = {key: value for key, value in data.items() if key != OWN_HASH}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def content_sha256(files: Iterable[FileEntry]) -> str:
    """The SHA-256 over the sorted lines `path sha256` of the data files: equal for equal content."""
    lines = sorted(
        f"{f.path} {f.sha256}\n" for f in files if f.path.split("/")[0] in CONTENT_FOLDERS
    )
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()
