"""The parent of a refresh as plain data: what the steps need to know of an earlier generation, and where its files are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from heterrec_pipeline.files import storage
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.manifest import Ancestor, DriftStatus, FeatureEntry
from heterrec_schemas.tables import shard_name
from heterrec_schemas.user_ids import UserKey


class KnownVocabulary(NamedTuple):
    """A vocabulary of the parent.

    Attributes:
        stem: the stem of its files.
        shards: V, number of files.
        rows: number of rows, those of retired and erased values included.
        size: the largest id ever given + 1; the first id if none was given.
        integral: whether its values are stored as int64.
    """

    stem: str
    shards: int
    rows: int
    size: int
    integral: bool

    @property
    def paths(self) -> list[str]:
        """Its files, relative to the parent's folder, by shard."""
        return [f"vocabularies/{shard_name(self.stem, s, self.shards)}" for s in range(self.shards)]


class ParentRows(NamedTuple):
    """Number of rows of the parent."""

    items: int
    users: int
    interactions: int


@dataclass(frozen=True)
class Parent:
    """The generation that a refresh continues.

    Attributes:
        root: its folder.
        generation: its id.
        content_sha256: its content hash.
        lineage: its own ancestors, the first build first.
        spec: its spec.
        features: its features by `item/<feature>` or `user/<feature>`.
        vocabularies: its vocabularies by the names that the build uses: `items`, `item/<feature>`, `user/<feature>`.
        tokens: the files with tokens of items, relative to its folder: those of items/, then those of retired/.
        latest: the files of sequences/latest, relative to its folder.
        rows: number of rows of items/, of users in sequences/latest, and of kept interactions.
        drift: the status in its drift.json; None if it has none, as a build.
        user_key: the key of the hashes of its user ids; None if they are not hashed.
    """

    root: str
    generation: str
    content_sha256: str
    lineage: tuple[Ancestor, ...]
    spec: FeatureSpec
    features: Mapping[str, FeatureEntry]
    vocabularies: Mapping[str, KnownVocabulary]
    tokens: tuple[str, ...]
    latest: tuple[str, ...]
    rows: ParentRows
    drift: DriftStatus | None
    user_key: UserKey | None = None

    def path(self, relative: str) -> str:
        """The full path of one of its files."""
        return storage.join(self.root, relative)

    def begun(self, feature: str) -> str:
        """The generation in which the ids of a feature began."""
        return self.features[feature].begun or self.generation

    def fitted(self, feature: str) -> str:
        """The generation whose edges a feature has."""
        return self.features[feature].fitted or self.generation
