"""The whole spec: items, interactions, users, sequences, split, output, limits."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from heterrec_schemas.feature_spec.base import (
    MAX_BUCKETS,
    MAX_SHARDS,
    TEXT_OR_NUMBER,
    CleanText,
    Column,
    Source,
    SpecModel,
)
from heterrec_schemas.feature_spec.embedding import dimension_columns
from heterrec_schemas.feature_spec.expressions import columns_of
from heterrec_schemas.feature_spec.features import Feature
from heterrec_schemas.feature_spec.limits import Limits
from heterrec_schemas.feature_spec.time_patterns import strptime_format
from heterrec_schemas.user_ids import VARIABLE

MissingKeys = Annotated[
    list[CleanText],
    Field(description="further texts that mean a missing key; numbers compare as numbers"),
]
RESERVED_NAMES = ("item", "item_id", "item_index")
MAX_LENGTH = 2**31 - 1
"""Number of interactions that a sequence may have."""


def _unique_names(features: list[Feature], reserved: tuple[str, ...]) -> None:
    seen: set[str] = set()
    for feature in features:
        if feature.name in reserved or feature.name.startswith("user_"):
            raise ValueError(f"the feature name {feature.name!r} is reserved; choose another")
        if feature.name in seen:
            raise ValueError(f"two features are named {feature.name!r}; names are unique per side")
        seen.add(feature.name)


class Join(SpecModel):
    """A further table of the items, with at most one row per item."""

    source: Source
    key: Column
    missing_values: MissingKeys = Field(default=[])


class CatalogueVocabulary(SpecModel):
    """The layout of item ids."""

    oov_buckets: int = Field(default=0, ge=0, le=MAX_BUCKETS)
    shards: int | None = Field(default=None, ge=1, le=MAX_SHARDS)


class Timestamp(SpecModel):
    """A column of times, and its unit or format."""

    column: Column
    unit: Literal["s", "ms", "us", "ns", "day", "iso"] | None = None
    format: str | None = Field(default=None, min_length=1)

    @property
    def is_number(self) -> bool:
        """Whether the times are numbers."""
        return self.unit not in (None, "iso")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.unit is not None and self.format is not None:
            raise ValueError("give unit or format, not both")
        if self.format is not None and "%" not in self.format:
            written = strptime_format(self.format)
            how = f'"{written}"' if written else "%Y-%m-%d %H:%M:%S, say"
            raise ValueError(
                f"the format {self.format!r} has no directive of Python's strptime; write it as {how}"
            )
        return self


class Items(SpecModel):
    """The catalogue."""

    source: Source | Literal["interactions"]
    key: Column
    missing_values: MissingKeys = Field(default=[])
    joins: list[Join] = Field(default=[])
    features: list[Feature] = Field(default=[])
    catalogue_vocabulary: CatalogueVocabulary = CatalogueVocabulary()
    retired: Literal["keep", "drop"] | None = Field(
        default=None,
        description="whether a refresh keeps the tokens of items that have left the catalogue, for histories; "
        "keep unless items are taken from the log",
    )
    available_from: Timestamp | None = Field(
        default=None,
        description="since when each item is listed: a column of the item table (not of a joined one)",
    )

    @field_validator("features")
    @classmethod
    def _names(cls, features: list[Feature]) -> list[Feature]:
        _unique_names(features, RESERVED_NAMES)
        return features

    @model_validator(mode="after")
    def _aggregates(self) -> Self:
        if self.source == "interactions" and self.available_from is not None:
            raise ValueError(
                "available_from needs a table of items; with items.source: interactions an item is known from its "
                "first interaction on"
            )
        if self.source == "interactions" and self.missing_values:
            raise ValueError(
                "missing_values: the items are taken from the log; give them in interactions.missing_values"
            )
        if self.source != "interactions":
            for feature in self.features:
                if feature.aggregate is not None:
                    raise ValueError(
                        f"feature {feature.name!r}: aggregate needs items.source: interactions; "
                        "a table of items has one row per item"
                    )
        return self


class Behaviour(SpecModel):
    """Kinds of interaction: the listed values, in the order of their ids."""

    column: Column
    values: list[CleanText] = Field(min_length=1)

    @field_validator("values")
    @classmethod
    def _unique(cls, values: list[str]) -> list[str]:
        twice = sorted(v for v, count in Counter(values).items() if count > 1)
        if twice:
            raise ValueError(f"behaviour values given twice: {', '.join(map(repr, twice))}")
        return values


class Interactions(SpecModel):
    """The log of interactions."""

    source: Source
    user: Column
    item: Column
    timestamp: Timestamp
    behaviour: Behaviour | None = None
    order: Column | None = None
    event_id: Column | None = Field(
        default=None,
        description="an id of the event: of a user's rows with the same id, only the first counts",
    )
    missing_values: MissingKeys = Field(default=[])
    unknown_items: Literal["drop", "reject", "oov"] = "drop"
    missing_user: Literal["reject", "drop"] = Field(
        default="reject",
        description="what to do with rows without a user, such as anonymous visits",
    )
    unlisted_behaviours: Literal["reject", "drop"] = Field(
        default="reject", description="what to do with rows whose behaviour is not listed"
    )

    @model_validator(mode="after")
    def _behaviours(self) -> Self:
        if self.unlisted_behaviours == "drop" and self.behaviour is None:
            raise ValueError(
                "unlisted_behaviours: drop needs behaviour: {column: ..., values: [...]}"
            )
        return self


def _variable(value: object) -> object:
    """The name of an environment variable; the message does not repeat another text, which may be the key itself."""
    if not isinstance(value, str) or not VARIABLE.fullmatch(value):
        raise ValueError(
            "expected the name of the environment variable that holds the key (capital letters, digits and _), such as "
            "USER_ID_KEY; never the key itself"
        )
    return value


HashKey = Annotated[
    str,
    BeforeValidator(_variable),
    Field(
        description="the environment variable with the key by which user ids are hashed",
        json_schema_extra={"pattern": f"^{VARIABLE.pattern}$"},
    ),
]


class UserIds(SpecModel):
    """How the user ids of the log are hashed, without a table of users."""

    hash_key: HashKey


class Users(SpecModel):
    """A table of users, one row per user."""

    source: Source
    key: Column
    missing_values: MissingKeys = Field(default=[])
    features: list[Feature] = Field(default=[])
    hash_key: HashKey | None = None

    @field_validator("features")
    @classmethod
    def _names(cls, features: list[Feature]) -> list[Feature]:
        _unique_names(features, (*RESERVED_NAMES, "id"))
        for feature in features:
            if feature.aggregate is not None:
                raise ValueError(f"feature {feature.name!r}: aggregate is for items, not users")
        return features


WITH_TABLE, IDS_ONLY = "with a table", "ids only"
"""The forms of `users`, as pydantic names them in locations."""


def _form_of_users(value: object) -> str:
    """The form of `users`: `hash_key` may stand alone."""
    alone = isinstance(value, UserIds) or (isinstance(value, dict) and value.keys() == {"hash_key"})
    return IDS_ONLY if alone else WITH_TABLE


class Sequences(SpecModel):
    """Rules by which a user's interactions become sequences."""

    min_length: int = Field(default=1, ge=1, le=MAX_LENGTH)
    max_length: int = Field(ge=1, le=MAX_LENGTH)
    deduplicate: Literal["exact", "consecutive", "none"] = "exact"
    train_windows: Literal["last", "all"] = "last"


