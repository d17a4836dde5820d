"""Orders as shops export them, in days and with lines: the same generation as from tables prepared by hand."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from heterrec_pipeline.building import BuildConfig, BuildResult, build
from heterrec_pipeline.checking.validate import validate
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import parse_spec, with_parameters
from heterrec_schemas.generation.find_generation import find_generation
from heterrec_schemas.generation.verify import read_manifest, read_spec

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
SPEC: dict[str, Any] = {
    "version": 1,
    "name": "orders",
    "items": {
        "source": {
            "path": "items.csv",
            "columns": {"price": "CAST(REPLACE(price, '$', '') AS DOUBLE)"},
            "where": "active = 'yes'",
        },
        "key": "sku",
        "features": [
            {"name": "brand", "kind": "categorical", "column": "brand"},
            {"name": "price", "kind": "numeric", "column": "price", "bins": 4},
        ],
        "catalogue_vocabulary": {"oov_buckets": 1},
    },
    "interactions": {
        "source": {
            "path": "orders",
            "unnest": "lines",
            "columns": {"kind": "CASE WHEN \"lines.quantity\" > 2 THEN 'bulk' ELSE 'single' END"},
            "where": "dt >= '{from}' AND \"lines.quantity\" > 0",
        },
        "user": "customer.id",
        "item": "lines.sku",
        "timestamp": {"column": "time", "unit": "s"},
        "behaviour": {"column": "kind", "values": ["single", "bulk"]},
        "unknown_items": "oov",
    },
    "sequences": {"max_length": 20},
    "split": {"method": "leave_one_out"},
    "limits": {"max_reject_ratio": 0.2},
}
PLAIN: dict[str, Any] = {
    "version": 1,
    "name": "plain",
    "items": {"source": {"path": "items.csv"}, "key": "item"},
    "interactions": {
        "source": {"path": "log"},
        "user": "user",
        "item": "item",
        "timestamp": {"column": "time", "unit": "s"},
    },
    "sequences": {"max_length": 20},
    "split": {"method": "leave_one_out"},
}
"""A log and its items, without features."""
PREPARED = {
    "items": {"source": {"path": "items.parquet"}},
    "interactions": {
        "source": {"path": "lines.parquet"},
        "user": "user",
        "item": "sku",
    },
}


def orders() -> list[dict[str, Any]]:
    return [
        {
            "dt": DAYS[k % 3],
            "customer": {"id": k % 7},
            "time": 1_767_225_600 + 1000 * k,
            "lines": [{"sku": f"s{(k + n) % 9}", "quantity": (k + n) % 4} for n in range(k % 3)],
        }
        for k in range(120)
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("orders")
    skus = [
        {
            "sku": f"s{k}",
            "brand": f"b{k % 3}",
            "price": "N/A" if k == 3 else f"${k}.5",
            "active": "no" if k == 8 else "yes",
        }
        for k in range(9)
    ]
    pl.DataFrame(skus).write_csv(base / "items.csv")
    for k, day in enumerate(DAYS):
        folder = base / f"orders/dt={day}"
        folder.mkdir(parents=True)
        rows = [{c: v for c, v in row.items() if c != "dt"} for row in orders() if row["dt"] == day]
        (folder / "_SUCCESS").touch()
        if k == 1:
            pl.DataFrame(rows).write_parquet(folder / "part-0.parquet", row_group_size=7)
        else:
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / "part-0.jsonl").write_text("not JSON\n" if k == 0 else text)
    by_hand = pl.DataFrame(orders()).filter(pl.col("dt") >= DAYS[1]).explode("lines")
    by_hand = by_hand.drop_nulls("lines").select(
        pl.col("customer").struct.field("id").alias("user"),
        pl.col("lines").struct.field("sku"),
        pl.col("lines").struct.field("quantity"),
        "time",
    )
    by_hand = by_hand.filter(pl.col("quantity") > 0).with_columns(
        kind=pl.when(pl.col("quantity") > 2).then(pl.lit("bulk")).otherwise(pl.lit("single"))
    )
    by_hand.write_parquet(base / "lines.parquet")
    prepared = pl.DataFrame(skus).filter((pl.col("active") == "yes") & (pl.col("price") != "N/A"))
    prepared.with_columns(pl.col("price").str.strip_prefix("$").cast(pl.Float64)).write_parquet(
        base / "items.parquet"
    )
    return base


def built(input: Path, output: Path, spec: dict[str, Any], **more: Any) -> BuildResult:
    params = more.pop("params", {"from": DAYS[1]})
    text = with_parameters(yaml.safe_dump(spec), params)
    return build(BuildConfig(parse_spec(text), text, str(input), str(output), workers=1, **more))


def test_the_same_generation_as_from_prepared_tables(base: Path, tmp_path: Path) -> None:
    made = built(base, tmp_path / "out", SPEC)
    plain = {**SPEC, **{k: SPEC[k] | v for k, v in PREPARED.items()}}
    by_hand = built(base, tmp_path / "by-hand", plain, params={})
    assert made.manifest.content_sha256 == by_hand.manifest.content_sha256
    log, prepared = made.manifest.counts.interactions, by_hand.manifest.counts.interactions
    lines = sum(len(row["lines"]) for row in orders() if row["dt"] >= DAYS[1])
    assert (log.read, log.filtered) == (lines, lines - prepared.read)
    assert log.kept == prepared.kept
    items = made.manifest.counts.items
    assert (items.read, items.kept, items.rejected, items.filtered) == (9, 7, 1, 1)
    assert made.manifest.rejects == {"expression_failed": 1}
    rejects = pl.read_parquet(Path(made.path) / "rejects/*.parquet")
    assert rejects.rows() == [("items", "items.csv", 3, "price", "expression_failed", "N/A")]
    names = [entry.path for entry in made.manifest.inputs]
    assert names == [
        "items.csv",
        f"orders/dt={DAYS[1]}/part-0.parquet",
        f"orders/dt={DAYS[2]}/part-0.jsonl",
    ]

    # The copy of the spec in the generation has the value of the parameter.
    folder = find_generation(made.path)
    spec = read_spec(folder, read_manifest(folder))
    assert spec.parameters == {"from": DAYS[1]}
    assert f"dt >= '{DAYS[1]}'" in str(spec.interactions.source.where)

    # A refresh takes over what was read by the same expressions, with the counts of filtered rows; others read again.
    same = built(base, tmp_path / "out", SPEC, base=made.path, publish=False)
    assert same.manifest.content_sha256 == made.manifest.content_sha256
    assert same.manifest.counts == made.manifest.counts
    assert same.reuse is not None
    assert (same.reuse["files"], same.reuse["of_files"]) == (3, 3)
    later = built(
        base, tmp_path / "out", SPEC, base=made.path, publish=False, params={"from": DAYS[2]}
    )
    assert later.reuse is not None
    assert (later.reuse["files"], later.reuse["why"]) == (
        1,
        {"interactions: read in another way": 1},
    )
    assert later.manifest.counts.interactions.read < log.read


def test_validate_reports_every_faulty_expression_and_samples_what_is_left(base: Path) -> None:
    found = validate(with_parameters(yaml.safe_dump(SPEC), {"from": DAYS[1]}), str(base))
    assert found.mistakes == []
    samples = {s.table: (s.rows, s.filtered, s.rejected) for s in found.samples}
    assert samples["items"] == (8, 1, 1)
    assert samples["interactions"][1] > 0
    faulty = {
        **SPEC,
        "users": {"source": {"path": "items.csv", "where": "skku = 's1'"}, "key": "sku"},
    }
    faulty["interactions"] = {**SPEC["interactions"], "user": "customer.idd"}
    found = validate(with_parameters(yaml.safe_dump(faulty), {"from": DAYS[1]}), str(base))
    assert any(
        m.startswith("users.source.where: there is no column 'skku'") for m in found.mistakes
    )
    assert any("customer.idd" in m and "customer.id" in m for m in found.mistakes)


def test_a_file_that_moves_to_another_partition_is_read_again(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for day in DAYS:
        (folder / f"log/dt={day}").mkdir(parents=True)
    rows = "".join(f"u{k % 3},i{k % 4},{k}\n" for k in range(20))
    (folder / f"log/dt={DAYS[0]}/a.csv").write_text("user,item,time\n" + rows)
    (folder / "items.csv").write_text("item\n" + "".join(f"i{k}\n" for k in range(4)))
    behaviour = {"column": "dt", "values": list(DAYS)}
    spec = {**PLAIN, "interactions": {**PLAIN["interactions"], "behaviour": behaviour}}
    first = built(folder, tmp_path / "out", spec, params={})
    (folder / f"log/dt={DAYS[0]}/a.csv").rename(folder / f"log/dt={DAYS[1]}/a.csv")
    moved = built(folder, tmp_path / "out", spec, params={}, base=first.path)
    assert moved.reuse is not None
    assert moved.reuse["why"] == {"interactions: in another partition": 1}
    sequences = pl.read_parquet(Path(moved.path) / "sequences/latest-*.parquet")
    assert set(sequences["behaviour"].explode()) == {2 + 1}


@pytest.fixture
def shops(tmp_path: Path) -> Path:
    base = tmp_path / "shops"
    for k, name in enumerate(["shop=x/a.csv", "shop=y/b.parquet", "c.csv", "d.parquet", "e.jsonl"]):
        path = base / "log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = pl.DataFrame(
            [{"user": f"u{n % 3}", "item": f"i{n % 4}", "time": 100 * k + n} for n in range(12)]
        )
        if path.suffix == ".csv":
            rows.write_csv(path)
        elif path.suffix == ".parquet":
            rows.write_parquet(path)
        else:
            rows.write_ndjson(path)
    (base / "items.csv").write_text("item\n" + "".join(f"i{k}\n" for k in range(4)))
    return base


@pytest.mark.parametrize(
    ("where", "read", "kept"),
    [
        ("shop IS NULL", 36, 36),
        ("shop IS NULL AND time >= '300'", 36, 24),
        ("COALESCE(shop, 'none') IN ('none', 'x')", 48, 48),
        ("shop = 'x' OR shop IS NULL", 48, 48),
        ("shop IS NOT NULL", 60, 24),
    ],
)
def test_a_column_of_folders_is_null_in_files_outside_of_them(
    shops: Path, tmp_path: Path, where: str, read: int, kept: int
) -> None:
    log = PLAIN["interactions"]
    columns = {"time": "CAST(time AS VARCHAR)"}
    source = {"path": "log", "where": where, "columns": columns}
    spec = {**PLAIN, "interactions": {**log, "source": source}}
    counts = built(shops, tmp_path / "out", spec, params={}).manifest.counts.interactions
    assert (counts.read, counts.kept, counts.filtered) == (read, kept, read - kept)


def test_a_column_of_folders_that_no_file_to_read_has_may_not_be_required(shops: Path) -> None:
    def mistakes(where: str, **log: Any) -> list[str]:
        source = {"path": ["log/c.csv", "log/shop=x/*"], "where": where}
        spec = {**PLAIN, "interactions": {**PLAIN["interactions"], "source": source, **log}}
        return validate(yaml.safe_dump(spec), str(shops)).mistakes

    behaviour = {"column": "shop", "values": ["x"]}
    (text,) = mistakes("shop IS NULL", behaviour=behaviour)
    assert text.startswith("interactions: log/c.csv has no column 'shop'")
    (text,) = mistakes("shpo IS NULL")
    assert text.startswith("interactions.source.where: there is no column 'shpo'. Did you mean")


NO_LOG = {"path": "log/*.csv", "where": "item = 'none'"}
NO_ITEM = {"path": "items.csv", "where": "item = 'none'"}
NOTHING = (
    "{0}: the filter left nothing of {1} rows: got {1} filtered, expected rows that the spec does not leave out. Check "
    "{0}.source.where: \"item = 'none'\"."
)


@pytest.mark.parametrize(
    ("items", "log", "words"),
    [
        ({}, NO_LOG, NOTHING.format("interactions", 12)),
        ({"source": NO_ITEM}, {"path": "log/*.csv"}, NOTHING.format("items", 4)),
        (
            {
                "source": "interactions",
                "features": [{"name": "user", "kind": "categorical", "column": "user"}],
            },
            NO_LOG,
            NOTHING.format("interactions", 12),
        ),
    ],
)
def test_a_table_of_which_the_filter_leaves_nothing(
    shops: Path, tmp_path: Path, items: dict[str, Any], log: dict[str, str], words: str
) -> None:
    spec = {**PLAIN, "items": PLAIN["items"] | items}
    spec["interactions"] = {**PLAIN["interactions"], "source": log}
    assert validate(yaml.safe_dump(spec), str(shops)).mistakes == [words]
    with pytest.raises(HeterrecError) as raised:
        built(shops, tmp_path / "out", spec, params={})
    assert raised.value.message == words


def test_a_new_file_of_other_types_changes_nothing_that_the_others_give(
    base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    (folder / "log").mkdir(parents=True)
    keys = [17, 18, 2**53 + 1]
    pl.DataFrame({"item": [f"i{k}" for k in (*keys, "19.0")]}).write_csv(folder / "items.csv")
    rows = [{"user": k % 3, "item": keys[k % 3], "time": k} for k in range(20)]
    pl.DataFrame(rows).write_parquet(folder / "log/a.parquet")
    later = [row | {"time": row["time"] + 100} for row in rows]
    (folder / "log/b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in later))
    source = {"path": "log", "columns": {"item": "'i' || CAST(item AS VARCHAR)"}}
    log = {**PLAIN["interactions"], "source": source}
    spec = {**PLAIN, "interactions": log, "sequences": {"max_length": 99}}
    first = built(folder, tmp_path / "out", spec, params={})
    new = [{"user": 9, "item": 19.0, "time": k} for k in range(9)]
    pl.DataFrame(new).write_parquet(folder / "log/c.parquet")
    later = [row | {"time": row["time"] + 100} for row in new]
    (folder / "log/d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in later))
    grown = built(folder, tmp_path / "out", spec, params={}, base=first.path)
    assert grown.reuse is not None
    assert grown.reuse["files"] == 3, "the items, and the old files of the log"
    assert grown.manifest.counts.interactions.kept == 2 * (20 + 9)
    before, after = (
        pl.read_parquet(Path(run.path) / "sequences/latest-*.parquet").sort("user_id")
        for run in (first, grown)
    )
    assert after.filter(pl.col("user_id") != 9).equals(before)


def test_nothing_is_left_of_a_log(base: Path, tmp_path: Path) -> None:
    spec = {**SPEC, "interactions": {**SPEC["interactions"]}}
    source = {**SPEC["interactions"]["source"], "where": '"lines.quantity" > 100'}
    source["path"] = f"orders/dt={DAYS[1]}"
    spec["interactions"]["source"] = source
    with pytest.raises(HeterrecError, match="filtered"):
        built(base, tmp_path / "out", spec, params={})
