import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import MANY, job_of, numeric, spec_of, table_job, written_file

from heterrec_pipeline.files.shards import Written
from heterrec_pipeline.publishing.kept import check_kept
from heterrec_pipeline.publishing.publish import (
    BuildReports,
    delete_leftovers,
    interaction_counts,
    make_manifest,
    row_counts,
)
from heterrec_pipeline.publishing.rejects import RejectSummary, check_log_rows, table_rows
from heterrec_schemas.errors import DataError, RunError
from heterrec_schemas.manifest import InteractionCounts, content_sha256
from heterrec_schemas.stores.local import LocalStore

SOME = st.integers(0, 9)
NOTHING = RejectSummary({}, {}, {})


@MANY
@given(SOME, SOME, SOME, SOME, SOME, SOME)
def test_reads_are_kept_or_accounted_for(
    kept: int, unknown: int, duplicate: int, short: int, malformed: int, bad: int
) -> None:
    counts = {
        "interactions.kept": kept,
        "interactions.unknown_item": unknown,
        "interactions.duplicate": duplicate,
        "interactions.short_user": short,
        "interactions.malformed": malformed,
        "interactions.bad": bad,
        "interactions.read": kept + unknown + duplicate + short + malformed + bad,
    }
    entry = interaction_counts(counts)
    assert entry.rejected == malformed + bad
    assert entry.read == entry.kept + entry.rejected + unknown + duplicate + short
    with pytest.raises(AssertionError):
        interaction_counts(counts | {"interactions.read": entry.read + 1})


@MANY
@given(SOME, SOME, SOME, SOME)
def test_equal_rows_of_a_key_count_once(
    keys: int, unusable: int, duplicate: int, repeated: int
) -> None:
    counts = {
        "items.keys": keys,
        "items.unusable": unusable,
        "items.duplicate": duplicate,
        "items.repeated": repeated,
        "items.rows": keys + unusable + duplicate + repeated,
    }
    entry = row_counts("items", counts)
    assert (entry.kept, entry.rejected, entry.repeated) == (keys, unusable + duplicate, repeated)
    assert entry.read == entry.kept + entry.rejected
    with pytest.raises(AssertionError):
        row_counts("items", counts | {"items.keys": keys + 1})


def found_of(**counts: int) -> BuildReports:
    named = {f"interactions.{k}": v for k, v in counts.items()}
    return BuildReports(named | {"items.keys": 2, "items.rows": 2}, [], NOTHING, [], None)


def kept_of(**counts: int) -> InteractionCounts:
    return interaction_counts(found_of(**counts).counts)


def test_an_empty_log_and_one_of_which_nothing_is_left_are_refused(tmp_path: Path) -> None:
    log = written_file(tmp_path / "log.csv", b"")
    job = job_of(spec_of(), tmp_path, log=(log,))
    with pytest.raises(DataError, match=r"the log is empty: got no rows in log\.csv"):
        check_log_rows(job, {"interactions.read": 0})
    with pytest.raises(
        DataError, match="none of the 1,203 rows is left: got 1,203 rejected, 0 with unknown"
    ):
        check_kept(job, kept_of(read=1203, bad=1203))
    check_kept(job, kept_of(read=1, kept=1))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (
            {"read": 60, "filtered": 60},
            r"interactions: the filter left nothing of 60 rows: got 60 filtered, expected rows that the spec does not leave "
            r"out\. Check interactions\.source\.where: \"item = 'x'\" and interactions\.missing_user: drop\.$",
        ),
        (
            {"read": 60, "filtered": 50, "erased": 10},
            "got 50 filtered, 10 erased, .* drop and erase\\.users and erase\\.items\\.$",
        ),
        (
            {"read": 60, "filtered": 59, "short_user": 1},
            r"Check sequences\.min_length\. Check interactions\.source\.where: .* and interactions\.missing_user: drop\.$",
        ),
        ({"read": 60, "bad": 60}, r"history\. Check limits\.max_reject_ratio, which allows"),
        ({"read": 60, "bad": 1, "short_user": 59}, r"history\. Check sequences\.min_length\.$"),
        ({"read": 60, "erased": 60}, r"history\. Check erase\.users and erase\.items\.$"),
        (
            {"read": 60, "bad": 50, "erased": 10},
            r"Check erase\.users and erase\.items\. Check limits\.max_reject_ratio, which allows",
        ),
    ],
)
def test_what_took_all_rows_of_a_log_is_what_to_check(
    tmp_path: Path, counts: dict[str, int], words: str
) -> None:
    source = {"path": "log.csv", "where": "item = 'x'"}
    gone = {"source": {"path": "gone.csv"}, "key": "id"}
    spec = spec_of(
        interactions={"source": source, "missing_user": "drop"},
        erase={"users": gone, "items": gone},
    )
    with pytest.raises(DataError, match=words) as raised:
        check_kept(job_of(spec, tmp_path), kept_of(**counts))
    assert "item keys" not in str(raised.value)


