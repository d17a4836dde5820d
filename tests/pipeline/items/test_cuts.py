"""Borders of item shards, and positions of ids."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, job_of, spec_of

from heterrec_pipeline.files.parts import store
from heterrec_pipeline.items.cuts import cuts_of, find_cuts, positions, run_cuts, shard_starts


@QUICK
@given(st.integers(0, 200), st.integers(1, 12))
def test_item_shards_differ_by_one_at_most(rows: int, shards: int) -> None:
    starts = shard_starts(rows, shards).tolist()
    sizes = [b - a for a, b in itertools.pairwise(starts)]
    assert (starts[0], starts[-1], len(sizes)) == (0, rows, shards)
    assert max(sizes) - min(sizes) <= 1


@QUICK
@given(st.sets(st.integers(0, 200_000), min_size=1, max_size=40), st.integers(1, 9))
def test_shards_of_ids_with_gaps_hold_as_many_rows(ids: set[int], shards: int) -> None:
    ordered = sorted(ids)
    member = np.zeros(ordered[-1] + 3, bool)
    member[ordered] = True
    cuts = cuts_of(member, shards)
    sizes = [sum(a <= i < b for i in ordered) for a, b in itertools.pairwise(cuts)]
    assert sizes == np.diff(shard_starts(len(ordered), shards)).tolist()


def test_a_build_cuts_one_run(tmp_path: Path) -> None:
    spec = spec_of(items={"catalogue_vocabulary": {"oov_buckets": 3}}, output={"item_shards": 3})
    (cuts,) = run_cuts(job_of(spec, tmp_path), 5)
    assert (cuts.items, cuts.retired) == ((5, 6, 8, 10), ())


def test_a_refresh_cuts_present_and_retired_items(tmp_path: Path) -> None:
    job = job_of(spec_of(output={"item_shards": 2}), tmp_path)
    tables = (
        pa.table({"item_index": [9, 2, 4], "retired": [False, False, True]}),
        pa.table({"item_index": [7, 3], "retired": [False, True]}),
    )
    refs = [store(job.parts, "places", t) for t in tables]
    (cuts,) = find_cuts(job, (0, [None, *refs]))
    assert (cuts.items, cuts.retired) == ((2, 7, 10), (3, 4, 10))
    (cuts,) = find_cuts(job, (0, [store(job.parts, "places", tables[1].slice(0, 1))]))
    assert (cuts.items, cuts.retired) == ((7, 7, 8), ())


@QUICK
@given(st.sets(st.integers(0, 60), max_size=30), st.lists(st.integers(-3, 63)))
def test_positions_of_ids(ids: set[int], wanted: list[int]) -> None:
    ordered = sorted(ids)
    found = positions(np.array(ordered, np.int64), np.array(wanted, np.int64)).tolist()
    assert found == [ordered.index(w) if w in ids else len(ordered) for w in wanted]
