"""Values of features that are probably not meant as they are written."""

from collections.abc import Collection, Iterator, Sequence

import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.evidence import NULL_WORDS, Evidence
from heterrec_pipeline.features import categorical
from heterrec_pipeline.job import ErasingFeature, TableJob
from heterrec_pipeline.reading.spec_lines import derived, in_yaml
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.values import is_text

LISTS = 0.05
"""Share of the cells of a feature that look like lists above which there is a warning."""
WORDS = 0.01
"""Share of the values of a feature that are words for a missing value above which there is a warning."""
_LIST = r"""^\s*(\[\s*(['"{\[].*|-?\d[^\]]*)?\]|\{\s*['"].*\})\s*$"""
"""A list of quoted texts or of numbers, or an object, in JSON or Python."""
_ESCAPED = '\\"'


def value_doubts(
    table: TableJob, evidence: Evidence, formats: Collection[str], *, quoted: bool = True
) -> Iterator[str]:
    """The warnings about the values of a table's categorical features; those with erased values are left out.

    Args:
        table: the table.
        evidence: its cells.
        formats: the formats of its files.
        quoted: whether they may quote cells.
    """
    for feature in table.features:
        if not isinstance(feature, CategoricalFeature) or isinstance(feature, ErasingFeature):
            continue
        where = f"{table.name}: feature {feature.name!r}"
        cells = evidence.cells.get(feature.column, [])
        yield from _null_words(where, feature, cells)
        text = _texts(cells)
        yield from _lists(where, feature, text, quoted=quoted)
        yield from _backslashes(where, text, formats, quoted=quoted)


def _texts(cells: Sequence[pa.Array]) -> pl.Series:
    """The raw cells that are text."""
    found = [pl.Series(c).cast(pl.String).drop_nulls() for c in cells if is_text(c.type)]
    return pl.concat([pl.Series([], dtype=pl.String), *found])


def _null_words(
    where: str, feature: CategoricalFeature, cells: Sequence[pa.Array]
) -> Iterator[str]:
    found = [categorical.texts(feature, c)[0]["value"] for c in cells]
    values = pl.concat([pl.Series([], dtype=pl.String), *found])
    words = values.filter(values.str.to_lowercase().is_in(NULL_WORDS))
    if len(words) <= WORDS * len(values):
        return
    counts = words.value_counts(name="count", sort=True)
    listed = ", ".join(repr(w) for w in sorted(counts.to_series(0).to_list()))
    quoted = ", ".join(in_yaml(w) for w in sorted(counts.to_series(0).to_list()))
    yield (
        f"{where}: {len(words):,} of {len(values):,} sampled values are {listed}, a value like any other; if it means that "
        f"the value is missing, write missing_values: [{quoted}]"
    )


def _such_as(found: pl.Series, *, quoted: bool) -> str:
    """The first of some cells as an example."""
    return f", such as {found[0][:80]!r}" if quoted else ""


def _lists(
    where: str, feature: CategoricalFeature, text: pl.Series, *, quoted: bool
) -> Iterator[str]:
    looks = text.str.contains(_LIST)
    found = text.filter(looks)
    if not len(text) or len(found) <= LISTS * len(text):
        return
    strip = """REGEXP_REPLACE({}, '[\\[\\]"'']', '', 'g')"""
    way = (
        f'multivalued: true, separator: ",", and into the source {derived(feature.column, strip)}'
        if not found[0].lstrip().startswith("{")
        else "an array in Parquet or JSON lines instead of its text, or a column for each member"
    )
    yield (
        f"{where}: {len(found):,} of {len(text):,} sampled cells look like lists or objects in text"
        f"{_such_as(found, quoted=quoted)}, of which each is one value; write {way}"
    )


def _backslashes(
    where: str, text: pl.Series, formats: Collection[str], *, quoted: bool
) -> Iterator[str]:
    found = text.filter(text.str.contains(_ESCAPED, literal=True))
    if "csv" in formats and len(found):
        yield (
            f"{where}: {len(found):,} of {len(text):,} sampled cells have a backslash before a quote"
            f"{_such_as(found, quoted=quoted)}; if it escapes the quote, write escape: '\\' into the source"
        )
