from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, job_of, sorted_out, spec_of, stored_ids, written_file

from heterrec_pipeline.files.parts import load
from heterrec_pipeline.interactions.join import index_rows, join_index, join_items
from heterrec_pipeline.interactions.read import (
    log_columns,
    orders,
    parse_rows,
    read_log,
    shuffle_columns,
    with_tie,
)
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import located
from heterrec_pipeline.text_lookup import Lookup
from heterrec_pipeline.wiring.reports import COUNTS, REJECTS
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.values import Seen

FULL = {"order": "place", "behaviour": {"column": "what", "values": ["view", "buy"]}}
ITEM_IDS = {"1": 10, "2": 11}


def spec_with(policy: str = "drop", **more: Any) -> FeatureSpec:
    return spec_of(
        items={"catalogue_vocabulary": {"oov_buckets": 8}},
        interactions=FULL | {"unknown_items": policy} | more,
    )


def test_the_columns_of_the_log_and_of_the_shuffle() -> None:
    assert log_columns(spec_of()) == ["user", "item", "time"]
    assert log_columns(spec_with()) == ["user", "item", "time", "what", "place"]
    assert log_columns(spec_with(order="item")) == ["user", "item", "time", "what"]
    assert shuffle_columns(spec_of()) == ["user", "item_index", "time", "tie"]
    assert shuffle_columns(spec_with("oov"))[4:] == ["behaviour", "order", "item_hash"]
    assert log_columns(spec_of(interactions={"event_id": "id"})) == ["user", "item", "time", "id"]
    assert shuffle_columns(spec_of(interactions={"event_id": "id"}))[4:] == ["event"]


@pytest.mark.parametrize(
    ("column", "numbers", "odd"),
    [
        (pa.array([3, None, -(2**63)]), [3, None, -(2**63)], [False] * 3),
        (pa.array([2**63, 1], pa.uint64()), [None, 1], [True, False]),
        (pa.array([3.0, 2.5, float("nan")]), [3, None, None], [False, True, False]),
        (pa.array([" 7 ", "+7", "-0", "", None]), [7, 7, 0, None, None], [False] * 5),
        (pa.array(["1.5", "x", "9" * 30]), [None] * 3, [True] * 3),
        (pa.array(["1.0", "-2.00", "3", None, "4."]), [1, -2, 3, None, None], [False] * 4 + [True]),
        (pa.array([True]), [None], [True]),
        (pa.nulls(1), [None], [False]),
    ],
)
def test_orders_are_integers_and_may_be_missing(
    column: pa.Array, numbers: list[int | None], odd: list[bool]
) -> None:
    found, unreadable = orders(column, "place")
    assert found.to_list() == numbers
    assert unreadable.to_list() == odd


# --- rows

LINES = [
    # user, item, time, what, place, and the reason if the row is bad
    ("u", "1", "5", "view", "1", None),
    ("u", "1", "5", "view", "", None),
    (" ", "", "x", "z", "z", ("missing_key", "user")),
    ("u", "\u3000", "x", "z", "z", ("missing_key", "item")),
    ("u", "1", "x", "z", "z", ("time_unreadable", "time")),
    ("u", "1", "", "view", "1", ("time_unreadable", "time")),
    ("u", "1", "-1", "z", "z", ("time_out_of_range", "time")),
    ("u", "1", "5", "z", "z", ("order_unreadable", "place")),
    ("u", "1", "5", "z", "1", ("unknown_behaviour", "what")),
    ("u", "1", "5", "", "1", ("unknown_behaviour", "what")),
]


@QUICK
@given(st.lists(st.sampled_from(LINES), max_size=8), st.booleans())
def test_each_bad_row_is_listed_under_its_first_reason(lines: list[Any], full: bool) -> None:
    spec = spec_with() if full else spec_of()
    names = ["user", "item", "time", "what", "place"]
    columns = [pa.array([line[k] for line in lines], pa.string()) for k in range(5)]
    table = pa.table(columns, names=names)
    numbers = pa.array(range(100, 100 + len(lines)), pa.int64())
    split = Split(written_nowhere())
    rows = located(ReadBatch(table, numbers.to_numpy(), []), split)
    frame, bad, seen = parse_rows(spec, rows)
    used = set(log_columns(spec))
    want_bad, want = [], []
    for number, line in enumerate(lines, start=100):
        reason = line[5]
        if reason is not None and reason[1] in used:
            want_bad.append((number, reason[1], reason[0], line[names.index(reason[1])]))
        else:
            want.append((number, line[0].strip(), line[1].strip(), int(line[2])))
    assert [(r, c, str(why), v) for r, c, why, v in bad] == want_bad
    assert list(frame.select("row", "user", "item", "time").iter_rows()) == want
    if full:
        assert set(frame["behaviour"]) <= {2}
        assert frame.columns == [
            "row",
            "user",
            "item",
            "time",
            "order",
            "behaviour_text",
            "behaviour",
        ]
    items = any(line[1].strip() for line in lines)
    assert seen["interactions.item"] == (Seen.TEXT if items else Seen.NOTHING)


