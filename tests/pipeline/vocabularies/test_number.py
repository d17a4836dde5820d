"""A vocabulary counted and numbered by bucket is that of all values at once."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, categorical, job_of, sorted_out, spec_of, table_job, written_file

import heterrec_schemas.tokens
from heterrec_pipeline.files.parts import load
from heterrec_pipeline.files.shards import write_shard
from heterrec_pipeline.job import Job
from heterrec_pipeline.parent import KnownVocabulary
from heterrec_pipeline.sizing import bucket_count
from heterrec_pipeline.vocabularies import count
from heterrec_pipeline.vocabularies.count import (
    FIGURES_TAG,
    count_bucket,
    find_last_kept,
    find_size_cuts,
    measure_bucket,
    sort_bucket,
)
from heterrec_pipeline.vocabularies.layout import Rules
from heterrec_pipeline.vocabularies.number import (
    IN_MEMORY,
    IdBuffer,
    lay_out_keys,
    lay_out_values,
    no_keys,
    number_group,
    to_group,
    vocabulary_rows,
)
from heterrec_pipeline.vocabularies.numbering_graph import key_rules
from heterrec_pipeline.wiring.cut import as_frame, cut_by_hash
from heterrec_pipeline.wiring.reports import FILES
from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.tables import METADATA_KEY, RETIRED, vocabulary_schema
from heterrec_schemas.tokens import number_vocabulary

NAME = "item/kind"
NUMBERS = st.integers(-30, 30).map(str)
WORDS = st.text("ab\uff5e\U0001f600", min_size=1, max_size=3)


def counted(
    job: Job, rules: Rules, pieces: list[list[tuple[str, int]]], seen: dict[str, int]
) -> tuple[list[Any], list[Any]]:
    """Sorted buckets and figures of partial counts."""
    schema = {"value": pl.String, "count": pl.Int64}
    by_bucket: dict[tuple[str, int], list[Any]] = {}
    tables = [pl.DataFrame(piece, schema=schema, orient="row").to_arrow() for piece in pieces]
    found = cut_by_hash("value", {NAME: rules.buckets}, [(NAME, table) for table in tables])
    for place, table in found:
        by_bucket.setdefault(place, []).append(table)
    buckets, figures = [], []
    for place, tables in by_bucket.items():
        main, tagged = sorted_out(
            count_bucket(job, {NAME: rules}, (place, {"values": tables}), seen)
        )
        buckets += main
        figures += tagged[FIGURES_TAG]
    return buckets, figures


def numbered(
    job: Job, rules: Rules, pieces: list[list[tuple[str, int]]], seen: dict[str, int]
) -> tuple[pl.DataFrame, list[Any]]:
    """The ids of all buckets, and the files that were written."""
    every = {NAME: rules}
    buckets, figures = counted(job, rules, pieces, seen)
    cuts: dict[str, Any] = {}
    if rules.limited:
        cuts = dict(find_size_cuts(every, (0, figures)))
        parts = [None, *(s for _, s in buckets)]
        cuts = dict(find_last_kept(every, (NAME, parts), cuts, seen))
        figures += [f for b in buckets for f in measure_bucket(every, b, cuts, seen)]
    layouts = dict(lay_out_values(every, (0, figures), cuts))
    groups: dict[tuple[str, int], list[Any]] = {(NAME, b): [None] for b in range(rules.buckets)}
    for bucket in buckets:
        for place, stored in to_group(every, bucket, layouts):
            groups[place].append(stored)
    ids, files = [], []
    for group in groups.items():
        main, tagged = sorted_out(number_group(job, every, group, layouts, seen))
        files += tagged.get(FILES, [])
        assert not (tagged.get(IN_MEMORY, []) if rules.large else main)
        for (_, bucket), part in [*main, *tagged.get(IN_MEMORY, [])]:
            rows = as_frame(load(part)).with_columns(bucket=pl.lit(bucket))
            ids.append(rows)
    schema = {"value": pl.String, "id": pl.Int64, "bucket": pl.Int32}
    return pl.concat([pl.DataFrame(schema=schema), *ids]), sorted(files, key=lambda f: f.path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    return tmp_path_factory.mktemp("numbered")


@QUICK
@given(data=st.data())
def test_as_all_at_once(folder: Path, data: st.DataObject) -> None:
    integral = data.draw(st.booleans())
    values = st.tuples(NUMBERS if integral else WORDS, st.integers(1, 3))
    pieces = data.draw(st.lists(st.lists(values, max_size=25), min_size=1, max_size=4))
    feature = categorical(
        min_count=data.draw(st.integers(1, 3)),
        max_size=data.draw(st.none() | st.integers(1, 20)),
        oov_buckets=data.draw(st.integers(0, 2)),
        shards=data.draw(st.none() | st.integers(1, 7)),
    )
    table = table_job(feature)
    buckets = bucket_count(data.draw(st.integers(1, 16)) * 2**20, feature.shards)
    large = data.draw(st.booleans())
    rules = Rules(NAME, table, feature, buckets, feature.oov_buckets, feature.shards, large)
    job, seen = job_of(spec_of(), folder), {NAME: 1 if integral else 4}
    rows = [r for p in pieces for r in p]
    counts = pl.DataFrame(rows, schema={"value": pl.String, "count": pl.Int64}, orient="row")
    counts = counts.group_by("value").agg(pl.col("count").sum())
    size, batch = data.draw(st.sampled_from([2, 5, 2**18])), data.draw(st.sampled_from([1, 4]))
    with (
        patch.object(heterrec_schemas.tokens, "VALUES_PER_SHARD", size),
        patch.object(count, "BATCH_ROWS", batch),
    ):
        if len(counts) == 0:
            with pytest.raises(DataError, match="every value of column 'kind'"):
                numbered(job, rules, pieces, seen)
            return
        found, files = numbered(job, rules, pieces, seen)
        whole = number_vocabulary(
            counts,
            integral=integral,
            oov_buckets=feature.oov_buckets,
            shards=feature.shards,
            min_count=feature.min_count,
            max_size=feature.max_size,
        )
        shards = heterrec_schemas.tokens.vocabulary_shards(len(whole), feature.shards)
    assert found.sort("id").select("id", "value").rows() == whole.select("id", "value").rows()
    size = max(2 + feature.oov_buckets, (whole["id"].max() or -1) + 1)  # type: ignore[operator]
    assert [f.path for f in files] == [
        f"vocabularies/kind-{k:05d}-of-{shards:05d}.parquet" for k in range(shards)
    ]
    schema = vocabulary_schema(
        integral,
        feature="kind",
        vocabulary_shards=shards,
        oov_buckets=feature.oov_buckets,
        kind="categorical",
        side="item",
        vocabulary_size=size,
    )
    for shard, file in enumerate(files):
        rows = whole.filter(pl.col("shard") == shard).with_columns(status=pl.lit("active"))
        rows = vocabulary_rows(rows, schema)
        want = write_shard(job.root, file.path, rows, plain=("id", "value"))
        assert (file.rows, file.sha256) == (want.rows, want.sha256)


def test_whole_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    job, feature = job_of(spec_of(), tmp_path), categorical()
    rules = Rules(NAME, table_job(feature), feature, 1, 0, None)
    for seen, ordered in ((1, ["-1", "9", "10"]), (4, ["-1", "10", "9"])):
        pieces = [[("10", 1)], [("9", 1), ("-1", 1)]]
        found, (file,) = numbered(job, rules, pieces, {NAME: seen})
        assert found.sort("id")["value"].to_list() == ordered
        values = pq.read_table(file.temporary)["value"].to_pylist()
        assert values == ([int(v) for v in ordered] if seen == 1 else ordered)


def test_a_vocabulary_is_written_a_shard_each_empty_ones_too(tmp_path: Path) -> None:
    job, feature = job_of(spec_of(), tmp_path), categorical(shards=3)
    rules = Rules(NAME, table_job(feature), feature, 1, 0, 3)
    found, files = numbered(job, rules, [[("a", 9)]], {})
    assert [f.path for f in files] == [
        f"vocabularies/kind-0000{k}-of-00003.parquet" for k in range(3)
    ]
    tables = [pq.read_table(f.temporary) for f in files]
    assert sorted(map(len, tables)) == [0, 0, 1]
    assert found["id"].to_list() == [2]
    for table in tables:
        assert json.loads(table.schema.metadata[METADATA_KEY])["vocabulary_shards"] == 3
    (full,) = (t for t in tables if len(t))
    assert full.to_pydict() == {"id": [2], "value": ["a"], "count": [9], "status": ["active"]}


def test_keys_of_users_are_only_counted(tmp_path: Path) -> None:
    job, table = job_of(spec_of(), tmp_path), table_job(side="user", name="users")
    rules, counts = key_rules(job, table), pl.DataFrame({"value": ["a", "b"], "count": [1, 1]})
    main, tagged = sorted_out(sort_bucket(job, rules, 0, counts, {}))
    assert main == []
    layouts = lay_out_keys(rules, (0, tagged[FIGURES_TAG]), [])
    assert [(name, layout.distinct) for name, layout in layouts] == [("users", 2)]


def test_a_shard_of_many_buckets_and_a_bucket_of_many_shards(tmp_path: Path) -> None:
    job = job_of(spec_of(), tmp_path)
    words = [(f"w{k}", 1 + k % 3) for k in range(500)]
    for shards, buckets in ((2, 8), (12, 4)):
        feature = categorical(shards=shards)
        rules = Rules(NAME, table_job(feature), feature, buckets, 0, shards)
        found, files = numbered(job, rules, [words[:200], words[200:]], {})
        assert len(files) == shards
        assert found["id"].sort().to_list() == list(range(2, 502))
        assert found["bucket"].n_unique() == buckets
        tables = [pq.read_table(f.temporary) for f in files]
        assert [i for t in tables for i in t["id"].to_pylist()] == list(range(2, 502))


def test_the_error_of_a_table_without_keys_names_its_condition(tmp_path: Path) -> None:
    file = replace(
        written_file(tmp_path / "a.csv", b""), source=Source(path="a.csv", where="item = 'x'")
    )
    todo = "Check source.path and key in the spec"
    assert no_keys(table_job(files=(file,)), []).todo == (
        f"{todo}, and items.source.where: \"item = 'x'\"."
    )
    assert no_keys(table_job(), []).todo == f"{todo}."


def test_a_known_vocabulary_of_which_no_value_is_left_has_no_ids(tmp_path: Path) -> None:
    """A refresh of an input without any value of a feature that its parent knows."""
    known = KnownVocabulary("kind", 1, 2, 4, integral=False)
    rules = Rules(NAME, table_job(categorical()), categorical(), 1, 0, 1, known=known)
    buffer = IdBuffer(job_of(spec_of(), tmp_path), rules)
    rows = {"value": ["a", "b"], "id": [2, 3], "hash": [1, 2], "status": [RETIRED] * 2}
    assert list(buffer.add(pl.DataFrame(rows))) == []
    assert list(buffer.flush()) == []
