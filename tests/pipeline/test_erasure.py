"""A shop that erases: as if the rows and values had never been in the input, and no text of them anywhere."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from corner_shop import Shop

from heterrec_pipeline.building import BuildConfig, build
from heterrec_schemas.feature_spec import parse_spec

GONE = {"users": ["u3", "u7"], "items": ["i05", "i11"], "brand": ["Plum"]}
KEYS = {"users": "user_id", "items": "item_id", "brand": "brand"}


def lists(shop: Shop, **gone: list[str]) -> None:
    """Write lists of what to erase, and name them in the spec."""
    erase = shop.spec["erase"] = {"values": {}}
    for name, texts in gone.items():
        shop.put(f"gone_{name}.csv", [[KEYS[name]], *([text] for text in texts)])
        place: Any = erase["values"] if name == "brand" else erase
        place[name] = {"source": {"path": f"gone_{name}.csv"}, "key": KEYS[name]}


def rid(rows: list[list[str]]) -> list[list[str]]:
    """The rows of a table without what is erased."""
    head, *rows = rows
    dead = {*GONE["users"], *GONE["items"]}
    kept = [row for row in rows if not dead & {cell.strip() for cell in row}]
    return [head, *([("" if cell in GONE["brand"] else cell) for cell in row] for row in kept)]


def texts_in(folder: Path) -> str:
    """Everything that the files of a folder say."""
    said = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            said += [json.dumps(table.to_pylist()), str(table.schema)]
        said.append(path.read_bytes().decode("utf-8", errors="replace"))
    return "\n".join(said)


def test_erased_rows_and_values_leave_no_trace(shop: Shop) -> None:
    shop.add("items.csv", [[" i05 ", "Kiwi", "dear"], ["i05", "Lime", "3"]])
    shop.add("log.csv", [["u3", "i01", "never", "view", ""], ["u1", "i11 ", "5", "sell", ""]])
    shop.add("log.csv", [["u3", "i01"], ["u3", "i02", "5", "view", "1", "u3"]])
    shop.add("users.csv", [["u7", "old"]])
    shop.spec["limits"]["max_reject_ratio"] = 0.02
    without = shop.copy(shop.folder / "without")
    lists(shop, **GONE)
    done = shop.build("--json")
    assert done.code == 0, done.err
    for name in ("items.csv", "users.csv", "log.csv"):
        without.put(name, rid(without.rows(name)))
    ids, vectors = without.vectors()
    kept = [k for k, key in enumerate(ids) if key not in GONE["items"]]
    without.put_vectors([ids[k] for k in kept], [vectors[k] for k in kept])
    bare = without.build("--json")
    assert bare.code == 0, bare.err

    got, wanted = (json.loads(d.out)["manifest"] for d in (done, bare))
    assert got["content_sha256"] == wanted["content_sha256"]
    assert got["features"][0]["missing"] == wanted["features"][0]["missing"] > 0
    # Nothing says whose the malformed row is, so it counts as rejected; without its text.
    assert got["rejects"] == {"malformed_row": 1}
    counts = got["counts"]
    assert counts["items"]["erased"] == 4
    assert counts["users"]["erased"] == 3
    read = [
        row
        for row in shop.rows("log.csv")[1:]
        if len(row) < 6 and {c.strip() for c in row[:2]} & {*GONE["users"], *GONE["items"]}
    ]
    assert counts["interactions"]["erased"] == len(read)
    for table in ("items", "users"):
        c = counts[table]
        assert c["read"] == c["kept"] + c["rejected"] + c["erased"]
    log = counts["interactions"]
    assert log["read"] == sum(n for name, n in log.items() if name != "read")
    names = [i["path"] for i in got["inputs"]]
    assert {"gone_users.csv", "gone_items.csv", "gone_brand.csv"} <= set(names)

    said = texts_in(shop.output / "generations" / got["generation"]) + done.out + done.err
    for text in (*GONE["users"], *GONE["items"], *GONE["brand"]):
        assert text not in said


def test_erased_rows_are_no_part_of_the_reject_ratio(shop: Shop) -> None:
    """The check of a sample and that of all rows, of bad rows that are erased, and of good ones that are."""
    shop.spec["limits"]["max_reject_ratio"] = 0.02
    shop.add("log.csv", [["u8", "i01", "never", "view", ""]] * 30)
    lists(shop, users=["u8"])
    assert shop.build().code == 0
    shop.put("log.csv", [*shop.rows("log.csv")[:1], *(["u8", "i01", "5", "view", "1"],) * 400])
    shop.add("log.csv", [["u1", f"i0{k % 9}", str(k), "view", "1"] for k in range(40)])
    shop.add("log.csv", [["u1", "i01", "never", "view", "1"]])
    done = shop.build()
    assert done.code == 2
    assert "1 of 41 rows (2.4%) were rejected" in done.message


@pytest.mark.parametrize("command", ["build", "validate"])
def test_a_list_that_is_not_whole_is_refused(shop: Shop, command: str) -> None:
    lists(shop, **GONE)
    shop.put("gone_items.csv", [["item"], ["i05"]])
    (shop.input / "gone_brand.csv").unlink()
    shop.add("gone_users.csv", [["u4", "u5"]])
    before = shop.generations()
    done = getattr(shop, command)()
    assert done.code == 2
    assert "erase.items: there is no column 'item_id'. Did you mean 'item'?" in done.message
    assert "erase.values.brand: no file matches 'gone_brand.csv'" in done.message
    assert "erase.users: a list of what to erase cannot be read in full" in done.message
    assert "u4" not in done.message
    assert shop.generations() == before


def test_validate_names_the_list_that_erases_every_row(shop: Shop) -> None:
    shop.put("log.csv", [*shop.rows("log.csv")[:1], *(["u8", "i01", "5", "view", "1"],) * 4])
    lists(shop, users=["u8"])
    done = shop.validate()
    assert done.code == 2
    assert "interactions: all 4 rows are erased. Check erase.users." in done.message


def test_validate_counts_the_listed_keys_that_occur(shop: Shop) -> None:
    """An item is gone from the catalogue, but not from the log; u99 and Pear are nowhere."""
    shop.put("items.csv", [row for row in shop.rows("items.csv") if row[0] != "i11"])
    gone = {
        "users": ["u3", " u7", "u7", "u99"],
        "items": ["i05", "i11"],
        "brand": ["Plum", "Pear", "Lime"],
    }
    lists(shop, **gone)
    done = shop.validate("--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["erase"] == [
        {"list": "erase.users", "listed": 3, "met": 2},
        {"list": "erase.items", "listed": 2, "met": 2},
        {"list": "erase.values.brand", "listed": 3, "met": 2},
    ]
    shop.spec["items"]["features"].pop(0)
    del shop.spec["erase"]["values"]
    shop.put("gone_items.csv", [["item_id"], *([f"x{k}"] for k in range(1200))])
    done = shop.validate()
    assert "erase.items: the samples contain 0 of 1,200 listed\n" in done.out


def refreshed(shop: Shop) -> Path:
    """Refresh the latest generation of the shop."""
    text = yaml.safe_dump(shop.spec)
    config = BuildConfig(
        parse_spec(text), text, str(shop.input), str(shop.output), base=str(shop.output)
    )
    return Path(build(config).path)


def vocabulary(generation: Path, name: str) -> dict[int, tuple[str | None, int, str]]:
    """The rows of a vocabulary by id."""
    table = pq.read_table(next(generation.glob(f"vocabularies/{name}-*.parquet")))
    return {r["id"]: (r["value"], r["count"], r["status"]) for r in table.to_pylist()}


def test_a_refresh_erases_what_its_parent_knows(shop: Shop) -> None:
    parent = shop.output / "generations" / shop.latest()
    old = {name: vocabulary(parent, name) for name in ("item", "brand")}
    ids = {value: i for rows in old.values() for i, (value, _, _) in rows.items()}
    gone = {"item": GONE["items"], "brand": GONE["brand"]}
    lists(shop, **GONE)
    first = refreshed(shop)
    for name, texts in gone.items():
        got = vocabulary(first, name)
        assert got.keys() == old[name].keys()
        for i, (value, _, _) in old[name].items():
            assert got[i][0] == (None if value in texts else value)
            assert (got[i][1:] == (0, "erased")) == (value in texts)
    said = texts_in(first)
    assert not [t for texts in GONE.values() for t in texts if t in said]
    assert not (first / "retired").exists()
    counts = json.loads((first / "manifest.json").read_text())["counts"]["items"]
    assert (counts["erased"], counts["retired"]) == (2, 0)

    del shop.spec["erase"]  # what occurs again unlisted is new; what was erased stays so
    second = refreshed(shop)
    for name, texts in gone.items():
        before, after = vocabulary(first, name), vocabulary(second, name)
        added = sorted(after.keys() - before.keys())
        assert added == list(range(max(before) + 1, max(before) + 1 + len(texts)))
        assert sorted(str(after[i][0]) for i in added) == sorted(texts)
        assert all(after[ids[t]] == (None, 0, "erased") for t in texts)
