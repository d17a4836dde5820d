"""What `validate --base` and `plan --base` say about the input of a refresh."""

import json
import os
from typing import Any

import pytest
import yaml
from corner_shop import Shop

from heterrec_pipeline.checking import sample
from heterrec_pipeline.checking.outlook import BaseOutlook
from heterrec_pipeline.checking.validate import validate
from heterrec_pipeline.planning.plan import PlanConfig, plan
from heterrec_schemas.feature_spec import parse_spec


def validated(shop: Shop) -> BaseOutlook:
    found = validate(yaml.safe_dump(shop.spec), str(shop.input), parent=str(shop.output))
    assert found.mistakes == []
    assert found.base is not None
    return found.base


def planned(shop: Shop, **more: Any) -> BaseOutlook:
    text = yaml.safe_dump(shop.spec)
    found = plan(PlanConfig(parse_spec(text), text, str(shop.input), base=str(shop.output), **more))
    assert found.base is not None
    return found.base


def figures(base: BaseOutlook) -> dict[str, tuple[int | None, ...]]:
    return {v.name: (v.rows, v.known, v.new, v.retired, v.room) for v in base.vocabularies}


def put_items(shop: Shop, *brands: str) -> None:
    """An item of each brand, i00 and on."""
    rows = [[f"i{k:02d}", brand, "5"] for k, brand in enumerate(brands)]
    shop.put("items.csv", [["item_id", "brand", "price"], *rows])


def test_values_are_compared_with_the_parent(shop: Shop) -> None:
    """Kiwi is rare and known, Fig is rare and new; Plum is gone."""
    shop.feature("brand").update(min_count=2, max_size=4)
    put_items(shop, *["Lime"] * 15, "Kiwi", "Fig", "Pear", "Pear", *["Date"] * 4)
    found = validated(shop)
    assert figures(found) == {"item": (20, 20, 3, 0, None), "brand": (3, 2, 2, 1, 1)}
    assert found.complete
    assert planned(shop, full_scan=True) == found


def test_a_sample_tells_no_retired_values(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 5)
    shop.feature("brand")["min_count"] = 2
    put_items(shop, "Lime", "Kiwi", "Fig", "Lime", *["Plum"] * 16)
    found = validated(shop)
    assert figures(found) == {"item": (20, 5, 0, None, None), "brand": (3, 3, 1, None, None)}
    assert not found.complete


def test_files_are_compared_by_content(shop: Shop) -> None:
    base = validated(shop)
    assert (base.changed_files, base.changed_bytes, base.files) == ([], 0, 4)
    path = shop.input / "items.csv"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"Plum", b"Pear", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    shop.add("log.csv", [["u1", "i01", "1700000000", "view", "999"]])
    base = validated(shop)
    assert base.changed_files == ["items.csv", "log.csv"]
    assert base.changed_bytes == sum((shop.input / n).stat().st_size for n in base.changed_files)


def test_new_and_ended_features(shop: Shop) -> None:
    """Neither has values that the parent could know."""
    shop.feature("brand")["name"] = "make"
    assert list(figures(validated(shop))) == ["item"]


def test_nothing_is_compared_if_there_are_mistakes(shop: Shop) -> None:
    shop.feature("price")["bins"] = 9
    found = validate(yaml.safe_dump(shop.spec), str(shop.input), parent=str(shop.output))
    assert len(found.mistakes) == 1
    assert found.base is None
    assert "base" not in found.as_json()


def test_the_command_lines_print_it(shop: Shop) -> None:
    put_items(shop, *["Lime"] * 20)
    done = shop.validate("--base", shop.output)
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert ["vocabulary", "rows", "known", "new", "retired", "room"] in lines
    assert ["brand", "3", "1", "0", "2"] in lines
    assert "Not in the base: 1 of 4 input files, 240 B." in done.out
    assert "plan --full-scan" not in done.out
    done = shop.validate("--base", shop.output, "--json")
    assert json.loads(done.out)["base"] == validated(shop).as_json()
