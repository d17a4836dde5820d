"""Keys of two tables that do not meet, and the normalisation after which they do."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from heterrec_pipeline.reading.spec_lines import derived

UNMET = 0.05
"""Share of rows without a counterpart above which there is a warning."""
SHOWN = 3
"""Number of keys that a warning shows of each side."""
Normalise = Callable[[pl.Series], pl.Series]


class Side(NamedTuple):
    """The keys of a table.

    Attributes:
        source: the path of the source in the spec.
        column: the column of the keys.
        keys: its texts, null where missing; for the side that is looked up, all or some.
        whole: whether these are all keys of the table.
    """

    source: str
    column: str
    keys: pl.Series
    whole: bool


@dataclass(frozen=True)
class _Normalisation:
    """A change of keys; `sql` is the same as an expression, with `{}` for the column."""

    words: str
    change: Normalise
    sql: str


def _replaced(pattern: str, by: str = "") -> Normalise:
    return lambda texts: texts.str.replace_all(pattern, by)


_NORMALISATIONS = (
    _Normalisation("without '.0'", _replaced(r"\.0+$"), "REGEXP_REPLACE({}, '[.]0+$', '')"),
    _Normalisation(
        "without leading zeros",
        _replaced(r"^0+([0-9])", "$1"),
        r"REGEXP_REPLACE({}, '^0+([0-9])', '\1')",
    ),
    _Normalisation("in lower case", lambda texts: texts.str.to_lowercase(), "LOWER({})"),
    _Normalisation("without blanks", _replaced(r"\s"), r"REGEXP_REPLACE({}, '\s', '', 'g')"),
)


def unmet_keys(what: str, asking: Side, asked: Side, *, quoted: bool = True) -> str | None:
    """The warning for rows whose key the other table lacks; None if they are few.

    If not all keys of the other table are known, only keys that meet after a normalisation are a reason to warn.

    Args:
        what: what the rows lack, in words.
        asking: one key per row.
        asked: the keys of the other table.
        quoted: whether the warning may quote keys.
    """
    wanted = asking.keys.drop_nulls().value_counts(name="rows")
    wanted.columns = ["key", "rows"]
    known = asked.keys.drop_nulls().unique()
    total = int(wanted["rows"].sum())
    if not total or known.is_empty():
        return None
    found = wanted["key"].is_in(known.implode())
    lost = int(wanted.filter(~found)["rows"].sum())
    if lost <= UNMET * total:
        return None
    lacking = wanted.filter(~found).sort("rows", "key", descending=[True, False])
    cure = _cure(lacking, known, quoted=quoted)
    if cure is None and not asked.whole:
        return None
    text = f"{lost / total:.1%} of the {total:,} sampled rows {what}"
    if quoted:
        text += (
            f": {asking.column!r} has {listed(lacking['key'])}, {asked.column!r} of "
            f"{asked.source.removesuffix('.source')} has {listed(known.sort())}"
        )
    return f"{text}. {_advice(cure, asking, asked)}" if cure is not None else text


def listed(keys: pl.Series) -> str:
    """The first keys, in words."""
    return ", ".join(map(repr, keys.head(SHOWN).to_list()))


def _cure(lacking: pl.DataFrame, known: pl.Series, *, quoted: bool) -> _Normalisation | None:
    """The normalisation after which most of the lacking keys are known; None if there is none.

    One that names a prefix of the keys quotes them.
    """
    total = int(lacking["rows"].sum())
    every: list[_Normalisation] = [
        *_NORMALISATIONS,
        *(_prefixes(lacking["key"], known) if quoted else ()),
    ]
    for one in every:
        met = one.change(lacking["key"]).is_in(one.change(known).unique().implode())
        if int(lacking.filter(met)["rows"].sum()) > total / 2:
            return one
    return None


def _prefixes(lacking: pl.Series, known: pl.Series) -> Iterator[_Normalisation]:
    """The prefix that all keys of one side have."""
    for keys in (known, lacking):
        prefix = re.sub(r"[0-9]*$", "", _common(str(keys.min()), str(keys.max())))
        if prefix:
            yield _Normalisation(
                f"without the prefix {prefix!r}",
                lambda texts, prefix=prefix: texts.str.strip_prefix(prefix),  # type: ignore[misc]
                f"SUBSTR({{}}, {len(prefix) + 1})",
            )


def _common(one: str, other: str) -> str:
    """The beginning that two texts share."""
    count = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    return one[:count]


def _advice(cure: _Normalisation, *sides: Side) -> str:
    """What to write into the spec for the sides that the normalisation changes."""
    lines = [
        f"into {side.source} {derived(side.column, cure.sql)}"
        for side in sides
        if (cure.change(side.keys.drop_nulls()) != side.keys.drop_nulls()).any()
    ]
    return f"They meet {cure.words}: write {' and '.join(lines)}."