def test_keys_of_both_sides_are_quoted_when_none_agree(tmp_path: Path) -> None:
    log = written_file(tmp_path / "log.csv", b"user,item,time\nu,108,1\nu,109,2\nu,108,3\n")
    items = written_file(tmp_path / "items.csv", b"item,price\n0108,1\n0109,2\n")
    job = job_of(spec_of(), tmp_path, log=(log,), items=table_job(numeric(), files=(items,)))
    with pytest.raises(DataError) as error:
        check_kept(job, kept_of(read=3, unknown_item=3))
    expected = "items.csv has keys such as '0108', '0109'; log.csv has keys such as '108', '109'."
    assert expected in str(error.value)


def test_rows_out_of_the_log_have_no_ratio_of_their_own(tmp_path: Path) -> None:
    file = written_file(tmp_path / "i.csv", b"")
    items, users = table_job(), table_job(name="users", side="user", files=(file,))
    job = job_of(spec_of(), tmp_path, items=items, users=users)
    counts = {"interactions.read": 7, "items.rows": 3, "users.rows": 4}
    assert table_rows(job, counts) == {"interactions": 7, "users": 4}


def test_parts_that_a_first_attempt_leaves_are_in_no_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(spec_of(), tmp_path)
    left = [Path(job.parts) / "values.arrow", Path(job.root) / "items" / "a.parquet.7.tmp"]
    kept = Path(job.root) / "items" / "a.parquet"
    for path in (*left, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(LocalStore, "delete_tree", lambda *_: None)
    delete_leftovers(job)
    assert [path for path in Path(job.root).rglob("*") if path.is_file()] == [kept]
    left[0].touch()
    monkeypatch.setattr(os, "remove", raises(OSError(errno.EROFS, "Read-only file system")))
    with pytest.raises(RunError, match=r"values\.arrow cannot be deleted: Read-only file system"):
        delete_leftovers(job)


def raises(error: Exception) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise error

    return call


@pytest.mark.parametrize("cuts", [None, (1, 2)])
def test_the_manifest_says_what_was_found(tmp_path: Path, cuts: Any) -> None:
    spec = spec_of(items={"catalogue_vocabulary": {"oov_buckets": 3}})
    job = job_of(spec, tmp_path)
    files = [
        Written("t", "items/items-00000-of-00001.parquet", 2, 10, "aa"),
        Written("t", "spec.yaml", -1, 5, "bb"),
    ]
    found = found_of(read=5, kept=4, bad=1)._replace(
        rejects=RejectSummary({"wrong_width": 2, "missing_key": 1}, {}, {}), cuts=cuts
    )
    manifest = make_manifest(job, found, [], files)
    assert [(f.path, f.rows) for f in manifest.files] == [(files[0].path, 2), ("spec.yaml", None)]
    assert manifest.content_sha256 == content_sha256(manifest.files[:1])
    assert manifest.item_vocabulary_size == 2 + 3 + 2
    assert manifest.cuts == ({} if cuts is None else {"validation_at_ms": 1, "test_at_ms": 2})
    assert dict(manifest.rejects) == {"missing_key": 1, "wrong_width": 2}
    assert manifest.counts.users is None
    assert manifest.counts.interactions.rejected == 1
    assert manifest.spec_sha256 == hashlib.sha256(b"name: pieces\n").hexdigest()
