import io
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chains import add, generation_id, point, put_lease, standing

from heterrec_pipeline.checking.check import check_tables
from heterrec_pipeline.keeping import ErasedKeys, pin, purge_erased, read_erased_keys
from heterrec_pipeline.keeping.erased import tables_with
from heterrec_pipeline.keys.read import KEY
from heterrec_pipeline.reading.digests import ABOUT
from heterrec_pipeline.reading.erased import erased
from heterrec_schemas.errors import CallError, DataError, SchemaMismatchError
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.generation import open_generation
from heterrec_schemas.manifest import FileEntry, Manifest, content_sha256
from heterrec_schemas.rejects import REJECTS_SCHEMA
from heterrec_schemas.tables import with_metadata


def found(root: Path, **keys: Any) -> set[str]:
    return set(tables_with(open_generation(root, verify="sizes"), ErasedKeys(**keys)))


@pytest.fixture
def known(source: Path) -> dict[str, str]:
    """A user, an item and a value of the generation."""
    generation = open_generation(source)
    value = generation.vocabulary("brand")["value"][0].as_py()
    user = generation.sequences("latest")["user_id"][0].as_py()
    item = generation.items(["item_id"])["item_id"][0].as_py()
    return {"user": str(user), "item": str(item), "brand": str(value)}


def test_keys_are_found_where_they_are(source: Path, known: dict[str, str]) -> None:
    assert found(source) == set()
    assert (
        found(source, users={"nobody", "7.5"}, items={"nothing"}, values={"brand": {"-"}}) == set()
    )
    assert found(source, users={"nobody", known["user"]}) == {"sequences"}
    assert found(source, items={known["item"]}) == {"items", "vocabularies/item"}
    assert found(source, values={"brand": {known["brand"]}}) == {"vocabularies/brand"}
    # Each in its own tables only.
    assert found(source, users={known["item"] + "x"}, values={"absent": {known["brand"]}}) == set()


@pytest.fixture
def altered(source: Path, tmp_path: Path) -> Callable[[dict[str, bytes | pa.Table]], Path]:
    """A copy of the generation with further or other files."""

    def alter(files: dict[str, bytes | pa.Table]) -> Path:
        root = tmp_path / "generations" / source.name
        shutil.copytree(source, root)
        manifest = Manifest.model_validate_json((root / "manifest.json").read_text())
        entries = {f.path: f for f in manifest.files}
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                (root / path).write_bytes(content)
            else:
                pq.write_table(content, root / path)
            rows = None if isinstance(content, bytes) else len(content)
            size = (root / path).stat().st_size
            entries[path] = FileEntry(path=path, rows=rows, bytes=size, sha256="0" * 64)
        every = sorted(entries.values(), key=lambda f: f.path)
        changes = {"files": every, "content_sha256": content_sha256(every)}
        (root / "manifest.json").write_text(manifest.model_copy(update=changes).to_json())
        return root

    return alter


def rejected(*cells: tuple[str, str, str]) -> pa.Table:
    """A table of rejects: source, column, value."""
    schema = with_metadata(REJECTS_SCHEMA, "rejects")
    rows = [
        {"source": s, "file": "f", "row": k, "column": c, "reason": "missing_key", "value": v}
        for k, (s, c, v) in enumerate(cells)
    ]
    return pa.Table.from_pylist(rows, schema)


def test_rejects_are_searched_by_column_and_lines_by_word(
    source: Path, altered: Callable[..., Path]
) -> None:
    spec = open_generation(source).spec
    user, item = spec.interactions.user, spec.interactions.item
    path = next(p.relative_to(source) for p in source.glob("rejects/*"))
    root = altered(
        {
            str(path): rejected(
                ("interactions", user, "gone"),
                ("interactions", item, "other"),
                ("interactions", "", '12,"Smith, Ann",x'),
                ("interactions", "", '{"user": "u77", "item"'),
                ("interactions", spec.interactions.timestamp.column, "t-1"),
            )
        }
    )
    for users in ({"gone"}, {"12"}, {"Smith, Ann"}, {"u77"}):
        assert found(root, users=users) == {"rejects"}, users
    for users in ({"other"}, {"gon"}, {"1"}, {"u7"}, {"t-1"}):
        assert found(root, users=users) == set(), users
    assert found(root, items={"other"}) == {"rejects"}


def digest(rows: pa.RecordBatch, **about: Any) -> bytes:
    """A file of state/."""
    out = io.BytesIO()
    with pa.ipc.new_stream(out, rows.schema) as writer:
        writer.write_batch(rows, custom_metadata={ABOUT: json.dumps(about)})
    return out.getvalue()


def test_state_is_searched_by_column(altered: Callable[..., Path]) -> None:
    brands = pa.array(["gone", "b"], pa.large_string()).dictionary_encode()
    items = pa.record_batch({KEY: pa.array(["k", "l"]), "brand": brands})
    bad = [[7, "", "malformed_row", "x,u77"], [8, "time", "time_unreadable", "u78"]]
    log = pa.record_batch({"user": ["u1"], "item": ["i1"], "time": [41]})
    root = altered(
        {
            "state/items-0/1.arrow": digest(items),
            "state/interactions-0/1.arrow": digest(log, bad=bad),
            "state/interactions-0/2.arrow": b"damaged u79",
            "state/reuse.json": b'{"why": {"u80": 1}}',
        }
    )
    for users in ({"u1"}, {"u77"}, {"u79"}):
        assert found(root, users=users) == {"state"}, users
    assert found(root, items={"k"}) == found(root, values={"brand": {"gone"}}) == {"state"}
    for users in ({"41"}, {"i1"}, {"gone"}, {"u78"}, {"u80"}):
        assert found(root, users=users) == set(), users
    assert found(root, items={"gone"}) == found(root, values={"brand": {"k"}}) == set()


