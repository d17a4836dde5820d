"""The base of every part of a feature spec: strict models, cleaned texts, sources, features."""

import re
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec.csv_keys import (
    CSV_KEYS,
    check_together,
    checked_delimiter,
    checked_encoding,
    checked_mark,
    checked_names,
    unescaped,
)
from heterrec_schemas.feature_spec.expressions import check_expression
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.values import clean_text, value_text

Format = Literal["parquet", "csv", "jsonl", "avro", "orc", "npy", "delta", "iceberg", "bigquery"]
Column = Annotated[str, Field(min_length=1)]
MAX_CODES = 2**20
"""Number of bins, or codes of a group, that a feature may have."""
MAX_BUCKETS = 2**24
"""Number of ids for values outside a vocabulary: each is a row of the model's tables."""
MAX_SHARDS = 99_999
"""Number of files of a table: names have five digits."""
MAX_NAME = 100
"""Length of a feature's name, which is part of file names."""
FIT_SAMPLE = 262_144
"""Number of values that boundaries and quantizers are fitted to, unless the spec says otherwise."""
_BIGQUERY_TABLE = re.compile(r"([^/:`@$]+:)?[^./:`@$]+\.\w+\.[^./:`@$]+")
"""`project.dataset.table`; old projects have the form `example.com:project`."""
_YEAR_10000 = 253_402_300_800_000
"""Milliseconds since 1970 that are no time."""
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"


def _unquoted(value: object) -> object:
    """Accept numbers, which YAML makes of unquoted values; a YAML boolean is a trap (`No`)."""
    if isinstance(value, bool):
        words = "'Yes', 'on' or 'true'" if value else "'No', 'off' or 'false'"
        raise ValueError(f"got the boolean {value}; write the text in quotes, e.g. {words}")
    return value_text(value) if isinstance(value, int | float) else value


def _cleaned(value: str) -> str:
    text = clean_text(value)
    if text is None:
        raise ValueError("an empty text already counts as missing; leave it out")
    return text


Expression = Annotated[str, Field(min_length=1), AfterValidator(check_expression)]
TEXT_OR_NUMBER = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})
"""The published schema of a text that may be written as a number in YAML."""
CleanText = Annotated[str, BeforeValidator(_unquoted), AfterValidator(_cleaned), TEXT_OR_NUMBER]


