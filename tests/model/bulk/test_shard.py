import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_bundle import open_stub

from heterrec_model.bulk import shard
from heterrec_model.bulk.shard import ShardWriter
from heterrec_model.bulk.users import UsersOfBundle
from heterrec_model.bundle.reader import Bundle
from heterrec_model.recommending.answer import Filters


@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters(filter_seen=True, deny=["i9", "i10"]),
        Filters(where={"colour": "blue"}, filter_seen=True),
        Filters(allow=["i3", "i4", "i5"], deny=["i4"]),
    ],
)
def test_rows_equal_the_recommender(
    filters: Filters, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "BLOCK", 32)
    recommender = open_stub(str(bundle.folder))
    done: list[int] = []
    writer = ShardWriter(recommender, UsersOfBundle(recommender), 7, filters)
    counts = writer.write(tmp_path / "one", 10, 110, done.append)
    assert sum(done) == 100
    file = pq.ParquetFile(tmp_path / "one")
    assert json.loads(file.schema_arrow.metadata[b"heterrec"])["fingerprint"] == bundle.fingerprint
    rows = file.read().to_pylist()
    answers = recommender.recommend(
        [row["user_id"] for row in rows],
        k=7,
        allow=filters.allow,
        deny=filters.deny,
        where=filters.where,
        filter_seen=filters.filter_seen,
    )
    assert len(rows) == 100
    for row, answer in zip(rows, answers, strict=True):
        assert row["item_id"] == answer.item_ids
        assert row["item_index"] == answer.item_index
        assert row["fallback"] == answer.fallback
        np.testing.assert_allclose(row["score"], answer.scores, rtol=1e-6)
    assert counts.fallbacks == {"popular": sum(row["fallback"] == "popular" for row in rows)}
    assert counts.short == sum(len(row["item_id"]) < 7 for row in rows)


def test_an_empty_shard(bundle: Bundle, tmp_path: Path) -> None:
    recommender = open_stub(str(bundle.folder))
    writer = ShardWriter(recommender, UsersOfBundle(recommender), 7, Filters())
    writer.write(tmp_path / "none", 5, 5, lambda users: None)
    assert len(pq.read_table(tmp_path / "none")) == 0
