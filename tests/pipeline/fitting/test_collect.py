from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.utils.windowed_value import WindowedValue
from pieces import categorical, embedding, numeric, sorted_out, table_job, written_file

from heterrec_pipeline.fitting import collect
from heterrec_pipeline.fitting.collect import COUNTS, CollectValues, fit_sample
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.wiring.step import EMPTY
from heterrec_schemas.errors import DataError
from heterrec_schemas.tables import BOUNDARIES_SCHEMA
from heterrec_schemas.values import Seen


def collected(
    do: CollectValues, splits: list[Split]
) -> tuple[dict[str, list[pa.Table]], list[Any]]:
    """The partial fits of one bundle by feature, and the kinds of values seen."""
    do.start_bundle()
    seen = []
    for split in splits:
        main, tagged = sorted_out(do.process(split, 40, {}))
        assert main == [], "nothing leaves before the bundle ends"
        seen += tagged.get(SEEN, [])
    parts: dict[str, list[pa.Table]] = {}
    main, tagged = sorted_out(do.finish_bundle())
    for value in [*main, *tagged.get(COUNTS, [])]:
        assert isinstance(value, WindowedValue)
        parts.setdefault(value.value[0], []).append(value.value[1])
    return parts, seen


@pytest.mark.parametrize("merge_at", [2, 16])
def test_a_bundle_hands_on_one_part_a_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge_at: int
) -> None:
    monkeypatch.setattr(collect, "MERGE_AT", merge_at)
    lines = [f"{k},{'ab'[k % 2]},{k % 3}\n" for k in range(30)]
    splits = [
        Split(
            written_file(
                tmp_path / f"{k}.csv", ("item,kind,price\n" + "".join(lines[k::5])).encode()
            )
        )
        for k in range(5)
    ]
    table = table_job(categorical(), numeric(), embedding())
    do = CollectValues(table)
    for _ in range(2):  # a second bundle begins anew
        parts, seen = collected(do, splits)
        assert {name: len(tables) for name, tables in parts.items()} == {
            "item/kind": 1,
            "price": 1,
        }
        counts = parts["item/kind"][0]
        assert sorted(zip(*counts.to_pydict().values(), strict=True)) == [("a", 15), ("b", 15)]
        assert (
            sorted(parts["price"][0]["value"].to_pylist()) == [0.0] * 10 + [1.0] * 10 + [2.0] * 10
        )
        assert set(seen) == {("item/kind", int(Seen.TEXT))}


def test_a_table_without_such_features_is_not_read() -> None:
    parts, seen = collected(CollectValues(table_job(embedding())), [None])  # type: ignore[list-item]
    assert (parts, seen) == ({}, [])


def test_many_counts_leave_before_the_bundle_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "MERGE_ROWS", 8)
    texts = "".join(f"{k},{k % 6}\n" for k in range(30))
    split = Split(written_file(tmp_path / "a.csv", f"item,kind\n{texts}".encode()))
    do = CollectValues(table_job(categorical()))
    do.start_bundle()
    left: list[tuple[str, pa.Table]] = []
    for _ in range(3):
        _, tagged = sorted_out(do.process(split, 30, {}))
        left += tagged.get(COUNTS, [])
    ((name, counts),) = left
    assert (name, set(counts["count"].to_pylist())) == ("item/kind", {10})
    _, tagged = sorted_out(do.finish_bundle())
    (rest,) = tagged[COUNTS]
    assert set(rest.value[1]["count"].to_pylist()) == {5}


def finished(feature: Any, parts: list[pa.Table]) -> pa.Table:
    ((name, fitted),) = fit_sample(table_job(feature), feature, parts)
    assert name == feature.name
    return fitted


def test_samples_become_boundaries() -> None:
    sample = [EMPTY, pa.table({"value": [3.0, 1.0]}), pa.table({"value": [2.0]})]
    edges = finished(numeric(bins=2), sample)
    assert edges.equals(pa.table([pa.array([2.0])], schema=BOUNDARIES_SCHEMA))


def test_a_feature_that_no_part_mentions_is_refused() -> None:
    with pytest.raises(DataError, match="every value"):
        finished(numeric(), [EMPTY])