def test_integer_keys_are_found(source: Path, altered: Callable[..., Path]) -> None:
    generation = open_generation(source)
    paths = generation.item_shards()
    tables = []
    for path in paths:
        table = generation.read([path])
        keys = pl.Series(range(len(table)), dtype=pl.Int64).to_arrow()
        column = table.schema.get_field_index("item_id")
        schema = table.schema.set(column, pa.field("item_id", pa.int64(), nullable=False))
        tables.append(table.set_column(column, "item_id", keys).cast(schema))
    root = altered(dict(zip(paths, tables, strict=True)))
    assert found(root, items={"1"}) == {"items"}
    for items in ({"01"}, {"1.0"}, {str(2**63)}, {"-1"}):
        assert found(root, items=items) == set(), items


# --- the purge --------------------------------------------------------------------------------


def test_every_generation_with_a_key_goes_unless_it_is_protected(
    source: Path, output: Path, known: dict[str, str]
) -> None:
    for number in range(1, 6):
        add(source, output, number, number - 1 or None)
    point(output, generation_id(5))
    pin(str(output), generation_id(4))
    put_lease(output, generation_id(3))
    keys = ErasedKeys(users={known["user"]})
    assert purge_erased(str(output), ErasedKeys(users={"nobody"})).deleted == []
    dry = purge_erased(str(output), keys, dry_run=True)
    done = purge_erased(str(output), keys)
    assert [one.id for one, _ in dry.deleted] == [one.id for one, _ in done.deleted]
    assert [one.id for one, _ in done.deleted] == [generation_id(1), generation_id(2)]
    assert [(one.id, why) for one, why in done.refused] == [
        (generation_id(5), "latest; found in sequences"),
        (generation_id(4), "pinned; found in sequences"),
        (generation_id(3), "leased; found in sequences"),
    ]
    again = purge_erased(str(output), keys, pinned=True)
    assert [one.id for one, _ in again.deleted] == [generation_id(4)]
    assert standing(output) == [generation_id(3), generation_id(5)]
    assert list((output / "pins").iterdir()) == []


def test_what_cannot_be_searched_is_refused(source: Path, output: Path) -> None:
    for number in (1, 2, 3):
        add(source, output, number)
    point(output, generation_id(3))
    one, two = (output / "generations" / generation_id(k) for k in (1, 2))
    (one / "manifest.json").write_text("{")
    next(two.glob("items/*")).unlink()
    done = purge_erased(str(output), ErasedKeys(users={"nobody"}), pinned=True)
    assert done.deleted == []
    assert {o.id: why.partition(":")[0] for o, why in done.refused} == {
        generation_id(1): "cannot be searched",
        generation_id(2): "cannot be searched",
    }


# --- the lists --------------------------------------------------------------------------------

SPEC = """
version: 1
name: s
items:
  source: {path: i.csv}
  key: item_id
  features: [{name: brand, kind: categorical, column: brand}]
interactions: {source: {path: l.csv}, user: u, item: i, timestamp: {column: t, unit: s}}
sequences: {max_length: 5}
split: {method: leave_one_out}
"""
ERASE = """
erase:
  users: {source: {path: "gone-*.csv"}, key: user_id}
  items: {source: {path: items.parquet}, key: item_id}
  values: {brand: {source: {path: brands.jsonl}, key: name}}
"""


def test_the_lists_of_the_spec_are_read(tmp_path: Path) -> None:
    (tmp_path / "gone-1.csv").write_text("user_id,why\n u1 ,x\n,y\n007,z\n")
    (tmp_path / "gone-2.csv").write_text("user_id\n")
    pq.write_table(pa.table({"item_id": [3, None, 5]}), tmp_path / "items.parquet")
    (tmp_path / "brands.jsonl").write_text('{"name": "Caf\\u0065\\u0301"}\n{"name": null}\n')
    keys = read_erased_keys(parse_spec(SPEC + ERASE), str(tmp_path))
    assert keys == ErasedKeys({"u1", "007"}, {"3", "5"}, {"brand": {"Caf\u00e9"}})
    (tmp_path / "items.parquet").unlink()
    with pytest.raises(DataError, match=r"erase\.items"):
        read_erased_keys(parse_spec(SPEC + ERASE), str(tmp_path))
    with pytest.raises(CallError, match="lists nothing under erase"):
        read_erased_keys(parse_spec(SPEC), str(tmp_path))


def test_the_lists_are_read_as_a_build_reads_them(tmp_path: Path) -> None:
    """A date among times is the text of its midnight; and a list without its key is refused."""
    day = datetime(2026, 1, 2)
    pq.write_table(pa.table({"key": [day.date()]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"key": [day + timedelta(hours=1)]}), tmp_path / "2.parquet")
    for name, head in {"l.csv": "u,i,t", "i.csv": "item_id,brand"}.items():
        (tmp_path / name).write_text(f"{head}\n")
    spec = parse_spec(SPEC + "erase: {users: {source: {path: '*.parquet'}, key: key}}")
    keys = read_erased_keys(spec, str(tmp_path))
    of_build = check_tables(spec, str(tmp_path)).erasures.users
    assert of_build is not None
    assert keys.users == set(erased(of_build).texts)
    assert len(keys.users) == 2
    assert all(":" in text for text in keys.users), keys.users
    pq.write_table(pa.table({"other": [1]}), tmp_path / "2.parquet")
    with pytest.raises(SchemaMismatchError, match="key"):
        read_erased_keys(spec, str(tmp_path))
