import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import categorical, embedding, numeric, spec_of

from heterrec_pipeline.checking.check import check_tables, raise_problems
from heterrec_pipeline.checking.columns import cast_hint
from heterrec_pipeline.features import categorical as texts
from heterrec_pipeline.features import embedding as vectors
from heterrec_pipeline.features import numeric as numbers
from heterrec_pipeline.interactions.times import milliseconds
from heterrec_pipeline.reading.erased import erased
from heterrec_pipeline.reading.key_text import key_text
from heterrec_pipeline.reading.shaping.cells import from_file
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.values import is_text

COLUMNS: dict[str, pa.Array] = {
    "text": pa.array(["1"]),
    "large text": pa.array(["1"], pa.large_string()),
    "coded text": pa.array(["1"]).dictionary_encode(),
    "coded integer": pa.array([1]).dictionary_encode(),
    "integer": pa.array([1], pa.int8()),
    "float": pa.array([1.0], pa.float32()),
    "boolean": pa.array([True]),
    "decimal": pa.array([Decimal("1.5")]),
    "wide decimal": pa.array([Decimal("1.5")], pa.decimal256(40, 1)),
    "timestamp": pa.array([1], pa.timestamp("ns", "UTC")),
    "date": pa.array([1], pa.date32()),
    "long date": pa.array([86_400_000], pa.date64()),
    "clock": pa.array([1], pa.time64("ns")),
    "duration": pa.array([1], pa.duration("s")),
    "null": pa.nulls(1),
    "object": pa.array([{"a": 1}]),
    "vector": pa.array([[1.0, 2.0, 3.0, 4.0]], pa.list_(pa.float16())),
    "fixed vector": pa.array([[1.0, 2.0, 3.0, 4.0]], pa.list_(pa.float32(), 4)),
    "integer vector": pa.array([[1, 2, 3, 4]], pa.large_list(pa.int64())),
    "text list": pa.array([["a"]]),
    "paths": pa.array([[["a"]]]),
    "deep": pa.array([[[["a"]]]]),
    "objects": pa.array([[{"a": 1}]]),
}
TABLE = pa.table(COLUMNS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log and a catalogue of every type."""
    folder = tmp_path_factory.mktemp("types")
    plain = {"user": ["u"], "item": ["i"], "time": [1]}
    pq.write_table(pa.table(plain | COLUMNS), folder / "log.parquet")
    pq.write_table(pa.table({"item": ["i"]} | COLUMNS), folder / "items.parquet")
    return folder


def spec_with(
    items: dict[str, Any] | None = None, log: dict[str, Any] | None = None
) -> FeatureSpec:
    return spec_of(
        items={"source": {"path": "items.parquet"}} | (items or {}),
        interactions={"source": {"path": "log.parquet"}} | (log or {}),
    )


def accepts(spec: FeatureSpec, folder: Path) -> bool:
    problems = check_tables(spec, str(folder)).problems
    assert len(problems) <= 1
    assert all(isinstance(p, SchemaMismatchError) for p in problems)
    return not problems


def works(call: Any, *arguments: Any) -> bool:
    try:
        call(*arguments)
    except SchemaMismatchError:
        return False
    return True


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_what_is_accepted_can_be_read_and_what_can_be_read_is_accepted(
    folder: Path, name: str
) -> None:
    """The check accepts exactly the types that the steps can read."""
    column = COLUMNS[name]
    features: list[tuple[Any, Any]] = [
        (categorical("f", column=name), texts.texts),
        (categorical("f", column=name, multivalued=True), texts.texts),
        (numeric("f", column=name), numbers.numbers),
        (embedding("f", column=name), vectors.vectors),
    ]
    for feature, read in features:
        spec = spec_with({"features": [feature.model_dump()]})
        if (
            feature.kind == "embedding"
        ):  # odd cells, of JSON lines or texts, are rejected one by one
            kind = column.type
            readable = vectors.is_vector_like(kind) or pa.types.is_null(kind) or is_text(kind)
        else:
            readable = works(read, feature, column)
        assert accepts(spec, folder) == readable, feature.kind
    key = works(key_text, column, name, "f")
    assert accepts(spec_with({"key": name}), folder) == key
    assert accepts(spec_with(log={"user": name}), folder) == key
    assert accepts(spec_with(log={"item": name}), folder) == key


@pytest.mark.parametrize(
    "how", [{"unit": u} for u in ("s", "ns", "day", "iso")] + [{"format": "%Y"}, {}]
)
@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_times_that_are_accepted_can_be_read(folder: Path, name: str, how: dict[str, str]) -> None:
    spec = spec_with(log={"timestamp": {"column": name} | how})
    readable = works(milliseconds, COLUMNS[name], spec.interactions.timestamp)
    if not how and "text" in name and name != "text list":
        readable = False  # it would be taken for ISO text, which the spec has to say
    assert accepts(spec, folder) == readable


# --- which table a feature comes from


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text)


def problems_of(spec: FeatureSpec, folder: Path) -> list[str]:
    return [p.message for p in check_tables(spec, str(folder)).problems]


def joined_spec(*columns: str) -> FeatureSpec:
    features = [categorical(c).model_dump() for c in columns]
    joins = [{"source": {"path": f"{name}.csv"}, "key": "item"} for name in ("one", "two")]
    return spec_of(items={"features": features, "joins": joins})


def test_the_first_table_that_has_a_column_provides_it(tmp_path: Path) -> None:
    write(tmp_path, items_csv="item,a\n", one_csv="item,b,a\n", two_csv="b,item,c\n")
    write(tmp_path, log_csv="user,item,time\n")
    checked = check_tables(joined_spec("a", "b", "c"), str(tmp_path))
    assert checked.problems == []
    tables = [checked.items, *checked.joins]
    assert [[f.name for f in t.features] for t in tables] == [["a"], ["b"], ["c"]]
    assert [(t.name, t.joined, t.side) for t in tables] == [
        ("items", False, "item"),
        ("items.joins[0]", True, "item"),
        ("items.joins[1]", True, "item"),
    ]
    (message,) = problems_of(joined_spec("a", "bb"), tmp_path)
    assert message == (
        "feature 'bb': items or items.joins[0] or items.joins[1] has no column 'bb'. Did you mean 'b'?"
    )


@pytest.mark.parametrize("denormalised", [False, True])
def test_only_used_columns_must_have_one_type_in_all_files(
    tmp_path: Path, denormalised: bool
) -> None:
    for name in ("items", "log"):
        for k, odd in enumerate((pa.array([1]), pa.array(["x"]))):
            columns = {"item": ["i"], "user": ["u"], "time": [1], "kind": odd, "other": odd}
            pq.write_table(pa.table(columns), tmp_path / f"{name}-{k}.parquet")

    def problems(*used: str, user: str = "user") -> list[str]:
        features = [categorical(c).model_dump() for c in used]
        source = "interactions" if denormalised else {"path": "items-*.parquet"}
        spec = spec_of(
            items={"source": source, "features": features},
            interactions={"source": {"path": "log-*.parquet"}, "user": user},
        )
        return problems_of(spec, tmp_path)

    assert problems() == []
    name = "log" if denormalised else "items"
    wrong = f"column 'kind' has different types: {name}-0.parquet and {name}-1.parquet: got int64"
    (message,) = problems("kind")
    assert message.startswith(wrong)
    assert "column 'other' has different types: log-0.parquet" in problems(user="other")[0]


def test_items_out_of_the_log_have_its_columns(tmp_path: Path) -> None:
    write(tmp_path, log_csv="user,item,time,kind\n")
    spec = spec_of(items={"source": "interactions", "features": [categorical().model_dump()]})
    checked = check_tables(spec, str(tmp_path))
    assert (checked.problems, checked.items.files) == ([], ())
    assert [f.name for f in checked.items.features] == ["kind"]
    assert [f.name for f in checked.log] == ["log.csv"]


def test_every_mistake_is_found_in_one_go(tmp_path: Path) -> None:
    write(tmp_path, items_csv="itm,kind\n", log_csv="usr,item,tme\n")
    spec = spec_of(
        items={"features": [categorical("knid").model_dump()]},
        interactions={"behaviour": {"column": "what", "values": ["a"]}, "order": "place"},
        users={"source": {"path": "users.csv"}, "key": "user"},
    )
    found = problems_of(spec, tmp_path)
    for words in (
        "users: no file matches 'users.csv'",
        "feature 'knid': items has no column 'knid'. Did you mean 'kind'?",
        "items: there is no column 'item'. Did you mean 'itm'?",
        "interactions: there is no column 'user'. Did you mean 'usr'?",
        "interactions: there is no column 'time'. Did you mean 'tme'?",
        "interactions: there is no column 'what'",
        "interactions: there is no column 'place'",
    ):
        assert any(m.startswith(words) for m in found), (words, found)
    assert len(found) == 7


def test_without_an_input_folder_nothing_else_is_looked_at(tmp_path: Path) -> None:
    (message,) = problems_of(spec_of(), tmp_path / "absent")
    assert message == f"there is no input folder {tmp_path}/absent. Check --input."


def test_one_mistake_is_raised_as_it_is_and_more_as_a_list() -> None:
    raise_problems([])
    one = SchemaMismatchError("one")
    with pytest.raises(SchemaMismatchError) as error:
        raise_problems([one])
    assert error.value is one
    with pytest.raises(DataError) as many:
        raise_problems([one, DataError("two", todo="Mend it.")])
    assert many.value.message == "2 mistakes:\n  one\n  two. Mend it."


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (pa.array([Decimal("7.00")], pa.decimal128(10, 2)), [7]),
        (pa.array([b"caf\xc3\xa9"]), ["café"]),
        (pa.array([b"ab"], pa.binary(2)), ["ab"]),
        (pa.array([5], pa.duration("ms")), [5]),
    ],
)
def test_a_refused_type_comes_with_an_expression_that_reads_it(
    cells: pa.Array, read: list[object]
) -> None:
    found = str(cast_hint("odd one", cells.type))
    sql = re.search(r'columns: \{"odd one": ("(?:[^"\\]|\\.)*")\}', found)
    assert sql is not None
    frame = pl.DataFrame({"odd one": from_file(cells, empty_is_null=False)})
    assert frame.select(pl.sql_expr(json.loads(sql[1]))).to_series().to_list() == read


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (pa.list_(pa.binary()), "Cast its elements to text"),
        (pa.uuid(), 'columns: {id: "CAST(id AS VARCHAR)"}'),
        (pa.struct([("brand", pa.string())]), "name a field, such as 'id.brand'"),
        (pa.float64(), None),
        (pa.list_(pa.string()), None),
    ],
)
def test_other_types_come_with_what_to_do(kind: pa.DataType, words: str | None) -> None:
    found = cast_hint("id", kind)
    assert found is None if words is None else words in str(found)


def test_what_to_do_about_a_derived_column_has_its_expression(tmp_path: Path) -> None:
    table = pa.table({"raw": pa.array([b"i"]), "kind": pa.array([[1]])})
    pq.write_table(table, tmp_path / "items.parquet")
    (tmp_path / "log.csv").write_text("item,user,time\ni,u,1\n")
    source = {"path": "items.parquet", "columns": {"item": "raw"}}
    (problem,) = check_tables(spec_of(items={"source": source}), str(tmp_path)).problems
    assert 'columns: {item: "CAST((raw) AS VARCHAR)"}' in problem.message
    source["columns"] = {"item": "CAST((raw) AS VARCHAR)"}
    assert not check_tables(spec_of(items={"source": source}), str(tmp_path)).problems


def test_columns_that_decide_a_row_must_be_in_every_file(tmp_path: Path) -> None:
    items = {"item": ["i"], "kind": ["x"]}
    log = {"item": ["i"], "user": ["u"], "time": [1], "place": [0], "id": [0]}
    for k, absent in enumerate(("", "kind", "place", "user", "id")):
        for name, columns in (("items", items), ("log", log)):
            left = {c: v for c, v in columns.items() if c != absent}
            pq.write_table(pa.table(left), tmp_path / f"{name}-{k}.parquet")

    def problems(**more: Any) -> list[str]:
        spec = spec_of(
            items={
                "source": {"path": "items-*.parquet"},
                "features": [categorical().model_dump()],
            },
            interactions={"source": {"path": "log-*.parquet"}, "order": "place"}
            | {"event_id": "id"}
            | more,
        )
        return problems_of(spec, tmp_path)

    assert problems() == [
        "interactions: log-3.parquet has no column 'user': expected this column in all files of the source. "
        "Add it to the file, or exclude the file from source.path."
    ]
    assert problems(missing_user="drop") == [], "rows without a user are no rejects"


def test_what_a_list_erases_is_found_anew_when_it_is_read_in_another_way(tmp_path: Path) -> None:
    """In one process, as when a service checks a spec, and then builds with a mended one."""
    (tmp_path / "items.csv").write_text("item\ni\n")
    (tmp_path / "log.csv").write_text("user,item,time\nu,i,1\nv,i,2\n")
    (tmp_path / "gone.csv").write_text("user,s\nu,a\nv,b\n")

    def gone(**source: Any) -> set[str]:
        users = {"source": {"path": "gone.csv", **source}, "key": "user"}
        checked = check_tables(spec_of(erase={"users": users}), str(tmp_path))
        raise_problems(checked.problems)
        assert [f.name for f in checked.input_files()] == ["gone.csv", "items.csv", "log.csv"]
        assert checked.erasures.users is not None
        return set(erased(checked.erasures.users).texts)

    assert gone(where="s = 'a'") == {"u"}
    assert gone() == {"u", "v"}
    assert gone(null_values=["v"]) == {"u"}


def test_no_message_repeats_an_erased_key_that_an_absent_header_makes_a_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "items.csv").write_text("item\ni\n")
    (tmp_path / "gone.csv").write_text("id\nalice\nbob\n")
    erase = {"users": {"source": {"path": "gone.csv"}, "key": "id"}}

    def messages(log: str, key: str = "id") -> str:
        (tmp_path / "log.csv").write_text(log)
        erase["users"]["key"] = key
        problems = check_tables(spec_of(erase=erase), str(tmp_path)).problems
        assert problems
        return " ".join(p.message for p in problems)

    texts = messages("alice,i,noon\nbob,i,noon\n")
    assert "there is no column 'user'" in texts
    assert "alice" not in texts
    assert "noon" in texts, "what is not erased is a help"
    texts = messages("alice::i::17\n")
    assert "'...::i::17'" in texts
    (tmp_path / "gone.csv").write_text("alice\nbob\n")
    texts = messages("user,item,time\nalice,i,1\n")
    assert "erase.users: there is no column 'id'. Check key; for a list without a header" in texts
    assert "alice" not in texts
    (tmp_path / "gone.csv").write_text("4711;x\n4712;y\n")
    texts = messages("alice,i,noon\n")
    assert "erase.users: there is no column 'id'. The first line, of 6 characters, is one" in texts
    assert "4711" not in texts
    assert "noon" not in texts, "what an unreadable list erases is unknown"


@pytest.mark.parametrize(
    ("log", "keys", "words", "never"),
    [
        ("alice smith,i,noon\n", "alice\nalice smith\n", "Known: i, noon.", "smith"),
        ("a\\b,i,7\n", "a\\b\n", "header '...,i,7'", "a\\"),
        ("Zo\u00eb\u200b,i,7\n", "Zo\u00eb\u200b\n", "header '...,i,7'", "Zo"),
        (f"{'x' * 76},alice,7\n", "alice\n", f"{'x' * 76},...'", "ali"),
        ("users,i,noon\n", "users\n", "Known: i, noon.", "users"),
        ("user-alice,i,noon\n", "alice\n", "Known: i, noon.", "alice"),
        ("alice;i;noon\n", "user\nalice\n", "interactions: there is no column 'user'", "alice"),
    ],
)
def test_erased_keys_in_a_first_line_are_hidden_as_whole_cells(
    tmp_path: Path, log: str, keys: str, words: str, never: str
) -> None:
    (tmp_path / "items.csv").write_text("item\ni\n")
    (tmp_path / "gone.csv").write_text(f"id\n{keys}")
    (tmp_path / "log.csv").write_text(log)
    spec = spec_of(erase={"users": {"source": {"path": "gone.csv"}, "key": "id"}})
    texts = " ".join(problems_of(spec, tmp_path))
    assert words in texts
    assert never not in texts


@pytest.mark.parametrize("erases", [True, False])
def test_no_cell_is_quoted_where_something_is_erased(tmp_path: Path, erases: bool) -> None:
    (tmp_path / "items.csv").write_text("item\ni\n")
    (tmp_path / "gone.csv").write_text("id\nalice\nuser\n")
    lines = [{"user": "u", "item": "i", "time": 1}] * 3 + [{"user": {"id": "alice"}}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    erase = {"users": {"source": {"path": "gone.csv"}, "key": "id"}} if erases else {}
    spec = spec_of(interactions={"source": {"path": "log.jsonl"}}, erase=erase)
    texts = " ".join(problems_of(spec, tmp_path))
    assert "column 'user' cannot be a key: got log.jsonl row 3" in texts
    assert ("alice" in texts) is not erases
    assert ("row 3, which is not shown since it may hold what the spec erases" in texts) is erases
