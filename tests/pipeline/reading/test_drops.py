"""Rows that the spec drops."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK

from heterrec_pipeline.reading.batches import BadRow, ReadBatch
from heterrec_pipeline.reading.drops import Drop, without_dropped
from heterrec_schemas.rejects import Reason

USER = Drop("user", missing_values=("-1", "nan"))
WHAT = Drop("what", listed=("view", "buy"))


def batch_of(users: list[object], what: list[object], **more: object) -> ReadBatch:
    table = pa.RecordBatch.from_pydict({"user": users, "what": what})
    return ReadBatch(table, np.arange(10, 10 + len(users)), [], **more)  # type: ignore[arg-type]


def test_rows_without_a_user_or_a_listed_behaviour_are_filtered() -> None:
    batch = batch_of(
        ["u", None, " ", "-1.0", "-01", "nan", "u"],
        ["view", "view", "buy", "buy", " buy ", "view", None],
        filtered=5,
    )
    left = without_dropped(batch, [USER, WHAT])
    assert left.rows.tolist() == [10, 14]
    assert left.table["user"].to_pylist() == ["u", "-01"]
    assert (left.filtered, left.read) == (5 + 5, 7 + 5)


def test_numbers_of_every_type_are_users() -> None:
    for users in ([-1, 5, None], [-1.0, 5.0, float("nan")]):
        left = without_dropped(batch_of(users, ["view"] * 3), [USER])
        assert left.rows.tolist() == [11]


def test_damaged_rows_stay_and_are_rejected() -> None:
    batch = batch_of(
        [None, None, None, "u"],
        ["view", "view", "view", "other"],
        short=[BadRow(10, Reason.MALFORMED_ROW, "x")],
        bad_text={"user": {11: "\\xe9"}, "item": {12: "\\xe9", 13: "\\xe9"}},
    )
    left = without_dropped(batch, [USER])
    assert left.rows.tolist() == [10, 11, 13], "neither a short row nor an unreadable user"
    assert left.bad_text == {"user": {11: "\\xe9"}, "item": {13: "\\xe9"}}


@QUICK
@given(
    st.lists(st.tuples(st.sampled_from([None, "", "-1", "u"]), st.sampled_from(["view", "x"]))),
    st.integers(0, 9),
)
def test_no_row_depends_on_others(rows: list[tuple[object, object]], cut: int) -> None:
    def kept(part: list[tuple[object, object]]) -> list[tuple[object, object]]:
        batch = batch_of([u for u, _ in part], [w for _, w in part])
        left = without_dropped(batch, [USER, WHAT]).table.to_pydict()
        return list(zip(left["user"], left["what"], strict=True))

    assert kept(rows) == kept(rows[:cut]) + kept(rows[cut:])
    assert kept(rows) == [row for row in rows if row == ("u", "view")]