def _cut(value: object) -> object:
    """A cut is a fraction of the interactions, or a time (a YAML timestamp or ISO text)."""
    if isinstance(value, bool):
        raise ValueError(f"expected a fraction or an ISO time; got {value}")
    if isinstance(value, datetime):
        return iso_utc(value)
    if isinstance(value, date):
        return iso_utc(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if isinstance(value, str):
        try:
            return iso_utc(datetime.fromisoformat(value.strip()))
        except ValueError:
            raise ValueError(
                f"expected a fraction such as 0.8 or an ISO time such as 2024-01-31; got {value!r}"
            ) from None
    if isinstance(value, int | float):
        if not 0 <= value <= 1:
            raise ValueError(f"a fraction lies between 0 and 1; got {value}")
        return float(value)
    return value


Cut = Annotated[float | str, BeforeValidator(_cut)]


def iso_utc(moment: datetime) -> str:
    """A time as ISO 8601 text in UTC (`Z`); a time without a zone is in UTC.

    Raises:
        ValueError: its year in UTC is not one of 1 to 9999.
    """
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment} in UTC is not in the years 1 to 9999") from None
    return moment.isoformat().replace("+00:00", "Z")


class LeaveOneOut(SpecModel):
    """The last interaction of a user is for the test, the last but one for validation."""

    method: Literal["leave_one_out"]


class Temporal(SpecModel):
    """Two cuts in time, the same for all users."""

    method: Literal["temporal"]
    validation_at: Cut
    test_at: Cut
    targets: Literal["all", "next", "last"] = "all"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        a, b = self.validation_at, self.test_at
        if isinstance(a, float) and isinstance(b, float):
            late = Fraction(str(a)) > Fraction(str(b))
        elif isinstance(a, str) and isinstance(b, str):
            late = datetime.fromisoformat(a) > datetime.fromisoformat(b)
        else:
            late = False  # one of each: can be compared only after the data has been read
        if late:
            raise ValueError(f"validation_at ({a}) lies after test_at ({b})")
        return self


