"""A build as plain data: the spec, the tables and their files, the output. Workers get nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import polars as pl
import pyarrow as pa
from pydantic import InstanceOf

from heterrec_pipeline.files import storage
from heterrec_pipeline.files.rejects import FULL, RejectValues
from heterrec_pipeline.parent import KnownVocabulary, Parent
from heterrec_pipeline.reading.digests import Reading, Reuse
from heterrec_pipeline.reading.drops import Drop
from heterrec_pipeline.reading.erased import ErasedList, Gate
from heterrec_pipeline.reading.files import InputFile, physical_files
from heterrec_pipeline.reading.imported import ImportedVocabulary
from heterrec_pipeline.reading.key_text import key_text
from heterrec_pipeline.reading.user_ids import HashedIds
from heterrec_pipeline.sizing import Sizes
from heterrec_schemas.feature_spec import (
    BaseFeature,
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    FeatureSpec,
    Timestamp,
)
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tokens import feature_stem
from heterrec_schemas.user_ids import UserKey
from heterrec_schemas.values import Seen

ITEMS = "items"
RETIRED = "retired"
USERS = "users"
INTERACTIONS = "interactions"
LOG_ITEMS = "interactions.items"
"""The reading of a denormalised log for its items."""
PARTS = "parts"
LOG_ROW_BYTES = 8
"""Low estimate of the compressed size of a row of the log, in bytes; used if the rows were not estimated."""
BUCKET_ROWS = 1_000_000
"""Approximate number of interactions per bucket of users."""


class ErasingFeature(CategoricalFeature):
    """A categorical feature with erased values, which count as missing."""

    erased: InstanceOf[ErasedList]


@dataclass(frozen=True)
class Erasures:
    """The lists of what the spec erases.

    Attributes:
        users, items: the erased keys; None if the spec names no list.
        values: the erased values by vocabulary.
    """

    users: ErasedList | None = None
    items: ErasedList | None = None
    values: dict[str, ErasedList] = field(default_factory=dict)

    @property
    def every(self) -> tuple[ErasedList, ...]:
        """All lists."""
        return tuple(e for e in (self.users, self.items, *self.values.values()) if e is not None)


@dataclass(frozen=True)
class TableJob:
    """A table of features, of which one row per key is kept.

    Attributes:
        name: items, items.joins[k] or users.
        side: whose features these are: item or user.
        key: the key column.
        features: the features with their column in this table, in the spec's order.
        files: its files; none if the rows come from the log.
        joined: whether only rows with a key of the catalogue count.
        missing_values: further texts that mean a missing key.
        available_from: the column of times since when the items are listed, if declared.
        erased: the list of keys whose rows are erased, if there is one.
        reading: how digests of its splits are made; None to make and use none. If the rows come from the log, that of the
            log for its items.
        user_key: the key of the hashes of its keys, if they are user ids that are hashed.
        rejects: what is told of rejected cells.
    """

    name: str
    side: str
    key: str
    features: tuple[Feature, ...]
    files: tuple[InputFile, ...]
    joined: bool = False
    missing_values: tuple[str, ...] = ()
    available_from: Timestamp | None = None
    erased: ErasedList | None = None
    reading: Reading | None = None
    user_key: UserKey | None = None
    rejects: RejectValues = FULL

    @property
    def gate(self) -> Gate:
        """What is erased of the table, and hashed."""
        keys = () if self.erased is None else ((self.key, self.erased),)
        values = tuple(f.column for f in self.features if isinstance(f, ErasingFeature))
        if self.user_key is None:
            return Gate(keys, values)
        ids = HashedIds(self.name, self.key, self.missing_values, self.user_key)
        return Gate(keys, values, user_ids=ids)

    def key_text(self, cells: pa.Array, file: str) -> tuple[pl.Series, Seen]:
        """The texts of cells of the key column, and the kinds of their values; see `key_text`."""
        missing, quoted = self.missing_values, self.rejects.quoted
        return key_text(cells, self.key, file, missing, quoted=quoted)

    @property
    def duplicate(self) -> Reason:
        """The reason to reject a further row with the same key."""
        if self.side == "user":
            return Reason.DUPLICATE_USER
        return Reason.DUPLICATE_ROW if self.joined else Reason.DUPLICATE_ITEM

    @property
    def feature_names(self) -> list[str]:
        """The names of the features; erased values make a feature differ from the spec's."""
        return [f.name for f in self.features]

    @property
    def columns(self) -> list[str]:
        """The key column and the columns besides it, each once."""
        return list(dict.fromkeys([self.key, *self.value_columns]))

    @property
    def value_columns(self) -> list[str]:
        """The features' columns, and that of `available_from`."""
        more = [self.available_from.column] if self.available_from else []
        return [*(f.column for f in self.features), *more]

    @property
    def embeddings(self) -> tuple[EmbeddingFeature, ...]:
        """The features whose fit reads vectors."""
        return tuple(f for f in self.features if isinstance(f, EmbeddingFeature))

    @property
    def value_features(self) -> tuple[Feature, ...]:
        """The features whose fit reads values: categorical and numeric ones."""
        return tuple(f for f in self.features if not isinstance(f, EmbeddingFeature))