def written_nowhere() -> Any:
    from heterrec_pipeline.reading.files import InputFile

    return InputFile("/in/log.csv", "log.csv", 1, "csv")


def test_times_beyond_pythons_are_listed_too() -> None:
    far = pa.array([10**15, 5, -1], pa.timestamp("ms"))
    table = pa.table({"user": [1, 1, 1], "item": [1, 1, 1], "time": far})
    rows = located(ReadBatch(table, pa.array([0, 1, 2]).to_numpy(), []), Split(written_nowhere()))
    frame, bad, _ = parse_rows(spec_of(), rows)
    assert frame["time"].to_list() == [5]
    assert [(b[0], str(b[2]), b[3]) for b in bad] == [
        (0, "time_out_of_range", "33658-09-27T01:46:40.000000Z"),
        (2, "time_out_of_range", "1969-12-31T23:59:59.999000Z"),
    ]


def test_float_keys_with_fractions_are_refused() -> None:
    table = pa.table({"user": [1.5], "item": ["a"], "time": [1]})
    rows = located(ReadBatch(table, pa.array([0]).to_numpy(), []), Split(written_nowhere()))
    with pytest.raises(SchemaMismatchError, match=r"log\.csv: key column 'user'"):
        parse_rows(spec_of(), rows)


# --- unknown items

ROWS = pa.table({"item": ["2", "x", "1", "é"], "row": [0, 1, 2, 3]})
IDS = Lookup(pl.Series(["1", "2"]), pl.Series([10, 11]))


@pytest.mark.parametrize("policy", ["drop", "reject"])
def test_unknown_items_are_told_apart(policy: str) -> None:
    coded = ROWS.set_column(0, "item", ROWS["item"].combine_chunks().dictionary_encode())
    for rows in (ROWS, coded):
        kept, dropped, rejected = join_index(spec_with(policy), rows, IDS)
        assert kept.rows() == [(0, 11), (2, 10)]
        found = [(1, "x"), (3, "é")] if policy == "reject" else []
        assert dropped == 2 - len(found)
        assert list(rejected.select("row", *["item"][: len(found)]).iter_rows()) == found
        kept, dropped, rejected = join_index(spec_with(policy), rows.slice(0, 1), IDS)
        assert (kept.rows(), dropped, len(rejected)) == ([(0, 11)], 0, 0)


def test_unknown_items_may_be_kept_by_hash() -> None:
    kept, dropped, rejected = join_index(spec_with("oov"), ROWS, IDS)
    x, e = stable_hash("x"), stable_hash("é")
    assert kept["item_index"].to_list() == [11, 2 + x % 8, 10, 2 + e % 8]
    assert kept["item_hash"].to_list() == [stable_hash("2"), x, stable_hash("1"), e]
    assert (dropped, len(rejected)) == (0, 0)


def test_ties_are_broken_by_the_hash_of_what_a_row_is() -> None:
    frame = pl.DataFrame({"user": ["u"], "time": [5], "item": ["é"], "behaviour_text": ["buy"]})
    assert with_tie(spec_of(), frame)["tie"].to_list() == [stable_hash("u", "5", "é")]
    assert with_tie(spec_with(), frame)["tie"].to_list() == [stable_hash("u", "5", "é", "buy")]


# --- as steps

CSV = b"""user,item,time,what,place
u,1,5,view,1
u,x,5,view,1
u,1,5
u,1,5,view,1,6
u,2,z,view,1
u,2,7,buy,

u,2
"""