class Output(SpecModel):
    """Number of shards, and whether sequences repeat the items' tokens."""

    item_shards: int = Field(default=1, ge=1, le=MAX_SHARDS)
    sequence_shards: int = Field(default=1, ge=1, le=MAX_SHARDS)
    layout: Literal["referenced", "flattened"] = "referenced"


class KeyList(SpecModel):
    """A table whose column `key` lists what is to be erased; a table without rows lists nothing."""

    source: Source
    key: Column

    @field_validator("source")
    @classmethod
    def _every_file(cls, source: Source) -> Source:
        if source.empty_files == "skip":
            raise ValueError(
                "empty_files: skip would erase nothing if a list was not written; leave it out, and write an empty list as "
                "a file with a header"
            )
        return source


class Rejects(SpecModel):
    """What `rejects/` and messages tell of rejected rows and cells, besides their place and the reason."""

    values: Literal["full", "hashed", "none"] = Field(
        default="full",
        description="the text of a cell, its hash by the key of users.hash_key, or nothing",
    )


class Erase(SpecModel):
    """What must not be in a generation: users and items by key, and values by the name of their vocabulary."""

    users: KeyList | None = None
    items: KeyList | None = None
    values: dict[str, KeyList] = Field(
        default={},
        description="by vocabulary: the name of an item feature, or user_ and that of a user feature",
    )


def _rising(warn: float, fail: float) -> None:
    if warn > fail:
        raise ValueError(f"warn ({warn}) lies above fail ({fail})")


class Shrink(SpecModel):
    """Shares of items, users or interactions that may be lost from one generation to the next."""

    warn: float = Field(default=0.2, ge=0, le=1, strict=False)
    fail: float = Field(default=0.5, ge=0, le=1, strict=False)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _rising(self.warn, self.fail)
        return self


class Drift(SpecModel):
    """Limits on how much a refresh may differ from its parent.

    `warn` and `fail` limit a feature's population stability index; features and row counts of fewer than `min_rows` rows
    are reported, but not judged.
    """

    warn: float = Field(default=0.1, ge=0, strict=False, allow_inf_nan=False)
    fail: float = Field(default=0.25, ge=0, strict=False, allow_inf_nan=False)
    min_rows: int = Field(default=1000, ge=0)
    shrink: Shrink = Shrink()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _rising(self.warn, self.fail)
        return self


