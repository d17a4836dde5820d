from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.utils.windowed_value import WindowedValue
from pieces import categorical, embedding, numeric, sorted_out, table_job, written_file

from heterrec_pipeline.fitting import collect
from heterrec_pipeline.fitting.collect import CollectValues, finish_fit
from heterrec_pipeline.keys.one_table import LOSERS
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.wiring.step import EMPTY
from heterrec_schemas.errors import DataError
from heterrec_schemas.tables import BOUNDARIES_SCHEMA
from heterrec_schemas.values import Seen

INDEX = pa.table(
    {"key": [str(k) for k in range(40)], "id": range(40), "shard": pa.array([0] * 40, pa.uint32())}
)


def collected(
    do: CollectValues, splits: list[Split]
) -> tuple[dict[str, list[pa.Table]], list[Any]]:
    """The partial fits of one bundle by feature, and the kinds of values seen."""
    do.start_bundle()
    seen = []
    for split in splits:
        main, tagged = sorted_out(do.process(split, INDEX, LOSERS.empty_table()))
        assert main == [], "nothing leaves before the bundle ends"
        seen += tagged.get(SEEN, [])
    parts: dict[str, list[pa.Table]] = {}
    for value in do.finish_bundle():
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
        assert {name: len(tables) for name, tables in parts.items()} == {"kind": 1, "price": 1}
        counts = parts["kind"][0]
        assert sorted(zip(*counts.to_pydict().values(), strict=True)) == [("a", 15), ("b", 15)]
        assert (
            sorted(parts["price"][0]["value"].to_pylist()) == [0.0] * 10 + [1.0] * 10 + [2.0] * 10
        )
        assert set(seen) == {("item/kind", int(Seen.TEXT))}


def test_a_table_without_such_features_is_not_read() -> None:
    parts, seen = collected(CollectValues(table_job(embedding())), [None])  # type: ignore[list-item]
    assert (parts, seen) == ({}, [])


def finished(feature: Any, parts: list[pa.Table], seen: dict[str, int]) -> pa.Table:
    ((output,), _) = sorted_out(finish_fit(table_job(feature), (feature.name, parts), seen))
    assert output[0] == feature.name
    return output[1]


def test_parts_become_vocabularies_and_boundaries() -> None:
    parts = [EMPTY, *(pa.table({"value": [v], "count": [1]}) for v in ("10", "9", "9"))]
    assert finished(categorical(), parts, {"item/kind": 1})["value"].to_pylist() == ["9", "10"]
    parts = [pa.table({"value": [v], "count": [1]}) for v in ("10", "9")]
    assert finished(categorical(), parts, {"item/kind": 1})["value"].to_pylist() == ["9", "10"]
    assert finished(categorical(), parts, {"user/kind": 1})["value"].to_pylist() == ["10", "9"]
    sample = [EMPTY, pa.table({"value": [3.0, 1.0]}), pa.table({"value": [2.0]})]
    edges = finished(numeric(bins=2), sample, {})
    assert edges.equals(pa.table([pa.array([2.0])], schema=BOUNDARIES_SCHEMA))


@pytest.mark.parametrize("feature", [categorical(), numeric()])
def test_a_feature_that_no_part_mentions_is_refused(feature: Any) -> None:
    with pytest.raises(DataError, match="every value"):
        finished(feature, [EMPTY], {})
