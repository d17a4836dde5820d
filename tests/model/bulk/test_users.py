import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from heterrec_model.bulk.users import convert_users
from heterrec_schemas.errors import CallError, DataError

IDS = ["u1", "a,b", "u3"]


def converted(source: Path, *, integral: bool = False) -> list[dict[str, object]]:
    target = source.parent / "users.arrow"
    rows = convert_users(source, target, integral=integral)
    found: list[dict[str, object]] = pa.ipc.open_file(str(target)).read_all().to_pylist()
    assert rows == len(found)
    return found


@pytest.mark.parametrize(
    "name", ["u.txt", "u", "u.csv", "u.parquet", "u.jsonl", "u.csv.gz", "u.txt.zst"]
)
def test_every_format_gives_the_same_ids(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    text = {
        "csv": 'other,user_id\n1,u1\n2,"a,b"\n3,u3\n',
        "jsonl": "".join(json.dumps({"user": i}) + "\n" for i in IDS),
    }
    if name == "u.parquet":
        pq.write_table(pa.table({"user_id": IDS}), file)
    else:
        kind = name.split(".")[1] if "." in name else ""
        data = text.get(kind, "\ufeffu1\r\n\n a,b \nu3").encode()
        if name.endswith("gz"):
            data = gzip.compress(data)
        if name.endswith("zst"):
            data = pa.compress(data, codec="zstd", asbytes=True)
        file.write_bytes(data)
    assert [row["user_id"] for row in converted(file)] == IDS


def test_histories_and_integers(tmp_path: Path) -> None:
    file = tmp_path / "u.jsonl"
    lines = [{"history": {"items": [1, "x"]}}, {"user": 5, "history": {"items": []}}, {"user": "7"}]
    file.write_text("\n".join(map(json.dumps, lines)))
    rows = converted(file, integral=True)
    assert [row["user_id"] for row in rows] == [None, 5, 7]
    assert json.loads(str(rows[0]["history"])) == {"items": [1, "x"]}
    assert rows[2]["history"] is None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("u.txt", "\n \n", "lists no user"),
        ("u.csv", "user,b\n1,2\n", "no column user_id"),
        ("u.csv", "user_id,b\n1,2\n3\n", "cannot be read"),
        ("u.csv", "user_id,b\n7,2\n,3\n", "line 3: user: got no id"),
        ("u.txt", "7\nx7\n", "line 2: user: got 'x7', expected an integer"),
        ("u.jsonl", '{"user": 1}\n{', "line 2 is not JSON"),
        ("u.jsonl", '{"id": 1}', "line 1: got"),
        ("u.jsonl", '{"history": [1]}', 'an object with "items"'),
        ("u.jsonl", '{"history": {"items": [], "time": []}}', "Did you mean 'times'"),
        ("u.parquet", "no parquet", "cannot be read"),
        ("u.txt.gz", "not packed", "cannot be read"),
    ],
)
def test_bad_files_are_refused(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        converted(tmp_path / name, integral=True)


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="there is no file"):
        converted(tmp_path / "none")
