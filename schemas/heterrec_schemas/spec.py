"""The feature spec: what a user writes in YAML, checked when it is made and trusted afterwards."""

import hashlib
import itertools
import math
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from heterrec_schemas.errors import SpecError, near
from heterrec_schemas.values import clean_text, value_text

SPEC_VERSION = 1
MAX_CODES = 2**20
WARN_CODES = 4096
FIT_SAMPLE = 262_144
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
RESERVED_NAMES = ("item", "item_id", "item_index")
LATER = "comes with a later release"

Format = Literal["parquet", "csv", "jsonl"]
Aggregate = Literal["latest", "mean", "median"]
Column = Annotated[str, Field(min_length=1)]


def _unquoted(value: object) -> object:
    """Accept the numbers that YAML reads out of unquoted values; a YAML boolean is a trap (`No`)."""
    if isinstance(value, bool):
        raise ValueError(f"got the boolean {value}; write the text in quotes, e.g. 'No'")
    return value_text(value) if isinstance(value, int | float) else value


def _cleaned(value: str) -> str:
    text = clean_text(value)
    if text is None:
        raise ValueError("an empty text is missing already and is no value; leave it out")
    return text


CleanText = Annotated[str, BeforeValidator(_unquoted), AfterValidator(_cleaned)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class Source(_Model):
    """One table: a file, a list of files, or a glob, relative to the input folder."""

    path: str | list[str]
    format: Format | None = None

    @property
    def patterns(self) -> list[str]:
        """The path as a list of patterns."""
        return [self.path] if isinstance(self.path, str) else list(self.path)

    @field_validator("path")
    @classmethod
    def _not_empty(cls, path: str | list[str]) -> str | list[str]:
        if not path or not all([path] if isinstance(path, str) else path):
            raise ValueError("expected a path, a glob, or a list of them; got nothing")
        return path

    def format_of(self, path: str) -> Format:
        """The format of one file: the declared one, or the one its suffix tells.

        Raises:
            SpecError: neither says what the file is.
        """
        if self.format is not None:
            return self.format
        stem = re.sub(r"\.(gz|zst)$", "", path.lower())
        for suffix, name in _SUFFIXES.items():
            if stem.endswith(suffix):
                return name
        raise SpecError(
            f"the format of {path} cannot be told from its suffix",
            expected="one of .parquet, .csv, .jsonl (or .gz, .zst behind them)",
            todo="Rename the file, or name the format: source: {path: ..., format: csv}.",
        )


_SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}


class _Feature(_Model):
    name: str = Field(pattern=NAME_PATTERN)
    column: Column
    aggregate: Aggregate | None = Field(
        default=None, description="denormalised logs only: how an item's many values become one"
    )


