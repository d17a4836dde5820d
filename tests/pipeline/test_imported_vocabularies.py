"""The corner shop with the vocabulary of another system: its values keep their order, in every way to build and refresh."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from corner_shop import Shop, heterrec

from heterrec_pipeline import sizing
from heterrec_pipeline.building import BuildConfig, build
from heterrec_pipeline.checking.validate import validate
from heterrec_pipeline.planning.plan import PlanConfig, plan
from heterrec_schemas import open_generation
from heterrec_schemas.errors import HeterrecError, SpecError
from heterrec_schemas.feature_spec import parse_spec

BRANDS = ["Never", "Plum", "Kiwi", "Gone"]
IMPORT = {"path": "brands.txt", "format": "tensorflow_transform"}


@pytest.fixture
def importing(tmp_path: Path) -> Shop:
    """A shop without a generation, whose brands begin with those of another system."""
    shop = Shop(tmp_path / "shop")
    shop.write()
    (shop.input / "brands.txt").write_text("\n".join(BRANDS) + "\n")
    shop.feature("brand").update(vocabulary=dict(IMPORT), oov_buckets=2)
    return shop


def config_of(shop: Shop, **more: Any) -> BuildConfig:
    shop.write_spec()
    text = shop.spec_path.read_text()
    return BuildConfig(parse_spec(text), text, str(shop.input), str(shop.output), workers=1, **more)


def refresh(shop: Shop, **more: Any) -> Any:
    return build(config_of(shop, base=str(shop.output), **more))


def brands(shop: Shop, stem: str = "brand") -> dict[str | None, tuple[int, int, str]]:
    """Id, count and status by value in the latest generation."""
    rows = open_generation(shop.output).vocabulary(stem).to_pylist()
    return {r["value"]: (r["id"], r["count"], r["status"]) for r in rows}


def refusal(shop: Shop, **more: Any) -> str:
    with pytest.raises(HeterrecError) as caught:
        build(config_of(shop, **more))
    assert caught.value.exit_code == 2
    return caught.value.message


def test_values_of_the_file_take_the_first_ids_in_its_order(importing: Shop) -> None:
    shop = importing
    shop.feature("brand")["min_count"] = 7  # rules only what the file does not have
    shop.add("items.csv", [[f"i{k}", "Fig", "5"] for k in range(30, 37)] + [["i40", "Rare", "5"]])
    done = shop.build()
    assert done.code == 0, done.err
    assert brands(shop) == {
        "Never": (4, 0, "retired"),
        "Plum": (5, 6, "active"),
        "Kiwi": (6, 7, "active"),
        "Gone": (7, 0, "retired"),
        "Fig": (8, 7, "active"),
        "Lime": (9, 7, "active"),
    }
    generation = open_generation(shop.output, verify="hashes")
    tokens = dict(
        zip(*(generation.items()[c].to_pylist() for c in ("item_id", "brand")), strict=True)
    )
    assert [tokens[k] for k in ("i00", "i01", "i02", "i30")] == [6, 9, 5, 8]
    assert tokens["i40"] in (2, 3)
    entry = next(f for f in generation.manifest.features if f.name == "brand")
    assert (entry.vocabulary_size, entry.oov, entry.missing) == (10, 1, 0)
    assert "brands.txt" in [i.path for i in generation.manifest.inputs]


def test_the_same_bytes_with_two_workers_and_by_bucket(
    importing: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = importing
    shop.feature("brand").update(shards=3, max_size=6)
    contents = {build(config_of(shop)).manifest.content_sha256}
    done = shop.build("--workers", "2")
    assert done.code == 0, done.err
    contents.add(shop.manifest()["content_sha256"])
    monkeypatch.setattr(sizing, "VALUES_PER_BUCKET", 1)
    shop.spec["limits"]["broadcast_values"] = 0
    contents.add(build(config_of(shop)).manifest.content_sha256)
    assert len(contents) == 1
    assert brands(shop)["Lime"] == (8, 7, "active")
    generation = open_generation(shop.output)
    assert len(generation.vocabulary_shards("brand")) == 3


def test_max_size_limits_what_is_added(importing: Shop) -> None:
    importing.feature("brand")["max_size"] = 3
    build(config_of(importing))
    assert list(brands(importing)) == BRANDS


def test_a_refresh_keeps_the_ids_and_does_not_read_the_file_again(importing: Shop) -> None:
    shop = importing
    first = build(config_of(shop)).manifest
    before = brands(shop)
    (shop.input / "brands.txt").unlink()
    same = refresh(shop)
    assert same.manifest.content_sha256 == first.content_sha256
    assert [i.path for i in same.manifest.inputs if i.path == "brands.txt"] == []
    assert refresh(shop, skip_unchanged=True).skipped
    shop.add("items.csv", [["i90", "Gone", "5"], ["i91", "Fig", "5"]])
    refresh(shop)
    after = brands(shop)
    assert {k: v[0] for k, v in after.items() if k in before} == {
        k: v[0] for k, v in before.items()
    }
    assert after["Gone"] == (7, 1, "active")
    assert after["Fig"] == (9, 1, "active")
    (shop.input / "brands.txt").write_text("Fig\nLime\n")  # the parent's vocabulary wins
    again = refresh(shop).manifest
    assert brands(shop) == after
    assert "brands.txt" not in [i.path for i in again.inputs]


def test_a_refresh_that_would_repeat_the_build_is_skipped(importing: Shop) -> None:
    build(config_of(importing))
    assert refresh(importing, skip_unchanged=True).skipped
    (importing.input / "brands.txt").write_text("Fig\n")
    assert not refresh(importing, skip_unchanged=True).skipped


@pytest.mark.parametrize("change", [None, {"path": "other.txt"}, {"format": "nvtabular"}])
def test_a_refresh_refuses_another_vocabulary(
    importing: Shop, change: dict[str, str] | None
) -> None:
    build(config_of(importing))
    importing.feature("brand")["vocabulary"] = None if change is None else IMPORT | change
    message = refusal(importing, base=str(importing.output))
    assert "feature 'brand': vocabulary is not the parent's: got" in message
    assert "'path': 'brands.txt'" in message
    assert "Give the feature another name." in message


def test_a_refresh_refuses_a_vocabulary_for_ids_that_began_without(shop: Shop) -> None:
    (shop.input / "brands.txt").write_text("Fig\n")
    shop.feature("brand")["vocabulary"] = IMPORT
    assert "vocabulary is not the parent's: got {" in refusal(shop, base=str(shop.output))


def test_a_feature_that_begins_in_a_refresh_imports(shop: Shop) -> None:
    (shop.input / "brands.txt").write_text("\n".join(BRANDS))
    feature = {"name": "make", "kind": "categorical", "column": "brand", "vocabulary": IMPORT}
    shop.spec["items"]["features"].append(feature)
    made = refresh(shop)
    assert {k: v[0] for k, v in brands(shop, "make").items()} == {
        "Never": 2, "Plum": 3, "Kiwi": 4, "Gone": 5, "Lime": 6,
    }  # fmt: skip
    assert "brands.txt" in [i.path for i in made.manifest.inputs]


def test_the_state_of_the_build_is_used_by_a_refresh(importing: Shop) -> None:
    """The file decides nothing about what is found in the tables."""
    tables = len(build(config_of(importing)).manifest.inputs) - 1
    found = refresh(importing).reuse
    assert (found["files"], found["of_files"]) == (tables, tables)


def test_erased_values_of_the_file_keep_their_ids(importing: Shop) -> None:
    shop = importing
    shop.put("gone.csv", [["brand"], ["Plum"], ["Never"]])
    listed = {"source": {"path": "gone.csv"}, "key": "brand"}
    shop.spec["erase"] = {"values": {"brand": listed}}
    build(config_of(shop))
    rows = open_generation(shop.output).vocabulary("brand").to_pylist()
    assert [(r["id"], r["value"], r["status"]) for r in rows] == [
        (4, None, "erased"),
        (5, None, "erased"),
        (6, "Kiwi", "active"),
        (7, "Gone", "retired"),
        (8, "Lime", "active"),
    ]


def test_integers_of_the_file_and_the_data_are_integers(importing: Shop) -> None:
    shop = importing
    rows = [[*r[:2], str(n % 4)] for n, r in enumerate(shop.rows("items.csv")[1:])]
    shop.put("items.csv", [["item_id", "brand", "shelf"], *rows])
    shop.as_jsonl("items", shelf=int)
    shop.spec["items"]["features"][1] = {"name": "shelf", "kind": "categorical", "column": "shelf"}
    (shop.input / "shelves.txt").write_text("3\n7\n1")
    shop.feature("shelf")["vocabulary"] = IMPORT | {"path": "shelves.txt"}
    build(config_of(shop))
    assert list(brands(shop, "shelf")) == [3, 7, 1, 0, 2]
    (shop.input / "shelves.txt").write_text("3\nx")
    build(config_of(shop))
    assert list(brands(shop, "shelf")) == ["3", "x", "0", "1", "2"]


# --- what is refused and told ----------------------------------------------------------------


def test_a_file_that_is_absent_or_wrong_is_refused_before_the_build(importing: Shop) -> None:
    (importing.input / "brands.txt").write_text("a\nb\na\n")
    done = importing.build()
    assert done.code == 2
    assert "feature 'brand': the vocabulary brands.txt has repeated values" in done.err
    (importing.input / "brands.txt").unlink()
    for done in (importing.build(), importing.validate()):
        assert done.code == 2
        assert "feature 'brand': there is no vocabulary file" in done.err
    assert importing.generations() == []


def test_errors_of_files_are_reported_with_those_of_columns(importing: Shop) -> None:
    importing.feature("price")["column"] = "cost"
    (importing.input / "brands.txt").write_text("")
    found = validate(yaml.safe_dump(importing.spec), str(importing.input)).mistakes
    assert len(found) == 2
    assert "no column 'cost'" in found[0]
    assert "brands.txt has no value" in found[1]


def test_a_column_without_any_value_is_refused_as_in_any_build(importing: Shop) -> None:
    rows = [[k, "", p] for k, _, p in importing.rows("items.csv")[1:]]
    importing.put("items.csv", [["item_id", "brand", "price"], *rows])
    assert refusal(importing).startswith("feature 'brand': every value of column 'brand' in items")


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ("brands.txt", "vocabulary"),
        ({"path": "brands.txt"}, "format"),
        ({"path": "", "format": "nvtabular"}, "path"),
        (IMPORT | {"format": "nvtabula"}, "nvtabular"),
        (IMPORT | {"column": "brand"}, "column"),
    ],
)
def test_specs_that_are_refused(shop: Shop, vocabulary: Any, message: str) -> None:
    shop.feature("brand")["vocabulary"] = vocabulary
    with pytest.raises(SpecError, match=message):
        parse_spec(yaml.safe_dump(shop.spec))


@pytest.mark.parametrize("name", ["price", "look"])
def test_other_kinds_have_no_vocabulary(shop: Shop, name: str) -> None:
    shop.feature(name)["vocabulary"] = IMPORT
    with pytest.raises(SpecError, match="vocabulary"):
        parse_spec(yaml.safe_dump(shop.spec))


def test_validate_compares_the_values(importing: Shop) -> None:
    done = importing.validate()
    assert done.code == 0, done.err
    assert "Values against vocabulary files" in done.out
    found = json.loads(importing.validate("--json").out)
    counts = {"rows": 4, "known": 2, "new": 1, "retired": 2, "room": None}
    assert found["vocabularies"] == [{"name": "brand", **counts}]
    assert found["warnings"] == []
    build(config_of(importing))
    (importing.input / "brands.txt").unlink()
    found = json.loads(importing.validate("--json", "--base", importing.output).out)
    assert found["valid"]
    assert "vocabularies" not in found
    rows = {v["name"]: (v["rows"], v["known"]) for v in found["base"]["vocabularies"]}
    assert rows["brand"] == (5, 3)


def test_a_vocabulary_without_a_value_of_the_data_is_a_warning(importing: Shop) -> None:
    (importing.input / "brands.txt").write_text("kiwi\nlime\nplum\n")
    warning = "feature 'brand': none of the 3 values of its vocabulary file occurs in the rows "
    text = yaml.safe_dump(importing.spec)
    for warnings in (
        validate(text, str(importing.input)).warnings,
        build(config_of(importing)).warnings,
        plan(PlanConfig(parse_spec(text), text, str(importing.input))).warnings,
    ):
        assert [w for w in warnings if w.startswith(warning)]


def test_plan_counts_the_values_of_the_file(importing: Shop) -> None:
    (importing.input / "brands.txt").write_text(
        "".join(f"brand {k}\n" for k in range(1000)) + "Kiwi"
    )
    text = yaml.safe_dump(importing.spec)
    config = PlanConfig(parse_spec(text), text, str(importing.input))
    figures = {f.stem: f for f in plan(config).figures.features}
    assert figures["brand"].ids.value == 1003
    assert figures["brand"].ids.exact
    build(config_of(importing))
    (importing.input / "brands.txt").unlink()
    found = plan(
        PlanConfig(parse_spec(text), text, str(importing.input), base=str(importing.output))
    )
    assert found.base is not None


def test_plan_of_a_sample_counts_the_values_of_the_file(importing: Shop) -> None:
    shop = importing
    shop.put("items.csv", [["item_id", "brand", "price"]])
    shop.add("items.csv", [[f"i{k:05d}", f"b{k % 300}", "5"] for k in range(30_000)])
    shop.put("log.csv", [["user_id", "item_id", "time", "event", "event_id"]])
    rows = [
        [f"u{k % 50}", f"i{k * 7 % 30_000:05d}", str(1_700_000_000 + k), "buy", str(k)]
        for k in range(30_000)
    ]
    shop.add("log.csv", rows)
    folder = shop.input / "brands"
    folder.mkdir()
    values = [*(f"b{k}" for k in range(100)), *(f"never {k}" for k in range(400))]
    (folder / "v.txt").write_text("\n".join(values))
    shop.feature("brand")["vocabulary"]["path"] = "brands/v.txt"
    text = yaml.safe_dump(shop.spec)
    found = plan(
        PlanConfig(parse_spec(text), text, str(shop.input), sample_bytes=60_000, sample_rows=2_000)
    )
    assert not found.figures.read.whole
    ids = {f.stem: f for f in found.figures.features}["brand"].ids
    assert 500 < ids.low <= ids.value <= ids.high
    assert ids.low <= 700 <= ids.high
    assert ids.value == pytest.approx(700, rel=0.15)


def test_the_command_line_refreshes(importing: Shop) -> None:
    assert importing.build().code == 0
    shutil.move(importing.input / "brands.txt", importing.folder / "brands.txt")
    arguments = ["--spec", importing.spec_path, "--input", importing.input]
    done = heterrec("refresh", *arguments, "--base", importing.output)
    assert done.code == 0, done.err
