"""What every part of a feature spec is made of: strict models, cleaned texts, sources."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from heterrec_schemas.errors import SpecError
from heterrec_schemas.values import clean_text, value_text

Format = Literal["parquet", "csv", "jsonl"]
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


class SpecModel(BaseModel):
    """Strict, frozen, and without room for keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class Source(SpecModel):
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