class CategoricalFeature(_Feature):
    """Ids of a vocabulary; multivalued ones hold a list of ids an item."""

    kind: Literal["categorical"]
    missing_values: list[CleanText] = []
    min_count: int = Field(default=1, ge=1)
    max_size: int | None = Field(default=None, ge=1)
    oov_buckets: int = Field(default=0, ge=0)
    multivalued: bool = False
    nested: Literal["leaf", "nodes", "prefixes"] | None = None
    separator: str | None = Field(default=None, min_length=1)
    max_values: int | None = Field(default=None, ge=1)
    shards: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.multivalued:
            for name in ("nested", "separator", "max_values"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs multivalued: true")
        if self.aggregate in ("mean", "median"):
            raise ValueError(f"aggregate: {self.aggregate} is for numeric features; use latest")
        return self


class NumericFeature(_Feature):
    """Quantile bins of a number, or bins of given boundaries."""

    kind: Literal["numeric"]
    missing_values: list[CleanText] = []
    bins: int | None = Field(default=None, ge=2, le=MAX_CODES)
    boundaries: list[Annotated[float, Field(strict=False)]] | None = Field(
        default=None, min_length=1
    )
    fit_sample: int = Field(default=FIT_SAMPLE, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.bins is None and self.boundaries is None:
            raise ValueError("a numeric feature needs bins (a number) or boundaries (a list)")
        edges = self.boundaries or []
        if not all(map(math.isfinite, edges)) or any(a >= b for a, b in itertools.pairwise(edges)):
            raise ValueError(f"boundaries must be finite and strictly ascending; got {edges}")
        return self

    @property
    def bin_count(self) -> int:
        """How many bins were asked for (repeated edges may leave fewer)."""
        return len(self.boundaries) + 1 if self.boundaries is not None else int(self.bins or 0)


class EmbeddingFeature(_Feature):
    """Z grouped quantile tokens of a pre-trained vector."""

    kind: Literal["embedding"]
    dim: int = Field(ge=1)
    groups: int = Field(ge=1)
    quantiles: int = Field(ge=2)
    quantizer: Literal["quantile"] = "quantile"
    fit_sample: int = Field(default=FIT_SAMPLE, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _refuse_later(cls, data: Any) -> Any:
        if isinstance(data, dict):
            if data.get("quantizer") in ("pq", "rq"):
                raise ValueError(f"quantizer: {data['quantizer']} {LATER}; use quantile")
            if "reduce" in data:
                raise ValueError(f"reduce {LATER}; leave it out")
        return data

    @model_validator(mode="after")
    def _workable(self) -> Self:
        if self.dim % self.groups:
            raise ValueError(
                f"groups: {self.groups} does not divide dim: {self.dim}; "
                f"workable pairs near it: {self._near_pairs()}"
            )
        if self.codes > MAX_CODES:
            raise ValueError(
                f"quantiles: {self.quantiles} to the power dim / groups = {self.group_width} gives "
                f"{self.codes:.3g} codes a group, more than {MAX_CODES}; "
                f"workable pairs near it: {self._near_pairs()}"
            )
        if self.aggregate in ("mean", "median"):
            raise ValueError(f"aggregate: {self.aggregate} is for numeric features; use latest")
        return self

    @property
    def group_width(self) -> int:
        """m: how many dimensions one group holds."""
        return self.dim // self.groups

    @property
    def codes(self) -> int:
        """How many codes one group has: quantiles ** m."""
        return int(self.quantiles**self.group_width)

    def _near_pairs(self) -> str:
        pairs = [
            (abs(math.log(g / self.groups)), abs(q - self.quantiles), g, q)
            for g in range(1, self.dim + 1)
            if self.dim % g == 0
            for q in {self.quantiles, 2, 3, 4}
            if q >= 2 and q ** (self.dim // g) <= MAX_CODES
        ]
        return ", ".join(f"groups: {g} with quantiles: {q}" for _, _, g, q in sorted(pairs)[:3])


Feature = Annotated[
    CategoricalFeature | NumericFeature | EmbeddingFeature, Field(discriminator="kind")
]


def _unique_names(features: list[Feature], reserved: tuple[str, ...]) -> None:
    seen: set[str] = set()
    for feature in features:
        if feature.name in reserved or feature.name.startswith("user_"):
            raise ValueError(f"the feature name {feature.name!r} is reserved; choose another")
        if feature.name in seen:
            raise ValueError(f"two features are named {feature.name!r}; names are unique a side")
        seen.add(feature.name)


class Join(_Model):
    """A further table of the items, at most one row an item."""

    source: Source
    key: Column


class CatalogueVocabulary(_Model):
    """How item ids are laid out."""

    oov_buckets: int = Field(default=0, ge=0)
    shards: int | None = Field(default=None, ge=1)


class Items(_Model):
    """The catalogue."""

    source: Source | Literal["interactions"]
    key: Column
    joins: list[Join] = []
    features: list[Feature] = []
    catalogue_vocabulary: CatalogueVocabulary = CatalogueVocabulary()

    @field_validator("features")
    @classmethod
    def _names(cls, features: list[Feature]) -> list[Feature]:
        _unique_names(features, RESERVED_NAMES)
        return features

    @model_validator(mode="after")
    def _aggregates(self) -> Self:
        if self.source != "interactions":
            for feature in self.features:
                if feature.aggregate is not None:
                    raise ValueError(
                        f"feature {feature.name!r}: aggregate needs items.source: interactions; "
                        "a table of items has one row an item"
                    )
        return self


class Timestamp(_Model):
    """Where the time of an interaction stands and how it is written."""

    column: Column
    unit: Literal["s", "ms", "us", "ns", "day", "iso"] | None = None
    format: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.unit is not None and self.format is not None:
            raise ValueError("give unit or format, not both")
        return self


class Behaviour(_Model):
    """What the user did: the listed values, in the order of their ids."""

    column: Column
    values: list[CleanText] = Field(min_length=1)

    @field_validator("values")
    @classmethod
    def _unique(cls, values: list[str]) -> list[str]:
        twice = sorted({v for v in values if values.count(v) > 1})
        if twice:
            raise ValueError(f"behaviour values given twice: {', '.join(map(repr, twice))}")
        return values


class Interactions(_Model):
    """The log."""

    source: Source
    user: Column
    item: Column
    timestamp: Timestamp
    behaviour: Behaviour | None = None
    order: Column | None = None
    unknown_items: Literal["drop", "reject", "oov"] = "drop"


class Users(_Model):
    """A table of users, one row a user."""

    source: Source
    key: Column
    features: list[Feature] = []

    @field_validator("features")
    @classmethod
    def _names(cls, features: list[Feature]) -> list[Feature]:
        _unique_names(features, (*RESERVED_NAMES, "id"))
        for feature in features:
            if feature.aggregate is not None:
                raise ValueError(f"feature {feature.name!r}: aggregate is for items, not users")
        return features


class Sequences(_Model):
    """How a user's interactions become a sequence."""

    min_length: int = Field(default=1, ge=1)
    max_length: int = Field(ge=1)
    deduplicate: Literal["exact", "consecutive", "none"] = "exact"
    train_windows: Literal["last", "all"] = "last"


def _cut(value: object) -> object:
    """A cut is a fraction of the interactions, or a time (YAML's own, or ISO text)."""
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
    """A time as ISO 8601 text in UTC (`Z`); without a zone it is taken as UTC."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


class LeaveOneOut(_Model):
    """Last interaction = test, last but one = validation."""

    method: Literal["leave_one_out"]


class Temporal(_Model):
    """Two cuts in time, the same for every user."""

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
            late = False  # one of each: known only when the data has been read
        if late:
            raise ValueError(f"validation_at ({a}) lies after test_at ({b})")
        return self


class Output(_Model):
    """How many shards, and how much a sequence shard repeats of the items."""

    item_shards: int = Field(default=1, ge=1, le=99_999)
    sequence_shards: int = Field(default=1, ge=1, le=99_999)
    layout: Literal["referenced", "flattened"] = "referenced"


class Limits(_Model):
    """When a run refuses to publish."""

    max_reject_ratio: float = Field(default=0.01, ge=0, le=1, strict=False)


class FeatureSpec(_Model):
    """The whole spec. Make one with `load_spec` or `parse_spec`."""

    version: Literal[1]
    name: str = Field(min_length=1)
    items: Items
    interactions: Interactions
    users: Users | None = None
    sequences: Sequences
    split: Annotated[LeaveOneOut | Temporal, Field(discriminator="method")]
    output: Output = Output()
    limits: Limits = Limits()

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
        if self.output.layout == "flattened" and any(f.name == "index" for f in items.features):
            raise ValueError("the feature name 'index' is reserved under layout: flattened")
        return self

    @property
    def user_features(self) -> list[Feature]:
        """The features of the users' side; empty when no table of users is declared."""
        return self.users.features if self.users else []

    @property
    def denormalised(self) -> bool:
        """Whether the items come out of the log."""
        return self.items.source == "interactions"

    @property
    def first_item_index(self) -> int:
        """The smallest id of a catalogue item: below it stand padding, missing and OOV buckets."""
        return 2 + self.items.catalogue_vocabulary.oov_buckets

    def warnings(self) -> Iterator[str]:
        """What is allowed but probably not meant."""
        for side, features in (("items", self.items.features), ("users", self.user_features)):
            for f in features:
                if isinstance(f, EmbeddingFeature) and f.codes > WARN_CODES:
                    yield (
                        f"{side} feature {f.name!r}: {f.codes} codes a group (above {WARN_CODES}); "
                        "most will be rare. More groups or fewer quantiles give denser codes."
                    )


# --- reading ---------------------------------------------------------------------------------


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML itself would silently overwrite."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise SpecError(
                f"a key is no plain text (line {key_node.start_mark.line + 1})",
                todo="Text that begins with a brace or bracket needs quotes.",
            )
        key = loader.construct_object(key_node)
        if key in seen:
            raise SpecError(
                f"the key {key!r} stands twice (line {key_node.start_mark.line + 1})",
                todo="Keep one of them.",
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_spec(text: str, *, where: str = "spec") -> FeatureSpec:
    """Read a spec from YAML text.

    Args:
        text: the YAML.
        where: what messages call it, such as a path.

    Raises:
        SpecError: every mistake in one message.
    """
    try:
        # A subclass of SafeLoader: nothing but plain data is made.
        data = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise SpecError(f"{where} is no YAML: {error}") from None
    except SpecError as error:
        raise SpecError(f"{where}: {error.message}") from None
    if not isinstance(data, dict):
        raise SpecError(
            f"{where} holds no feature spec",
            got=f"{type(data).__name__}",
            expected="a mapping with version, name, items, interactions, sequences, split",
        )
    if data.get("version", SPEC_VERSION) != SPEC_VERSION:
        raise SpecError(
            f"{where}: unknown spec version",
            got=repr(data.get("version")),
            expected=f"{SPEC_VERSION}",
            todo="Write the spec for this release, or install the release that knows it.",
        )
    try:
        return FeatureSpec.model_validate(data)
    except ValidationError as error:
        raise SpecError(describe_mistakes(error, where)) from None


def load_spec(path: str | Path) -> FeatureSpec:
    """Read a spec file; see `parse_spec`.

    Raises:
        SpecError: the file cannot be read, or holds mistakes.
    """
    return parse_spec(read_spec_text(path), where=str(path))


def read_spec_text(path: str | Path) -> str:
    """The text of a spec file.

    Raises:
        SpecError: there is no such file, or it is no UTF-8 text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"there is no spec file {path}", todo="Check --spec.") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"the spec file {path} is no UTF-8 text: {error}") from None
    except OSError as error:
        raise SpecError(f"the spec file {path} cannot be read: {error.strerror}") from None


def spec_sha256(text: str) -> str:
    """The SHA-256 of a spec's text, as the manifest records it."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def describe_mistakes(error: ValidationError, where: str) -> str:
    """Pydantic's findings as a list for a person, near names suggested."""
    lines = []
    for found in error.errors():
        if _other_branch(dict(found)):
            continue
        # Tags of unions are no keys of the spec, and would confuse the path.
        parts = [p for p in found["loc"] if p not in _UNION_TAGS]
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")
        lines.append(f"  {path or 'spec'}: {_mistake(dict(found), parts)}")
    lines = list(dict.fromkeys(lines))
    head = f"{where} has {len(lines)} mistake{'s' if len(lines) != 1 else ''}:"
    return "\n".join([head, *lines])


def _other_branch(found: dict[str, Any]) -> bool:
    """Whether a finding is about the alternative of `items.source` that was not meant."""
    branch = [p for p in found["loc"] if p in ("Source", "literal['interactions']")]
    if not branch:
        return False
    if branch[-1] == "Source":
        return found["loc"][-1] == "Source" and isinstance(found["input"], str)
    return not isinstance(found["input"], str)


_UNION_TAGS = {
    "categorical",
    "numeric",
    "embedding",
    "leave_one_out",
    "temporal",
    "str",
    "list[str]",
    "float",
    "Source",
    "literal['interactions']",
}


def _mistake(found: dict[str, Any], parts: list[Any]) -> str:
    kind, got = found["type"], found.get("input")
    if kind == "extra_forbidden":
        return f"unknown key. {near(str(parts[-1]), _keys_at(parts[:-1], found['loc']))}".strip()
    if kind == "missing":
        return "missing; it is required"
    if kind == "value_error":
        return str(found["ctx"]["error"])
    if kind == "union_tag_invalid":
        word, tags = found["ctx"]["tag"], found["ctx"]["expected_tags"].replace("'", "").split(", ")
        name = found["ctx"]["discriminator"].strip("'")
        return f"unknown {name} {word!r}. {near(str(word), tags)}"
    if kind == "union_tag_not_found":
        return f"missing its {found['ctx']['discriminator']}"
    if kind == "literal_error":
        return f"got {got!r}, expected {found['ctx']['expected']}. {_near_literal(got, found)}".rstrip()
    if kind == "string_pattern_mismatch":
        return f"got {got!r}, expected a name of the form {found['ctx']['pattern']}"
    return f"{found['msg'].removeprefix('Input should be ')}; got {got!r}".replace("  ", " ")


def _near_literal(got: object, found: dict[str, Any]) -> str:
    hint = near(str(got), re.findall(r"'([^']+)'", found["ctx"]["expected"]))
    return hint if hint.startswith("Did") else ""


def _keys_at(parts: list[Any], loc: tuple[Any, ...]) -> list[str]:
    """The keys that a spec may hold at a path."""
    named: dict[str, type[BaseModel]] = {
        "items": Items,
        "source": Source,
        "joins": Join,
        "catalogue_vocabulary": CatalogueVocabulary,
        "interactions": Interactions,
        "timestamp": Timestamp,
        "behaviour": Behaviour,
        "users": Users,
        "sequences": Sequences,
        "output": Output,
        "limits": Limits,
    }
    tagged: dict[str, type[BaseModel]] = {
        "categorical": CategoricalFeature,
        "numeric": NumericFeature,
        "embedding": EmbeddingFeature,
        "leave_one_out": LeaveOneOut,
        "temporal": Temporal,
    }
    for tag in reversed(loc[:-1]):
        if tag in tagged:
            return list(tagged[str(tag)].model_fields)
    names = [p for p in parts if isinstance(p, str)]
    model = named.get(names[-1]) if names else FeatureSpec
    return list(model.model_fields) if model else []