class FeatureSpec(SpecModel):
    """The whole spec, loaded by `load_spec` or `parse_spec`."""

    version: Literal[1]
    name: str = Field(min_length=1)
    items: Items
    interactions: Interactions
    users: (
        Annotated[
            Annotated[Users, Tag(WITH_TABLE)] | Annotated[UserIds, Tag(IDS_ONLY)],
            Discriminator(_form_of_users),
        ]
        | None
    ) = None
    sequences: Sequences
    split: Annotated[LeaveOneOut | Temporal, Field(discriminator="method")]
    output: Output = Output()
    limits: Limits = Limits()
    rejects: Rejects = Rejects()
    erase: Erase = Erase()
    drift: Drift = Drift()
    parameters: dict[str, Annotated[str, TEXT_OR_NUMBER]] = Field(
        default={},
        description="values of {name} in the where and path of sources; --param name=value replaces them",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        items, log = self.items, self.interactions
        if items.source == "interactions" and items.key != log.item:
            raise ValueError(
                f"items.key: {items.key!r} and interactions.item: {log.item!r} differ, but items "
                "are taken from the log; name the same column in both"
            )
        if log.unknown_items == "oov" and items.catalogue_vocabulary.oov_buckets == 0:
            raise ValueError(
                "interactions.unknown_items: oov needs items.catalogue_vocabulary: "
                "{oov_buckets: N} with N above 0"
            )
        unknown = sorted(self.erase.values.keys() - self.vocabularies)
        if unknown:
            raise ValueError(
                f"erase.values names no vocabulary: {', '.join(map(repr, unknown))}; "
                f"there are {', '.join(map(repr, self.vocabularies)) or 'none'}"
            )
        if self.output.layout == "flattened" and any(f.name == "index" for f in items.features):
            raise ValueError("the feature name 'index' is reserved under layout: flattened")
        self._check_hashes()
        return self

    def _check_hashes(self) -> None:
        log = self.interactions
        if self.hash_key is None:
            if self.rejects.values == "hashed":
                raise ValueError(
                    "rejects.values: hashed needs users.hash_key: without a key, whoever tries all short texts finds the one "
                    "with a hash; write users: {hash_key: NAME}, or values: none"
                )
            return
        others = {
            "item": log.item,
            "timestamp": log.timestamp.column,
            "order": log.order,
            "event_id": log.event_id,
            "behaviour": log.behaviour.column if log.behaviour else None,
        }
        for name, column in others.items():
            if column == log.user:
                raise ValueError(
                    f"users.hash_key: interactions.user and interactions.{name} are both column {column!r}, which has hashes "
                    "of user ids only"
                )
        features = [("items", f, log.user) for f in self.items.features if self.denormalised]
        if self.user_table is not None:
            features += [("users", f, self.user_table.key) for f in self.user_features]
        for side, feature, column in features:
            if feature.column == column:
                raise ValueError(
                    f"users.hash_key: the {side} feature {feature.name!r} reads column {column!r}, which has hashes of user "
                    "ids; leave the feature out"
                )

    @property
    def user_table(self) -> Users | None:
        """The table of users, if declared."""
        return self.users if isinstance(self.users, Users) else None

    @property
    def hash_key(self) -> str | None:
        """The environment variable with the key by which user ids are hashed; None if they are not."""
        return self.users.hash_key if self.users else None

    @property
    def quotes_cells(self) -> bool:
        """Whether messages may quote cells of the input."""
        return self.rejects.values == "full"

    @property
    def user_features(self) -> list[Feature]:
        """The features of the users' side; empty when no table of users is declared."""
        return self.user_table.features if self.user_table else []

    @property
    def named_features(self) -> dict[str, Feature]:
        """All features by the names of their files: `<feature>`, or `user_<feature>` on the users' side."""
        named = {f.name: f for f in self.items.features}
        return named | {f"user_{f.name}": f for f in self.user_features}

    @property
    def vocabularies(self) -> list[str]:
        """The vocabularies of values: categorical features of items by name, those of users after `user_`."""
        sides = (("", self.items.features), ("user_", self.user_features))
        return [f"{prefix}{f.name}" for prefix, fs in sides for f in fs if f.kind == "categorical"]

    @property
    def keeps_retired(self) -> bool:
        """Whether a refresh keeps the tokens of items that have left the catalogue."""
        default = "drop" if self.denormalised else "keep"
        return (self.items.retired or default) == "keep"

    @property
    def denormalised(self) -> bool:
        """Whether the items are taken from the log."""
        return self.items.source == "interactions"

    def vector_columns(self, side: Literal["item", "user", "log"]) -> tuple[str, ...]:
        """The columns that are read as vectors, in the tables of a side or in the log."""
        if side == "log" and not self.denormalised:
            return ()
        features = self.user_features if side == "user" else self.items.features
        return tuple(dict.fromkeys(f.column for f in features if f.kind == "embedding"))

    def number_columns(self, side: Literal["item", "user", "log"]) -> tuple[str, ...]:
        """The columns that are read as numbers, in the tables of a side or in the log."""
        log, listed = self.interactions, self.items.available_from
        features = self.user_features if side == "user" else self.items.features
        if side == "log" and not self.denormalised:
            features = []
        found = [f.column for f in features if f.kind == "numeric"]
        found += [c for v in self.vector_columns(side) for c in dimension_columns(v) or ()]
        times = {"item": listed, "log": log.timestamp, "user": None}[side]
        found += [times.column] if times is not None and times.is_number else []
        found += [log.order] if side == "log" and log.order is not None else []
        return tuple(found)

    @property
    def first_item_index(self) -> int:
        """The smallest id of a catalogue item; smaller ids are padding, missing and OOV buckets."""
        return 2 + self.items.catalogue_vocabulary.oov_buckets

    def warnings(self) -> Iterator[str]:
        """Settings that are allowed but probably not intended."""
        for side, features in (("items", self.items.features), ("users", self.user_features)):
            for f in features:
                yield from (f"{side} feature {f.name!r}: {warning}" for warning in f.warnings())
        yield from self._raw_ids()

    def _raw_ids(self) -> Iterator[str]:
        """Features that read the columns of which hashed user ids are made."""
        log, users = self.interactions, self.user_table
        if self.hash_key is None:
            return
        tables = [("users", users.source, users.key, users.features)] if users else []
        if self.denormalised:
            tables.append(("items", log.source, log.user, self.items.features))
        for side, source, key, features in tables:
            for f in features:
                if raw := _read_for(source, key) & _read_for(source, f.column):
                    yield (
                        f"{side} feature {f.name!r} reads {', '.join(map(repr, sorted(raw)))}, of which user ids are made: "
                        f"its values are not hashed; only those of column {key!r} are"
                    )


def _read_for(source: Source, column: str) -> set[str]:
    """The columns that a column is made of: itself, and those that its expression reads."""
    text = source.columns.get(column)
    return {column, *(columns_of(text) if text is not None else ())}