def run(policy: str, folder: Path) -> tuple[list[Any], Any, Any]:
    """The rows of the shuffle, the counts and the rejects of a small log."""
    spec = spec_with(policy)
    split = Split(written_file(folder / "log.csv", CSV))
    tables, tagged = sorted_out(read_log(job_of(spec, folder), split, coded=True))
    index = stored_ids(folder, {"items": ITEM_IDS})
    outputs = [sorted_out(index_rows(spec, t, index)) for t in tables]
    rows = [row for main, _ in outputs for t in main for row in t.to_pylist()]
    counts: dict[str, int] = {}
    rejects = []
    for tags in (tagged, *(tags for _, tags in outputs)):
        for name, value in tags.get(COUNTS, []):
            counts[name] = counts.get(name, 0) + value
        rejects += [r for t in tags.get(REJECTS, []) for r in t.to_pylist()]
    assert SEEN in tagged
    return rows, counts, sorted((r["row"], r["column"], r["reason"]) for r in rejects)


@pytest.mark.parametrize("policy", ["drop", "reject", "oov"])
def test_a_log_is_read_and_checked(tmp_path: Path, policy: str) -> None:
    rows, counts, rejects = run(policy, tmp_path)
    kept = [(5, 10, 1), (7, 11, None)]
    if policy == "oov":
        kept.insert(1, (5, 2 + stable_hash("x") % 8, 1))
    assert [(r["time"], r["item_index"], r["order"]) for r in rows] == kept
    bad = 3 if policy != "reject" else 4
    assert counts == {
        "interactions.read": 7,
        "interactions.malformed": 1,
        "interactions.bad": bad,
        "interactions.unknown_item": 1 if policy == "drop" else 0,
    }
    unknown = [(1, "item", "unknown_item")] if policy == "reject" else []
    assert rejects == [
        *unknown,
        (2, "", "malformed_row"),
        (3, "", "malformed_row"),
        (4, "time", "time_unreadable"),
        (6, "", "malformed_row"),
    ]
    assert counts["interactions.read"] == len(rows) + sum(
        v for k, v in counts.items() if k != "interactions.read"
    )


def test_another_index_takes_the_place_of_the_first(tmp_path: Path) -> None:
    split = Split(written_file(tmp_path / "log.csv", b"user,item,time\nu,1,1\n"))
    (rows,), _ = sorted_out(read_log(job_of(spec_of(), tmp_path), split, coded=True))
    for ids, item in ((ITEM_IDS, 10), ({"1": 20, "2": 21}, 20)):
        index = stored_ids(tmp_path, {"items": ids})
        main, _ = sorted_out(index_rows(spec_of(), rows, index))
        assert main[0]["item_index"].to_pylist() == [item]


@pytest.mark.parametrize("policy", ["drop", "reject", "oov"])
def test_joined_by_bucket_is_as_in_one(tmp_path: Path, policy: str) -> None:
    lines = ["user,item,time,what,place", "u,1,5,view,1", "v,9,6,buy,2", "u,2,soon,view,3"]
    lines += ["w,2,7,buy,", "x,8,8,view", "y,,9,view,1", "z,7,1,view,0"]
    split = Split(written_file(tmp_path / "log.csv", "\n".join(lines).encode()))
    spec = spec_with(policy)
    job = job_of(spec, tmp_path)
    (rows,), _ = sorted_out(read_log(job, split, coded=True))
    index = stored_ids(tmp_path, {"items": ITEM_IDS})
    whole, reported = sorted_out(index_rows(spec, rows, index))
    reports = [reported]
    parted, others = [], []
    ids = [load(ref) for _, ref in index]
    (rows,), _ = sorted_out(read_log(job, split, coded=False))
    for piece in (rows.slice(0, 2), rows.slice(2)):
        joined, tagged = sorted_out(join_items(spec, (("items", 0), {"ids": ids, "log": [piece]})))
        parted += joined
        others.append(tagged)
    assert pa.concat_tables(parted).equals(pa.concat_tables(whole))
    assert totals(others) == totals(reports)
    assert listed(others) == listed(reports)


def totals(reports: list[dict[str, list[Any]]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for tagged in reports:
        for name, count in tagged.get(COUNTS, []):
            found[name] = found.get(name, 0) + count
    return {name: count for name, count in found.items() if count}


def listed(reports: list[dict[str, list[Any]]]) -> list[str]:
    return sorted(
        str(r) for t in reports for table in t.get(REJECTS, []) for r in table.to_pylist()
    )
