"""One build as plain data: the spec, the tables and their files, where the generation goes. Workers get nothing else."""

from dataclasses import dataclass, field
from functools import cached_property

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.sizing import Sizes
from heterrec_schemas.feature_spec import EmbeddingFeature, Feature, FeatureSpec
from heterrec_schemas.rejects import Reason

ITEMS = "items"
USERS = "users"
INTERACTIONS = "interactions"
PARTS = "parts"
LOG_ROW_BYTES = 8
"""A low guess of what one compressed row of a log takes on disk, for where nobody has estimated the rows."""
BUCKET_ROWS = 1_000_000
"""About how many interactions one bucket of users should hold."""


@dataclass(frozen=True)
class TableJob:
    """One table of features: its rows are keyed, and each key is kept once.

    Attributes:
        name: items, items.joins[k] or users.
        side: whose features these are.
        key: the key column.
        features: the features that this table provides, in the spec's order.
        files: its files; none when the rows come out of the log.
        joined: whether its rows count only where the catalogue has their key.
    """

    name: str
    side: str
    key: str
    features: tuple[Feature, ...]
    files: tuple[InputFile, ...]
    joined: bool = False

    @property
    def duplicate(self) -> Reason:
        """The reason that a further row of a key is set aside for."""
        if self.side == "user":
            return Reason.DUPLICATE_USER
        return Reason.DUPLICATE_ROW if self.joined else Reason.DUPLICATE_ITEM

    @property
    def columns(self) -> list[str]:
        """The key column and the features' columns, each once."""
        return list(dict.fromkeys([self.key, *(f.column for f in self.features)]))

    @property
    def embeddings(self) -> tuple[EmbeddingFeature, ...]:
        """The features whose fit reads vectors."""
        return tuple(f for f in self.features if isinstance(f, EmbeddingFeature))

    @property
    def value_features(self) -> tuple[Feature, ...]:
        """The features whose fit reads values: categorical and numeric ones."""
        return tuple(f for f in self.features if not isinstance(f, EmbeddingFeature))


@dataclass(frozen=True)
class Job:
    """A whole build."""

    spec: FeatureSpec
    spec_text: str
    generation: str
    output: str
    attempt: str
    created: str
    items: TableJob
    joins: tuple[TableJob, ...]
    users: TableJob | None
    log: tuple[InputFile, ...]
    spill: bool = True
    """Whether tables go through files rather than through the engine's shuffle."""
    sizes: Sizes = field(default_factory=Sizes)
    """How much there is of everything, as far as it can be told beforehand, and what is too much for one worker."""

    @property
    def root(self) -> str:
        """The generation's folder."""
        return storage.join(self.output, "generations", self.generation)

    @property
    def parts(self) -> str:
        """The folder of what workers hand to each other by file; gone when the generation stands."""
        return storage.join(self.root, PARTS)

    @property
    def item_tables(self) -> tuple[TableJob, ...]:
        """The catalogue's tables: the items' own, then the joined ones."""
        return (self.items, *self.joins)

    @property
    def tables(self) -> tuple[TableJob, ...]:
        """Every table of features."""
        return (*self.item_tables, *((self.users,) if self.users else ()))

    @cached_property
    def buckets(self) -> int:
        """R: how many hash ranges each sequence shard is worked on in. Never changes a byte."""
        estimate = self.sizes.rows.get(INTERACTIONS)
        rows = estimate.count if estimate else sum(f.bytes for f in self.log) / LOG_ROW_BYTES
        return max(1, round(rows / self.spec.output.sequence_shards / BUCKET_ROWS))
