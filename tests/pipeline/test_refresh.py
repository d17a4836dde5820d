"""Refreshes of the corner shop: no id moves, retired items stay in histories, the same bytes whatever holds the ids."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from corner_shop import START, Shop, heterrec

from heterrec_pipeline import sizing
from heterrec_pipeline.building import BuildConfig, build
from heterrec_schemas import open_generation
from heterrec_schemas.errors import GenerationError, HeterrecError, NotPublishedError
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.generation import Generation, item_in_words

GONE = ["i03", "i07", "i11"]


def config_of(shop: Shop, **more: Any) -> BuildConfig:
    """A refresh of the latest generation."""
    shop.write_spec()
    text, output = shop.spec_path.read_text(), str(shop.output)
    plain = BuildConfig(parse_spec(text), text, str(shop.input), output, workers=1, base=output)
    return replace(plain, **more)


def change(shop: Shop) -> None:
    """Three items leave, two come, a brand is new and one unused, an interaction with each new item."""
    head, *rows = shop.rows("items.csv")
    rows = [[k, "Kiwi" if b == "Plum" else b, p] for k, b, p in rows if k not in GONE]
    shop.put("items.csv", [head, *rows, ["i90", "Fig", "5"], ["a00", "Fig", ""]])
    late = str(START + 10**6)
    shop.add("log.csv", [["u1", "i90", late, "view", "900"], ["u2", "a00", late, "buy", "901"]])


class Chain(NamedTuple):
    """A build, a refresh of changed input, and a refresh in which a retired item is back."""

    shop: Shop
    first: Generation
    second: Generation
    third: Generation


@pytest.fixture(scope="module")
def chain(built_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    shop = built_shop.copy(tmp_path_factory.mktemp("chain") / "shop")
    change(shop)
    build(config_of(shop))
    shop.add("items.csv", [["i07", "Lime", "1"]])
    shop.spec["items"]["features"].append(
        {"name": "shelf", "kind": "categorical", "column": "brand", "oov_buckets": 1}
    )
    build(config_of(shop, refit=["price"]))
    roots = [shop.output / "generations" / g for g in shop.generations()]
    return Chain(shop, *(open_generation(r) for r in roots))


def rows_of(generation: Generation, stem: str) -> dict[str, tuple[int, int, str]]:
    """Id, count and status by value."""
    rows = generation.vocabulary(stem).to_pylist()
    return {r["value"]: (r["id"], r["count"], r["status"]) for r in rows}


def test_no_id_moves_and_new_ones_follow(chain: Chain) -> None:
    first, second, third = (rows_of(g, "item") for g in chain[1:])
    assert {k: v[0] for k, v in second.items() if k in first} == {k: v[0] for k, v in first.items()}
    assert [second[k] for k in GONE] == [(first[k][0], 0, "retired") for k in GONE]
    assert (second["a00"], second["i90"]) == ((22, 1, "active"), (23, 1, "active"))
    assert third["i07"] == (first["i07"][0], 1, "active")
    brands = [rows_of(g, "brand") for g in chain[1:]]
    assert brands[0]["Plum"] == (4, 6, "active")
    assert brands[1]["Plum"] == (4, 0, "retired")
    assert brands[1]["Fig"] == (5, 2, "active")
    assert rows_of(chain.third, "shelf")["Kiwi"][0] == 3  # a new vocabulary begins as in a build


def test_retired_items_stand_in_histories_and_are_no_targets(chain: Chain) -> None:
    retired = {rows_of(chain.first, "item")[k][0] for k in GONE}
    generation = chain.second
    assert set(generation.retired()["item_index"].to_pylist()) == retired
    assert not retired & set(generation.items()["item_index"].to_pylist())
    before = {r["item_index"]: r for r in chain.first.items().to_pylist()}
    assert all(before[r["item_index"]] == r for r in generation.retired().to_pylist())
    latest = generation.sequences("latest")["item_index"].to_pylist()
    assert retired & {i for row in latest for i in row}
    for split in ("validation", "test"):
        targets = generation.sequences(split)["target_item_index"].to_pylist()
        assert not retired & {i for row in targets for i in row}
    assert retired & set(generation.item_counts()["item_index"].to_pylist())
    words = item_in_words(generation, "i03")
    assert (words["status"], words["features"]["brand"]["value"]) == ("retired", "Kiwi")


def test_refitted_and_new_features_of_retired_items_are_missing(chain: Chain) -> None:
    rows = chain.third.retired().to_pylist()
    assert [r["item_id"] for r in rows] == ["i03", "i11"]
    assert {(r["price"], r["shelf"]) for r in rows} == {(1, 1)}
    assert all(r["brand"] > 1 for r in rows)


def test_the_manifest_tells_the_descent(chain: Chain) -> None:
    first, second, third = (g.manifest for g in chain[1:])
    assert (second.parent, third.parent) == (first.generation, second.generation)
    assert [(a.generation, a.content_sha256) for a in third.lineage] == [
        (m.generation, m.content_sha256) for m in (first, second)
    ]
    entries = {f.name: f for f in third.features}
    assert (entries["price"].boundary_version, entries["price"].fitted) == (2, third.generation)
    assert (entries["look"].boundary_version, entries["look"].fitted) == (1, first.generation)
    assert entries["shelf"].begun == third.generation
    assert (second.counts.items.retired, third.counts.items.retired) == (3, 2)
    frozen = [
        next(f.sha256 for f in m.files if f.path == "quantizers/look.parquet")
        for m in (first, second, third)
    ]
    assert len(set(frozen)) == 1


@pytest.fixture
def shop_of_chain(chain: Chain, tmp_path: Path) -> Shop:
    return chain.shop.copy(tmp_path / "shop")


@pytest.mark.parametrize("layout", ["referenced", "flattened"])
def test_the_same_bytes_by_bucket(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, layout: str, tmp_path: Path
) -> None:
    change(shop)
    shop.feature("brand")["max_size"] = 4
    shop.spec["output"] = {"sequence_shards": 2, "item_shards": 3, "layout": layout}
    base = str(shop.output / "generations" / shop.latest())
    small = build(config_of(shop, base=base, publish=False))
    monkeypatch.setattr(sizing, "VALUES_PER_BUCKET", 4)
    shop.spec["limits"]["broadcast_values"] = 0
    large = build(config_of(shop, base=base, publish=False))
    assert large.manifest.content_sha256 == small.manifest.content_sha256
    assert str(shop.output / "generations" / shop.latest()) == base, "neither was published"
    if layout == "flattened":
        generation = small.open()
        tables = [*generation.items().to_pylist(), *generation.retired().to_pylist()]
        brand = {r["item_index"]: r["brand"] for r in tables}
        for row in generation.sequences("latest").to_pylist():
            assert row["item_brand"] == [brand[i] for i in row["item_index"]]


def test_unchanged_input_gives_the_same_content(shop_of_chain: Shop) -> None:
    shop = shop_of_chain
    before = shop.manifest()
    same = build(config_of(shop, skip_unchanged=True))
    assert (same.skipped, same.manifest.generation) == (True, before["generation"])
    again = build(config_of(shop))
    assert again.manifest.content_sha256 == before["content_sha256"]
    assert again.manifest.parent == before["generation"]


def test_integers_become_texts_with_their_ids(shop: Shop, tmp_path: Path) -> None:
    rows = [[*r[:2], str(n % 4)] for n, r in enumerate(shop.rows("items.csv")[1:])]
    shop.spec["items"]["features"][1] = {"name": "shelf", "kind": "categorical", "column": "shelf"}
    shop.put("items.csv", [["item_id", "brand", "shelf"], *rows])
    shop.as_jsonl("items", shelf=int)
    first = build(config_of(shop, base=None)).open()
    rows.append(["i99", "Kiwi", "top"])
    shop.put("items.csv", [["item_id", "brand", "shelf"], *rows])
    shop.as_jsonl("items", shelf=lambda cell: int(cell) if cell.isdigit() else cell)
    result = build(config_of(shop))
    before, after = rows_of(first, "shelf"), rows_of(result.open(), "shelf")
    assert {str(k): v[0] for k, v in before.items()} == {
        k: v[0] for k, v in after.items() if k != "top"
    }
    assert after["top"] == (6, 1, "active")
    assert result.warnings == [
        "the values of 'shelf' were integers in the parent, and are texts from now on"
    ]


def test_dropped_retired_items_are_unknown(shop: Shop) -> None:
    change(shop)
    shop.spec["items"]["retired"] = "drop"
    done = build(config_of(shop))
    counts = done.manifest.counts
    assert counts.interactions.unknown_item == 30
    assert (counts.items.retired, len(done.open().retired())) == (3, 0)


def refusal(shop: Shop, **more: Any) -> HeterrecError:
    with pytest.raises(HeterrecError) as caught:
        build(config_of(shop, **more))
    return caught.value


def test_what_a_refresh_may_not_change_is_refused_at_once(shop: Shop) -> None:
    before = shop.state()
    shop.feature("brand")["oov_buckets"] = 3
    shop.feature("price")["bins"] = 9
    shop.spec["interactions"]["behaviour"]["values"] = ["buy", "view"]
    shop.spec["items"]["catalogue_vocabulary"] = {"oov_buckets": 2}
    error = refusal(shop, refit=["brandd", "brand", "look"])
    assert error.exit_code == 2
    said = error.message
    for part in (
        "there is no feature 'brandd'",
        "'brand' is categorical",
        "'brand': oov_buckets is not the parent's: got 3, expected 0. Give the feature another name.",
        "'price': bins is not the parent's: got 9, expected 4. Fit it anew with --refit price",
        "catalogue_vocabulary: oov_buckets is not the parent's: got 2, expected 0. Build anew.",
        "got ['buy', 'view'], expected ['view', 'buy'], then further values",
    ):
        assert part in said, part
    assert shop.state() == before


def test_a_damaged_or_absent_parent_is_refused(shop: Shop) -> None:
    path = shop.output / "generations" / shop.latest() / "boundaries/price.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    error = refusal(shop)
    assert isinstance(error, GenerationError)
    assert "boundaries/price.parquet" in error.message
    assert "Restore the file, or roll back" in error.message
    error = refusal(shop, base=str(shop.folder / "nowhere"))
    assert "There is nothing to refresh" in error.message
    (path.parents[1] / "manifest.json").unlink()
    assert "manifest.json" in refusal(shop).message


def test_latest_moves_from_the_parent_only(shop: Shop) -> None:
    first = shop.latest()
    base = str(shop.output / "generations" / first)
    second = build(config_of(shop, base=base)).manifest.generation
    assert shop.latest() == second
    with pytest.raises(NotPublishedError, match=f"names {second}, not {first}") as caught:
        build(config_of(shop, base=base))
    assert caught.value.exit_code == 1
    assert shop.latest() == second
    third = build(config_of(shop, base=base, publish=True)).manifest
    assert (shop.latest(), third.parent) == (third.generation, first)


def test_the_command_lines(shop: Shop) -> None:
    change(shop)
    shop.write_spec()
    common = ["--base", shop.output, "--spec", shop.spec_path, *shop.reading(), "--json"]
    checked = heterrec("validate", *common, "--refit", "prise")
    assert checked.code == 2
    assert "there is no feature 'prise'. Did you mean 'price'?" in checked.err
    planned = json.loads(heterrec("plan", *common, "--full-scan").out)["base"]
    figures = {v["name"]: (v["known"], v["new"], v["retired"]) for v in planned["vocabularies"]}
    assert figures == {"item": (17, 2, 3), "brand": (2, 1, 1)}
    assert planned["changed_files"] == ["items.csv", "log.csv"]
    done = heterrec("refresh", *common, "--workers", "1", "--quiet")
    assert done.code == 0, done.err
    assert json.loads(done.out)["manifest"]["counts"]["items"]["retired"] == 3