class SpecModel(BaseModel):
    """Strict, frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class Source(SpecModel):
    """One table: a file, a list of files, or a glob, relative to the input folder."""

    path: str | list[str]
    format: Format | None = None
    version: int | None = Field(
        default=None,
        ge=0,
        description="delta: the version of the table; iceberg: the snapshot id; bigquery: a time in milliseconds since 1970; "
        "by default the latest",
    )
    export_to: str | None = Field(
        default=None,
        min_length=1,
        description="bigquery: the folder in Cloud Storage that tables are exported to",
    )
    keys: str | None = Field(
        default=None,
        min_length=1,
        description="npy: the file with the key of each row of the array, in the same order",
    )
    append_only: bool = Field(
        default=False,
        description="rows may be appended while a build reads: it reads the whole lines that exist when it begins",
    )
    empty_files: Literal["refuse", "skip"] = Field(
        default="refuse", description="what to do with files of no bytes"
    )
    delimiter: Annotated[
        str | None, BeforeValidator(unescaped), AfterValidator(checked_delimiter)
    ] = Field(
        default=None,
        min_length=1,
        description="CSV: what separates the cells of a row; by default a tab in .tsv and .tab files, else a comma",
    )
    header: bool = Field(default=True, description="CSV: whether the first line names the columns")
    names: Annotated[list[Column] | None, AfterValidator(checked_names)] = Field(
        default=None, min_length=1, description="CSV without a header: the columns, in their order"
    )
    quote: Annotated[str | None, AfterValidator(checked_mark)] = Field(
        default='"', min_length=1, max_length=1, description="CSV: the quote; null for none"
    )
    escape: Annotated[str | None, AfterValidator(checked_mark)] = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="CSV: makes the next character a part of the cell",
    )
    encoding: Annotated[str, AfterValidator(checked_encoding)] = Field(
        default="utf-8", description="CSV: the encoding, by its name in Python"
    )
    null_values: list[Annotated[str, BeforeValidator(_unquoted), TEXT_OR_NUMBER]] = Field(
        default=[], description="CSV: texts that mean a missing value"
    )
    decimal: Literal[".", ","] = Field(
        default=".", description="CSV: the decimal point in columns that are read as numbers"
    )
    unnest: Column | None = Field(
        default=None, description="a column of lists: a row for each element"
    )
    columns: dict[Column, Expression] = Field(
        default={}, description="derived columns: name to an SQL expression over a row"
    )
    where: Expression | None = Field(
        default=None, description="SQL: the condition of the rows to read"
    )

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

    @model_validator(mode="after")
    def _dialect(self) -> "Source":
        check_together(
            delimiter=self.delimiter,
            header=self.header,
            names=self.names,
            quote=self.quote,
            escape=self.escape,
            null_values=self.null_values,
        )
        if self.format not in (None, "csv") and (keys := self.csv_keys):
            raise ValueError(f"{', '.join(keys)}: for CSV only; the format is {self.format}")
        if self.version is not None and not self.is_lake:
            raise ValueError("version: for format: delta, iceberg and bigquery only")
        return self

    @model_validator(mode="after")
    def _bigquery(self) -> "Source":
        if self.format != "bigquery":
            if self.export_to is not None:
                raise ValueError("export_to: for format: bigquery only")
            return self
        if self.export_to is None:
            raise ValueError(
                "format: bigquery needs export_to, a folder in Cloud Storage, such as gs://my-bucket/exports"
            )
        if self.version is not None and self.version >= _YEAR_10000:
            raise ValueError(f"version: got {self.version}, expected milliseconds since 1970")
        for path in self.patterns:
            if not _BIGQUERY_TABLE.fullmatch(path):
                raise ValueError(
                    f"got path {path!r}, expected project.dataset.table; the table may have * and ?"
                )
        return self

    @property
    def is_lake(self) -> bool:
        """Whether the path is that of a table, whose data files its own library names."""
        return self.format in ("delta", "iceberg", "bigquery")

    @property
    def grows(self) -> bool:
        """Whether rows may be appended to its files; those of an export do not change."""
        return self.append_only and self.format != "bigquery"

    @property
    def csv_keys(self) -> list[str]:
        """The keys of CSV that have another value than their default."""
        fields = type(self).model_fields
        return [key for key in CSV_KEYS if getattr(self, key) != fields[key].default]

    def delimiter_of(self, path: str) -> str:
        """What separates the cells of one CSV file: the declared delimiter, or else by the suffix."""
        if self.delimiter is not None:
            return self.delimiter
        return "\t" if _stem(path).endswith((".tsv", ".tab")) else ","

    def format_of(self, path: str) -> Format:
        """The format of one file: the declared one, or else by its suffix.

        Raises:
            SpecError: the suffix is unknown.
        """
        if self.is_lake:
            return "parquet"
        if self.format is not None:
            return self.format
        stem = _stem(path)
        for suffix, name in _SUFFIXES.items():
            if stem.endswith(suffix):
                return name
        if packed := next((how for end, how in _REPACK.items() if stem.endswith(end)), None):
            raise SpecError(
                f"{path} is compressed in a way that is not read",
                expected="no compression, or .gz, .zst or .bz2",
                todo=packed.format(path.rpartition("/")[2]),
            )
        raise SpecError(
            f"the format of {path} is not clear from its suffix",
            expected=f"one of {', '.join(_SUFFIXES)} (text and Avro optionally with .gz, .zst or .bz2)",
            todo=f"Rename the file, or name the format: source: {{path: ..., format: {_near(path)}}}.",
        )


def _stem(path: str) -> str:
    """The path in lower case without the suffix of its compression."""
    return re.sub(r"\.(gz|zst|bz2)$", "", path.lower())


def _near(path: str) -> Format:
    """The format whose suffix is in the name of a file, as in `items.parquet.gzip`; csv if there is none."""
    name = path.rpartition("/")[2].lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if suffix in name), "csv")


_REPACK = {
    ".xz": "Compress it anew: xz -dc {0} | zstd > ....zst",
    ".lz4": "Compress it anew: lz4 -dc {0} | zstd > ....zst",
    ".zip": "Unpack it: unzip {0}",
    ".7z": "Unpack it: 7z x {0}",
}
"""Suffix of a compression that is not read to what to do."""
_SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".avro": "avro",
    ".orc": "orc",
    ".npy": "npy",
}


class BaseFeature(SpecModel):
    """A feature of any kind. A subclass states everything that depends on the kind."""

    name: str = Field(pattern=NAME_PATTERN, max_length=MAX_NAME)
    column: Column
    aggregate: Literal["latest", "mean", "median"] | None = Field(
        default=None, description="denormalised logs only: how an item's many values become one"
    )
    kind: str

    @property
    @abstractmethod
    def token_type(self) -> pa.DataType:
        """The type of one item's tokens."""

    @property
    @abstractmethod
    def missing_tokens(self) -> Any:
        """The tokens of an item whose value is missing."""

    @abstractmethod
    def fitted_fields(self, size: int) -> dict[str, Any]:
        """The fields of the manifest's entry that depend on the kind.

        Args:
            size: the largest id + 1 of a vocabulary (0 when it is empty); else the number of edges.
        """

    def entry(self, side: str, size: int, missing: int = 0, oov: int = 0) -> FeatureEntry:
        """The feature's entry in the manifest.

        Args:
            side: `item` or `user`.
            size: as in `fitted_fields`.
            missing: number of items (or users) whose token is missing.
            oov: number of those with a value outside the vocabulary.
        """
        counts = {"missing": missing, "oov": oov}
        return FeatureEntry.model_validate(
            {"name": self.name, "kind": self.kind, "side": side} | self.fitted_fields(size) | counts
        )

    def warnings(self) -> Iterator[str]:
        """Settings that are allowed but probably not intended."""
        yield from ()

    def _refuse_averages(self) -> None:
        if self.aggregate in ("mean", "median"):
            raise ValueError(f"aggregate: {self.aggregate} is for numeric features; use latest")
