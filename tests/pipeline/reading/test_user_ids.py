from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import bad_text_array, written_file

from heterrec_pipeline.reading.drops import Drop
from heterrec_pipeline.reading.erased import ErasedList, Gate, erased, read_live
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.user_ids import HashedIds
from heterrec_schemas import hash_user
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.user_ids import UserKey, find_user_key

NAME, KEY = "TEST_USER_KEY", "a key of 16 bytes and more"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> UserKey:
    monkeypatch.setenv(NAME, KEY)
    return find_user_key(NAME)


def hashed(key: UserKey, *missing: str) -> HashedIds:
    return HashedIds("interactions", "user", missing, key)


def parquet(path: Path, **columns: Any) -> Split:
    pq.write_table(pa.table(columns), path)
    return Split(InputFile(str(path), path.name, path.stat().st_size, "parquet"))


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([7, None, 7], pa.int8()),
        pa.array([7.0, float("nan"), 7.0]),
        pa.array([" 7", "", "7\t"]).dictionary_encode(),
        pa.array([7, None, 7], pa.decimal128(20, 0)),
    ],
)
def test_ids_of_any_type_have_the_hash_of_their_text(
    tmp_path: Path, key: UserKey, cells: pa.Array
) -> None:
    split = parquet(tmp_path / "log.parquet", user=cells, item=cells)
    (batch,) = read_live(split, ["item", "user"], Gate(user_ids=hashed(key)))
    expected = hash_user(7, KEY)
    assert batch.table["user"].to_pylist() == [expected, None, expected]
    assert batch.table["user"].type == pa.string()
    assert str(batch.table["item"].to_pylist()) == str(cells.to_pylist())


def test_lists_policies_and_missing_values_compare_ids(tmp_path: Path, key: UserKey) -> None:
    split = Split(written_file(tmp_path / "log.csv", b"user,n\na,0\nb,1\n,2\n-1,3\nc,4\n"))
    listed = ErasedList("erase.users", "id", (written_file(tmp_path / "gone.csv", b"id\nb\n"),))
    gate = Gate((("user", listed),), user_ids=hashed(key, "-1"))
    (batch,) = read_live(split, ["user", "n"], gate)
    assert batch.table["n"].to_pylist() == ["0", "2", "3", "4"]
    a, c = hash_user("a", KEY), hash_user("c", KEY)
    assert batch.table["user"].to_pylist() == [a, None, None, c]
    gate = Gate(drops=(Drop("user", ("-1",)),), user_ids=hashed(key, "-1"))
    (batch,) = read_live(split, ["user"], gate)
    assert batch.table["user"].to_pylist() == [a, hash_user("b", KEY), c]
    written = ErasedList(listed.name, listed.column, listed.files, key)
    assert erased(written).texts.to_list() == [hash_user("b", KEY)]


def test_no_text_that_may_contain_an_id_is_left(tmp_path: Path, key: UserKey) -> None:
    split = Split(written_file(tmp_path / "log.csv", b"user,n\na\nb,1,c\nd,2\n"))
    for columns in (["user", "n"], ["n"]):
        (batch,) = read_live(split, columns, Gate(user_ids=hashed(key)))
        assert [b.text for b in batch.bad] == [None]
        assert [b.text for b in batch.short] == [None]
        assert batch.table.schema.names == columns
    bad = bad_text_array(b"x\xff", b"y")
    split = parquet(tmp_path / "log.parquet", user=bad, kind=bad)
    (batch,) = read_live(split, ["user", "kind"], Gate(user_ids=hashed(key)))
    assert batch.bad_text == {"user": {0: None}, "kind": {0: "x\\xff"}}
    assert batch.table["user"].to_pylist() == [None, hash_user("y", KEY)]


def test_ids_that_are_no_keys_are_an_error_that_quotes_none(tmp_path: Path, key: UserKey) -> None:
    for cell in (4711.5, 2.0**60):
        split = parquet(tmp_path / "log.parquet", user=pa.array([cell]))
        with pytest.raises(SchemaMismatchError, match="key column 'user' holds floats") as error:
            list(read_live(split, ["user"], Gate(user_ids=hashed(key))))
        assert error.value.got is None
        assert f"{cell:.0f}"[:4] not in error.value.message
