"""docs/my_data.md: every spec line is read, and every expression gives what the page promises."""

import copy
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.feature_spec.expressions import columns_of, parse_expression

PAGE = Path(__file__).parents[2] / "docs" / "my_data.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
PLAIN: dict[str, Any] = {
    "version": 1,
    "name": "page",
    "items": {"source": {"path": "items.csv"}, "key": "item_id", "features": []},
    "interactions": {
        "source": {"path": "log.csv"},
        "user": "user_id",
        "item": "item_id",
        "timestamp": {"column": "ts", "unit": "s"},
    },
    "sequences": {"max_length": 50},
    "split": {"method": "leave_one_out"},
}
ROW: dict[str, Any] = {
    "item_id": "3.0",
    "article_id": "108775015",
    "price": "$1,299.00",
    "genres": "['Action', 'Comedy']",
    "released": date(2026, 1, 2),  # a Friday
    "day": "44927.5",
    "rating": "4.5",
    "user_id": "bot-7",
    "lines.quantity": 2,
    "dt": "2026-01-02",
    "vector": [[0.5, 1.0]],
}
RESULTS = {
    "CAST(CAST(item_id AS DOUBLE) AS BIGINT)": 3,
    "LPAD(article_id, 10, '0')": "0108775015",
    "LOWER(REPLACE(item_id, 'sku:', ''))": "3.0",
    "CAST(item_id AS VARCHAR)": "3.0",
    "CAST(REPLACE(REPLACE(price, '$', ''), ',', '') AS DOUBLE)": 1299.0,
    "REPLACE(REPLACE(REPLACE(genres, '[', ''), ']', ''), '''', '')": "Action, Comedy",
    "EXTRACT(DOW FROM released)": 5,
    "CAST((CAST(day AS DOUBLE) - 25569) * 86400 AS BIGINT)": 1_672_574_400,
    "CAST(rating AS DOUBLE) >= 4 AND user_id NOT LIKE 'bot-%'": False,
    "dt >= '2026-01-01'": True,
    '"lines.quantity" > 0': True,
    "ARRAY_GET(vector, 1)": [0.5, 1.0],
}


def _merged(base: Any, more: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(more, dict):
        return copy.deepcopy(more)
    return base | {k: _merged(base.get(k), v) for k, v in more.items()}


def _whole(block: str) -> str:
    """The YAML of the page's lines in a spec that has nothing else."""
    lines = yaml.safe_load(block)
    spec = _merged(PLAIN, lines)
    if "format" in (lines.get("interactions") or {}).get("timestamp", {}):
        del spec["interactions"]["timestamp"]["unit"]
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)


def _expressions(block: str) -> Iterator[str]:
    spec = parse_spec(_whole(block))
    for source in (spec.items.source, spec.interactions.source):
        if not isinstance(source, str):
            yield from source.columns.values()
            yield from [source.where] if source.where else []


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_lines_are_a_part_of_a_spec(block: str) -> None:
    assert parse_spec(_whole(block))


def test_the_expressions_give_what_is_promised() -> None:
    found = {e for block in BLOCKS for e in _expressions(block)}
    tier = "CASE WHEN price < 10 THEN 'low' ELSE 'high' END"
    assert found == {*RESULTS, tier}
    for expression, result in RESULTS.items():
        row = pl.DataFrame({name: [ROW[name]] for name in columns_of(expression)})
        cells = row.select(parse_expression(expression)).to_series().to_list()
        assert cells == [result], expression
    prices = pl.DataFrame({"price": [5.0, 10.0]}).select(parse_expression(tier))
    assert prices.to_series().to_list() == ["low", "high"]
