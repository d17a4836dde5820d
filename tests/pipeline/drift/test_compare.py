from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import MANY, categorical, embedding, numeric

from heterrec_pipeline.drift.compare import (
    Before,
    Measured,
    add_values,
    before_by_report,
    before_by_tables,
    feature_drift,
    make_report,
    row_drift,
    value_drift,
)
from heterrec_pipeline.drift.tally import tally, total
from heterrec_schemas.drift import FeatureDrift, ValueDrift
from heterrec_schemas.feature_spec import Drift, Feature

LIMITS = Drift(min_rows=10)


def measured(feature: Feature, cells: list[Any], size: int) -> Measured:
    tokens = tally(feature, [pa.array(cells, feature.token_type)])
    return Measured(feature, total(feature, [tokens]), size)


def drift_of(now: Measured, before: Before | None, **more: Any) -> FeatureDrift:
    plain = {"fresh": False, "limits": LIMITS, "rows": (20, 20)}
    return feature_drift("item", now, before, None, **plain | more)


def test_the_baseline_stays_while_the_parent_moves() -> None:
    feature = numeric(bins=2)
    days = [measured(feature, [1, *[2] * (18 - 3 * k), *[3] * (1 + 3 * k)], 4) for k in range(4)]
    before = before_by_tables(days[0])
    first = drift_of(days[1], before)
    assert first.baseline == first.parent == [1, 18, 1]
    assert first.present == [1, 15, 4]
    second = drift_of(days[2], before_by_report(first))
    assert (second.baseline, second.parent, second.present) == (
        [1, 18, 1],
        first.present,
        [1, 12, 7],
    )
    assert second.missing == (0.05, 0.05)
    assert second.psi_fit is not None
    assert first.psi is not None
    assert second.psi_fit > first.psi
    refitted = drift_of(days[3], before_by_report(second), fresh=True)
    assert (refitted.psi, refitted.psi_fit, refitted.parent) == (None, None, None)
    assert refitted.baseline == refitted.present
    assert refitted.missing == (0.05, 0.05)
    assert refitted.status == "pass"


def test_the_bins_of_a_category_are_those_of_the_baseline() -> None:
    feature = categorical()
    before = before_by_tables(measured(feature, [2] * 10 + [3] * 10, 4))
    found = drift_of(measured(feature, [3] * 5 + [4] * 15, 5), before)
    assert found.bins is not None
    assert (found.bins.tokens, found.bins.largest) == ([2, 3], 3)
    assert found.present == [0, 0, 0, 5, 0, 15]
    again = drift_of(measured(feature, [4] * 20, 5), before_by_report(found))
    assert (again.bins, again.parent, again.present) == (
        found.bins,
        found.present,
        [0, 0, 0, 0, 0, 20],
    )


def test_a_new_feature_has_only_present_figures() -> None:
    found = drift_of(measured(embedding(), [[1, 1], [2, 5], [2, 4]], 6), None, fresh=True)
    assert found.missing == (None, round(1 / 3, 6))
    assert found.oov == (None, 0)
    assert found.codes == (None, 1.5)
    assert found.values is None
    assert (found.psi, found.parent, found.status) == (None, None, "pass")


@pytest.mark.parametrize(
    ("moved", "rows", "status"),
    [
        (1, (20, 20), "pass"),
        (4, (20, 20), "warn"),
        (6, (20, 20), "fail"),
        (6, (9, 20), "pass"),
        (6, (20, 9), "pass"),
    ],
)
def test_a_feature_counts_where_both_sides_have_enough_rows(
    moved: int, rows: tuple[int, int], status: str
) -> None:
    before = before_by_tables(measured(numeric(bins=2), [2] * 10 + [3] * 10, 4))
    now = measured(numeric(bins=2), [2] * (10 - moved) + [3] * (10 + moved), 4)
    assert drift_of(now, before, rows=rows).status == status


def test_a_limit_itself_counts() -> None:
    before = before_by_tables(measured(numeric(bins=2), [2] * 10 + [3] * 10, 4))
    now = measured(numeric(bins=2), [2] * 5 + [3] * 15, 4)
    index = drift_of(now, before).psi
    assert drift_of(now, before, limits=Drift(warn=0, fail=index, min_rows=0)).status == "fail"


def test_no_rows_on_a_side() -> None:
    empty = measured(categorical(), [], 2)
    found = drift_of(measured(categorical(), [2], 3), before_by_tables(empty), rows=(0, 1))
    assert (found.psi, found.psi_fit, found.status, found.missing) == (None, None, "pass", (0, 0))


STATUS = st.sampled_from(["active", "retired", "erased"])


@MANY
@given(st.lists(st.tuples(STATUS | st.none(), STATUS), max_size=12), st.integers(1, 3))
def test_values_by_what_has_changed(pairs: list[tuple[str | None, str]], gap: int) -> None:
    rows = [
        (2 + k * gap, old, "active" if old is None else now) for k, (old, now) in enumerate(pairs)
    ]
    schema = pa.schema([("id", pa.int64()), ("status", pa.string())])
    now = pa.table([[r[0] for r in rows], [r[2] for r in rows]], schema=schema)
    old = [r for r in rows if r[1] is not None]
    before = pa.table([[r[0] for r in old], [r[1] for r in old]], schema=schema)
    names = {
        ("active", "active"): "known",
        ("retired", "active"): "returned",
        ("active", "retired"): "retired",
        ("active", "erased"): "erased",
        ("retired", "erased"): "erased",
    }
    expected = Counter("new" if r[1] is None else names.get((r[1], r[2]), "") for r in rows)
    found = value_drift(now, before)
    assert found.model_dump() == {k: expected[k] for k in found.model_dump()}
    assert add_values([found, found]).known == 2 * found.known
    assert value_drift(now, None) == ValueDrift(new=len(rows))


def test_rows_that_are_lost() -> None:
    rows = row_drift({"items": (100, 80), "users": (9, 1), "interactions": (0, 5)})
    assert (rows.items, rows.users, rows.interactions) == (
        (100, 80, 0.2),
        (9, 1, 0.888889),
        (0, 5, 0),
    )
    assert make_report("p", [], rows, LIMITS, allow=True).status == "warn"  # too few users to count
    worse = row_drift({"items": (100, 50), "users": (9, 9), "interactions": (5, 9)})
    assert worse.users[2] == worse.interactions[2] == 0
    report = make_report("p", [], worse, LIMITS, allow=True)
    assert (report.status, report.allowed) == ("fail", True)
    assert not make_report("p", [], rows, LIMITS, allow=True).allowed
