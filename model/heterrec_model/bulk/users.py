"""The users of a bulk job: those of the bundle, or those of a file.

A file is text (one id per line), CSV or Parquet with a column user_id, or JSON lines whose objects have `user` (an id), or
`history` (an object with items, times, behaviours, user_features, as `History`), or both: `user` then names the row. It is
first written as an Arrow file that workers map into memory, so that memory does not grow with the number of users.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.ipc

from heterrec_model.bulk.ids import BATCH, reading, rows, suffix_of
from heterrec_model.recommending.bundle_recommender import BundleRecommender, encoded
from heterrec_model.recommending.catalogue import as_key
from heterrec_model.recommending.history import EncodedHistory, History, Key
from heterrec_schemas.errors import CallError, DataError, HeterrecError, suggest

USER_ID = "user_id"
_FIELDS = ("items", "times", "behaviours", "user_features")


class BulkUser(NamedTuple):
    """A user: id (None for a history without one), and the history (None for a user without one)."""

    user_id: Key | None
    history: EncodedHistory | None


def convert_users(source: Path, target: Path, *, integral: bool) -> int:
    """Write a file of users as an Arrow file: user_id, history (JSON text), line. Returns the number of users.

    Args:
        source: text, CSV, Parquet or JSON lines, by its suffix; .gz and .zst may follow.
        target: the Arrow file.
        integral: whether the ids of users are integers.

    Raises:
        CallError: there is no such file.
        DataError: it cannot be read, or an id is of the wrong type.
    """
    if not source.is_file():
        raise CallError(f"there is no file {source}", expected="a file of users, or all")
    key_type = pa.int64() if integral else pa.string()
    schema = pa.schema([(USER_ID, key_type), ("history", pa.string()), ("line", pa.int64())])
    count = 0
    with pa.ipc.new_file(str(target), schema) as out, reading(source):
        for batch in _batches(source):
            columns = [
                pa.array([_key(source, row, integral) for row in batch], key_type),
                pa.array([row.history for row in batch], pa.string()),
                pa.array([row.line for row in batch], pa.int64()),
            ]
            out.write_batch(pa.record_batch(columns, schema=schema))
            count += len(batch)
    if not count:
        raise DataError(f"{source} lists no user")
    return count


class _Line(NamedTuple):
    line: int
    user: Any
    history: str | None


def _batches(source: Path) -> Iterator[list[_Line]]:
    batch: list[_Line] = []
    for row in _lines(source):
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _lines(source: Path) -> Iterator[_Line]:
    """The rows of a file of users."""
    as_json = suffix_of(source) in (".jsonl", ".ndjson", ".json")
    for number, value in rows(source, USER_ID):
        yield _json_line(source, number, value) if as_json else _Line(number, value, None)


def _json_line(source: Path, number: int, text: str) -> _Line:
    where = f"{source}, line {number}"
    try:
        row = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}") from None
    if not isinstance(row, dict) or not ("user" in row or "history" in row):
        raise DataError(where, got=text[:80], expected='an object with "user" or "history"')
    if row.get("history") is None:
        return _Line(number, row.get("user"), None)
    history = row["history"]
    if not isinstance(history, dict) or not isinstance(history.get("items"), list):
        raise DataError(
            f"{where}: history", got=str(history)[:80], expected='an object with "items", a list'
        )
    for name in history:
        if name not in _FIELDS:
            raise DataError(f"{where}: history has no field {name!r}", todo=suggest(name, _FIELDS))
    return _Line(number, row.get("user"), json.dumps(history))


def _key(source: Path, row: _Line, integral: bool) -> Key | None:
    if row.user is None and row.history is not None:
        return None
    key = as_key(row.user, integral=integral)
    if key is None:
        kind = "an integer, as in the generation" if integral else "a text"
        got = "no id" if row.user is None else repr(row.user)
        raise DataError(f"{source}, line {row.line}: user", got=got, expected=kind)
    return key


class UsersOfFile:
    """The users of an Arrow file of `convert_users`.

    Args:
        path: of the file.
        recommender: finds and translates histories.
    """

    def __init__(self, path: Path, recommender: BundleRecommender) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._table = reader.read_all()
        self._recommender = recommender

    def rows(self, start: int, stop: int) -> list[BulkUser]:
        """The users of some rows.

        Raises:
            DataError: a history is wrong.
        """
        listed = self._table.slice(start, stop - start).to_pylist()
        plain = [row[USER_ID] for row in listed if row["history"] is None]
        found = iter(self._recommender.find(plain))
        users = []
        for row in listed:
            if row["history"] is None:
                users.append(BulkUser(row[USER_ID], next(found)))
            else:
                users.append(BulkUser(row[USER_ID], self._translated(row)))
        return users

    def _translated(self, row: dict[str, Any]) -> EncodedHistory:
        try:
            return self._recommender.translate(History(**json.loads(row["history"])))
        except HeterrecError as error:
            raise DataError(f"the file of users, line {row['line']}: {error.message}") from None


class UsersOfBundle:
    """The users of the histories of a bundle, in their order there.

    Args:
        recommender: of the bundle.
    """

    def __init__(self, recommender: BundleRecommender) -> None:
        assert recommender.histories is not None
        self._histories = recommender.histories

    def rows(self, start: int, stop: int) -> list[BulkUser]:
        """The users of some rows."""
        return [BulkUser(row.user_id, encoded(row)) for row in self._histories.rows(start, stop)]