def log_gate(
    spec: FeatureSpec, erasures: Erasures, items: TableJob, user_key: UserKey | None
) -> Gate:
    """What is erased of the log, which rows are dropped, and what is hashed; `items` may be made from it."""
    log = spec.interactions
    missing = tuple(log.missing_values)
    keys = ((log.user, erasures.users), (log.item, erasures.items))
    return Gate(
        tuple((column, listed) for column, listed in keys if listed is not None),
        items.gate.values if spec.denormalised else (),
        tuple(_drops(spec)),
        None if user_key is None else HashedIds(INTERACTIONS, log.user, missing, user_key),
    )


def _drops(spec: FeatureSpec) -> Iterator[Drop]:
    """The rules by which rows of the log are dropped."""
    log = spec.interactions
    if log.missing_user == "drop":
        yield Drop(log.user, missing_values=tuple(log.missing_values))
    if log.unlisted_behaviours == "drop" and log.behaviour is not None:
        yield Drop(log.behaviour.column, listed=tuple(log.behaviour.values))


@dataclass(frozen=True)
class Job:
    """A whole build.

    Attributes:
        generation: id of the generation.
        output: the folder (or store) for generations.
        attempt: random text that distinguishes retries of the last step.
        created: when the build began, as text.
        log: the files of the log.
        spill: whether tables go through files rather than through the engine's shuffle.
        sizes: estimates of rows and distinct values, and the limits of a worker.
        lenient: whether to publish what a build refuses, as the trial build of a plan does.
        erasures: the lists of what is erased.
        imported: the vocabularies of other systems, by `item/<feature>` or `user/<feature>`.
        parent: the generation that a refresh continues; None in a build.
        refit: features whose boundaries or quantizers a refresh fits anew, as `item/<feature>` or `user/<feature>`.
        allow_drift: whether a refresh is published even if it drifted too far from its parent.
        latest: the content of `latest.json` when the run began; None if there was none.
        publish: whether `latest.json` names the result of a refresh: True, False, or None for only if it names the parent.
        reading: how digests of the log are made; None to make and use none.
        reuse: what is taken over from the parent; None in a build.
        empty: the names of the empty files that are ignored, by source.
        doubts: what a sample of the input suggests is lost or misread, in words, for the summary.
        key_examples: keys of the log and of the items from that sample, in words.
        user_key: the key of the hashes of user ids; None if they are not hashed.
    """

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
    sizes: Sizes = field(default_factory=Sizes)
    lenient: bool = False
    erasures: Erasures = field(default_factory=Erasures)
    imported: Mapping[str, ImportedVocabulary] = field(default_factory=dict)
    parent: Parent | None = None
    refit: frozenset[str] = frozenset()
    allow_drift: bool = False
    latest: bytes | None = None
    publish: bool | None = None
    reading: Reading | None = None
    reuse: Reuse | None = None
    empty: dict[str, tuple[str, ...]] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    key_examples: str = ""
    user_key: UserKey | None = None

    @property
    def root(self) -> str:
        """The generation's folder."""
        return storage.join(self.output, "generations", self.generation)

    @property
    def parts(self) -> str:
        """The folder of tables that steps hand to each other; deleted before the generation is published."""
        return storage.join(self.root, PARTS)

    @property
    def item_tables(self) -> tuple[TableJob, ...]:
        """The tables of the catalogue: the item table, then the joined ones."""
        return (self.items, *self.joins)

    @property
    def tables(self) -> tuple[TableJob, ...]:
        """Every table of features."""
        return (*self.item_tables, *((self.users,) if self.users else ()))

    @property
    def input_files(self) -> tuple[InputFile, ...]:
        """Every input file, each once; see `physical_files`."""
        sources = [
            self.log,
            *(t.files for t in self.tables),
            *(e.files for e in self.erasures.every),
            *(v.files for v in self.imported.values()),
        ]
        return physical_files(file for files in sources for file in files)

    @property
    def log_gate(self) -> Gate:
        """What is erased of the log, and hashed."""
        return log_gate(self.spec, self.erasures, self.items, self.user_key)

    @property
    def rejects(self) -> RejectValues:
        """What is told of rejected cells."""
        return RejectValues(self.spec.rejects.values, self.user_key)

    def erased_values(self, vocabulary: str) -> ErasedList | None:
        """The list of values of a vocabulary that are erased: `items`, `item/<feature>` or `user/<feature>`."""
        if vocabulary == ITEMS:
            return self.erasures.items
        side, _, name = vocabulary.partition("/")
        return self.erasures.values.get(feature_stem(side, name))

    def inherited(self, vocabulary: str) -> KnownVocabulary | None:
        """The parent's vocabulary of that name; None if it has none, and in a build."""
        return self.parent.vocabularies.get(vocabulary) if self.parent else None

    def known(self, vocabulary: str) -> KnownVocabulary | ImportedVocabulary | None:
        """The rows that a vocabulary begins with: the parent's, or those of another system."""
        return self.inherited(vocabulary) or self.imported.get(vocabulary)

    def is_frozen(self, side: str, feature: BaseFeature) -> bool:
        """Whether a feature keeps the boundaries or the quantizer of the parent."""
        name = f"{side}/{feature.name}"
        known = self.parent is not None and name in self.parent.features
        return known and name not in self.refit and not isinstance(feature, CategoricalFeature)

    def to_fit(self, table: TableJob) -> TableJob:
        """The table with the features only that are fitted to the present input."""
        rest = tuple(f for f in table.features if not self.is_frozen(table.side, f))
        return replace(table, features=rest)

    def vocabulary_shards(self, vocabulary: str, declared: int | None) -> int | None:
        """V: the parent's, else the declared number; None to derive it from the size."""
        inherited = self.inherited(vocabulary)
        return inherited.shards if inherited else declared

    def vocabulary_buckets(self, vocabulary: str, declared: int | None) -> int:
        """B: number of buckets in which a vocabulary is counted, numbered and looked up."""
        return self.sizes.buckets(vocabulary, self.vocabulary_shards(vocabulary, declared))

    def readings_of(self, table: TableJob) -> tuple[Reading, ...]:
        """How the files of a feature table are read; empty to make and use no digests."""
        return (table.reading,) if table.reading is not None else ()

    @property
    def log_readings(self) -> tuple[Reading, ...]:
        """How the files of the log are read: for the sequences, and for its items if it is denormalised."""
        of_items = self.items.reading if self.spec.denormalised else None
        return tuple(r for r in (self.reading, of_items) if r is not None)

    @property
    def key_buckets(self) -> int:
        """B of the items' keys."""
        return self.vocabulary_buckets(ITEMS, self.spec.items.catalogue_vocabulary.shards)

    @cached_property
    def buckets(self) -> int:
        """R: number of hash ranges per sequence shard, each processed at a time. Never changes a byte."""
        estimate = self.sizes.rows.get(INTERACTIONS)
        rows = estimate.count if estimate else sum(f.bytes for f in self.log) / LOG_ROW_BYTES
        return max(1, round(rows / self.spec.output.sequence_shards / BUCKET_ROWS))
