"""The files of a source, and their columns."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from heterrec_pipeline.checking.columns import missing_column
from heterrec_pipeline.checking.expressions import with_derived
from heterrec_pipeline.checking.hidden import NOTHING_HIDDEN, Hidden, without_cells
from heterrec_pipeline.checking.schemas import TableSchema, combined, schemas_of, with_folders
from heterrec_pipeline.job import INTERACTIONS, ITEMS, USERS
from heterrec_pipeline.reading.empty_files import filled_files
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.shaping.partitions import source_files
from heterrec_pipeline.reading.shaping.shape import WHERE
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import FeatureSpec, Source
from heterrec_schemas.feature_spec.expressions import columns_of


def sources_of(spec: FeatureSpec) -> dict[str, Source]:
    """The sources of the tables by name."""
    found = {INTERACTIONS: spec.interactions.source}
    if isinstance(spec.items.source, Source):
        found[ITEMS] = spec.items.source
    if spec.user_table is not None:
        found[USERS] = spec.user_table.source
    return found | {f"{ITEMS}.joins[{k}]": j.source for k, j in enumerate(spec.items.joins)}


def dotted_names(spec: FeatureSpec) -> list[str]:
    """The texts of a spec, and the columns of its expressions, that may be dotted names."""
    return list(dict.fromkeys(t for t in _texts(spec.model_dump()) if "." in t))


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping):
        for key, inner in part.items():
            if key == "columns":
                for text in inner.values():
                    yield from columns_of(text)
            elif key == WHERE and inner is not None:
                yield from columns_of(inner)
            else:
                yield from _texts(inner)
    elif isinstance(part, list | tuple):
        for inner in part:
            yield from _texts(inner)


def find_source(
    table: str,
    source: Source,
    base: str,
    named: Iterable[str],
    problems: list[HeterrecError],
    empty: dict[str, tuple[str, ...]],
    hidden: Hidden = NOTHING_HIDDEN,
) -> tuple[tuple[InputFile, ...], TableSchema]:
    """The files of a source and their columns, with those that its expressions derive.

    Args:
        table: the name of the table, such as `interactions`.
        source: the source.
        base: the input folder.
        named: names that may be keys of maps.
        problems: takes the errors.
        empty: takes the names of empty files that are ignored, by table.
        hidden: what the errors must not repeat.
    """
    folders: tuple[str, ...] = ()
    try:
        listed, folders = source_files(source, base, table)
        files, empty[table] = filled_files(source, listed, table)
    except HeterrecError as error:
        problems.append(error)
        files = ()
    found = schemas_of(files, problems, named)
    if hidden:
        found = [without_cells(one, hidden) for one in found]
    schema = with_folders(combined(files, found, hidden), files, folders)
    if source.unnest is not None and schema.types:
        absent = missing_column(f"{table}.source.unnest", source.unnest, schema, required=False)
        problems += [absent] if absent is not None else []
    if schema.types and (source.columns or source.where is not None):
        found = with_derived(table, source, found, schema, problems)
        schema = with_folders(combined(files, found, hidden), files, folders)
        schema = replace(schema, derived=source.columns)
    return files, schema
