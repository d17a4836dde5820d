"""Tables of which the spec leaves out every row: the lines of the spec that do, the lists that erase, and the error."""

from collections.abc import Iterator

from heterrec_pipeline.checking.sources import sources_of
from heterrec_pipeline.job import INTERACTIONS, ITEMS, USERS
from heterrec_pipeline.reading.spec_lines import condition
from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import FeatureSpec


def lines_that_leave_out(spec: FeatureSpec, table: str) -> Iterator[str]:
    """The lines of a spec that leave out rows of a table.

    Args:
        spec: the spec.
        table: its name: items, items.joins[k], users or interactions.
    """
    source, log = sources_of(spec)[table], spec.interactions
    if source.where is not None:
        yield condition(table, source)
    if table == INTERACTIONS and log.missing_user == "drop":
        yield "interactions.missing_user: drop"
    if table == INTERACTIONS and log.unlisted_behaviours == "drop" and log.behaviour is not None:
        values = ", ".join(log.behaviour.values)
        yield f"interactions.unlisted_behaviours: drop (listed are {values})"


def lists_that_erase(spec: FeatureSpec, table: str) -> list[str]:
    """The keys of a spec whose lists erase rows of a table.

    Args:
        spec: the spec.
        table: its name, as in `lines_that_leave_out`.
    """
    of_users = spec.erase.users is not None and table in (USERS, INTERACTIONS)
    of_items = spec.erase.items is not None and table != USERS
    return ["erase.users"] * of_users + ["erase.items"] * of_items


def all_left_out(
    spec: FeatureSpec, table: str, rows: int, filtered: int, *, whole: bool = True
) -> DataError:
    """The error for a table of which the spec leaves out all rows.

    Args:
        spec: the spec.
        table: the name of the table.
        rows: number of rows that were read.
        filtered: number of rows among them that the spec leaves out; the others are erased.
        whole: whether these are all rows of the table.
    """
    if table == ITEMS and spec.denormalised:
        table = INTERACTIONS
    lines = list(lines_that_leave_out(spec, table))
    if rows > filtered:
        lines += lists_that_erase(spec, table)
    erased = f", {rows - filtered:,} erased" if rows > filtered else ""
    return DataError(
        f"{table}: the filter left nothing of {'' if whole else 'the first '}{rows:,} rows",
        got=f"{filtered:,} filtered{erased}",
        expected="rows that the spec does not leave out",
        todo=f"Check {' and '.join(lines)}.",
    )
