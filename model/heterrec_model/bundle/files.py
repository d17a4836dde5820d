"""The files of a bundle, and its description bundle.json, which is written last.

    bundle.json                    this description: hashes, fingerprint, versions, measured equality
    card.md                        the model card
    item_ids.parquet               item_index, item_id, retired, then the values of every feature that is not an embedding
    item_vectors.npy               float32 [N, D], one row per item of the catalogue, in the order of item_ids.parquet
    item_tokens.npy                int32 [I, C], the model input of every item_index: its row of the id table, if the model
                                   has one, then the tokens of its features
    repeat_term.npy                float32, the weights of the repeat term, one after another (optional)
    repeat_term_popularity.npy     int64 [N], the number of training interactions of every item of the catalogue (optional)
    sample_user_vectors.npy        float32 [S, D], vectors of real users, to measure the recall of an index
    popular.parquet                segment, item_index, count, best first inside a segment
    user.pt2                       the user tower as a program of torch.export
    user.onnx, user-<T>.onnx       the user tower for histories of at most T items; user.onnx takes the longest
    user.onnx.data                 their weights
    histories.arrow                histories of the split `latest`, by the hash of the user (optional)
    user_values.parquet            feature, value, token of the categorical user features
    index/                         written by `heterrec-model index`: index.faiss, and index.json last

Shapes: N items of the catalogue, I ids of the item vocabulary, C token columns, D width, S users.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from heterrec_schemas.feature_spec.embedding import MAX_DIM

EXPORT_VERSION = 1
INFO = "bundle.json"
CARD = "card.md"
ITEMS = "item_ids.parquet"
ITEM_VECTORS = "item_vectors.npy"
ITEM_TOKENS = "item_tokens.npy"
REPEAT_TERM, REPEAT_TERM_POPULARITY = "repeat_term.npy", "repeat_term_popularity.npy"
SAMPLE = "sample_user_vectors.npy"
POPULAR = "popular.parquet"
PROGRAM = "user.pt2"
GRAPH = "user.onnx"
WEIGHTS = "user.onnx.data"
HISTORIES = "histories.arrow"
USER_VALUES = "user_values.parquet"
INDEX = "index"
INDEX_FILE, INDEX_INFO = "index.faiss", "index.json"
Size = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class BundleFile(_Part):
    """One file of a bundle; the path is relative to its folder."""

    path: str
    bytes: Size
    sha256: str


class UserFeature(_Part):
    """A user feature that the model reads.

    Attributes:
        name: of the feature.
        kind: categorical, numeric or embedding.
        columns: number of tokens of a cell: Z of an embedding; 1 unless multivalued.
        multivalued: whether a cell is a list, padded with 0.
        oov_buckets: of a categorical feature.
        edges: of a numeric feature, ascending.
    """

    name: str
    kind: str
    columns: Annotated[int, Field(ge=0, le=MAX_DIM)]
    multivalued: bool = False
    oov_buckets: Size = 0
    edges: list[float] = []


class Identity(_Part):
    """Where an answer comes from.

    Attributes:
        generation: id of the generation.
        content_sha256: hash of its content.
        model: name of the model.
        checkpoint: name of the checkpoint.
        fingerprint: of the bundle; None of a run that has not been exported.
    """

    generation: str
    content_sha256: str
    model: str
    checkpoint: str
    fingerprint: str | None = None


class Equality(_Part):
    """How the exported tower differs from the model in PyTorch.

    Attributes:
        users: number of users compared: all of the split `latest`.
        largest_difference: of any number of any user vector.
        tolerance: that it had to keep.
    """

    users: Size
    largest_difference: float
    tolerance: float


class BundleInfo(_Part):
    """The content of bundle.json.

    Attributes:
        export_version: version of the layout.
        fingerprint: see `fingerprint`.
        created: time in UTC.
        identity: generation, model and checkpoint.
        parts: what the fingerprint is computed from.
        width: D, of the vectors: with token heads the width of the model times 1 + K.
        max_length: T, the number of items of a history that the model reads.
        buckets: lengths that have a graph of their own, ascending; the last one is T.
        items: N.
        item_id_type: int64 or string.
        user_id_type: likewise.
        users: number of users in histories.arrow; 0 without it.
        behaviours: names of the behaviours in the order of their ids; empty without behaviours.
        reads_behaviours: whether the model reads them.
        user_features: that the model reads.
        repeats: shapes of the weights in repeat_term.npy by name, in order; empty without a repeat term.
        segment_by: user feature of the segments of popular.parquet; None for one list of all users.
        equality: of the exported tower.
        versions: of the libraries at export.
        files: all others.
    """

    export_version: int
    fingerprint: str
    created: str
    identity: Identity
    parts: dict[str, Any]
    width: Size
    max_length: Size
    buckets: list[int]
    items: Size
    item_id_type: str
    user_id_type: str
    users: Size
    behaviours: list[str] = []
    reads_behaviours: bool = False
    user_features: list[UserFeature] = []
    repeats: dict[str, list[Size]] = {}
    segment_by: str | None = None
    equality: Equality
    versions: dict[str, str]
    files: list[BundleFile]

    @model_validator(mode="after")
    def _ends_with_the_longest(self) -> Self:
        if self.buckets != sorted(set(self.buckets)) or self.buckets[-1:] != [self.max_length]:
            raise ValueError(
                f"buckets: got {self.buckets}, expected ascending lengths up to {self.max_length}"
            )
        return self

    def to_json(self) -> str:
        """The description as indented JSON text."""
        return self.model_dump_json(indent=1) + "\n"


class IndexInfo(_Part):
    """The content of index/index.json.

    Attributes:
        fingerprint: of the bundle that the index belongs to.
        kind: flat, ivf or hnsw.
        settings: of the kind, such as lists and probes.
        k: of the measured recall.
        recall: share of the k best items, by exact search, that the index finds, mean over users.
        users: number of users it was measured on.
        least_recall: that it had to reach.
        bytes: size of index.faiss.
        sha256: of index.faiss.
        versions: of the libraries.
    """

    fingerprint: str
    kind: str
    settings: dict[str, int]
    k: Size
    recall: float
    users: Size
    least_recall: float
    bytes: Size
    sha256: str
    versions: dict[str, str]


def fingerprint(parts: Mapping[str, Any]) -> str:
    """SHA-256 of the parts as JSON with sorted keys and without blanks: equal for equal input, spec, content and weights."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def graph_name(length: int, longest: int) -> str:
    """Name of the graph for histories of at most `length` items."""
    return GRAPH if length == longest else f"user-{length}.onnx"
