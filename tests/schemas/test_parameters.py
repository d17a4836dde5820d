"""Parameters of a spec: given with the call or in the spec, safe inside expressions and paths."""

from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec import parse_spec, with_parameters
from heterrec_schemas.feature_spec.parameters import filled

TEXT = """# a comment
version: 1
items: {source: {path: items.csv}}
interactions:
  source: {path: log, where: "dt >= '{from}'"}
"""


def where(text: str, **values: object) -> str:
    data = {"interactions": {"source": {"path": "x", "where": text}}, "parameters": values}
    return str(filled(data, "spec")["interactions"]["source"]["where"])


def path(text: Any, **values: object) -> Any:
    data = {"interactions": {"source": {"path": text}}, "parameters": values}
    return filled(data, "spec")["interactions"]["source"]["path"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_a_value_in_quotes_is_one_text_whatever_it_is(value: str) -> None:
    text = where("a = 'x{v}y' AND b = 1", v=value)
    frame = pl.DataFrame({"a": [f"x{value}y", "other"], "b": [1, 1]})
    assert frame.select(pl.sql_expr(text)).to_series().to_list() == [True, False]


@pytest.mark.parametrize("value", ["0 OR 1=1", "x", "", "1e3", "-- ", "1;", "0x1", "\u0661"])
def test_outside_of_quotes_a_value_is_a_number(value: str) -> None:
    assert where("a > {v}", v="-1.5") == "a > -1.5"
    assert where("a > {v}", v=3) == "a > 3"
    with pytest.raises(SpecError, match=r"interactions\.source\.where: the value of \{v\} is no"):
        where("a > {v}", v=value)
    with pytest.raises(SpecError, match="no number"):
        where('"{v}" > 3', v="a")


def test_a_value_is_a_part_of_a_path() -> None:
    assert path("log/dt={v}/*", v="2026-01-01") == "log/dt=2026-01-01/*"
    assert path(["{v}", "{a,b}", "{{v}}"], v="x") == ["x", "{a,b}", "{v}"]
    for value in ("*", "a?", "[a]", "{x,y}", "../up", "", ".."):
        with pytest.raises(SpecError, match="no part of a path"):
            path("log/{v}", v=value)


def test_parameters_without_a_value_and_without_a_use_are_refused() -> None:
    with pytest.raises(SpecError, match=r"\{from\} has no value.*--param from=VALUE"):
        where("a > '{from}'")
    with pytest.raises(
        SpecError, match=r"no source uses the parameter 'form'.*Did you mean 'from'"
    ):
        where("a > '{from}'", **{"from": "1", "form": "2"})
    with pytest.raises(SpecError, match="expected a text or a number"):
        where("a > '{v}'", v=["x"])


@pytest.mark.parametrize(
    "text",
    [TEXT, TEXT + "parameters: {from: 2025-01-01, to: x}\n", "{version: 1, a: [b]}", TEXT + "..."],
)
def test_the_text_of_a_spec_keeps_the_values(text: str) -> None:
    made = with_parameters(text, {"from": "it's 2026-01-01: ü"})
    before, after = yaml.safe_load(text), yaml.safe_load(made)
    assert after.pop("parameters") == before.pop("parameters", {}) | {"from": "it's 2026-01-01: ü"}
    assert after == before
    assert with_parameters(text, {}) == text
    assert made == with_parameters(made, {"from": "it's 2026-01-01: ü"})


def test_a_text_that_is_no_spec_is_left_to_the_parser() -> None:
    for text in ("{", "[1]", "", "a: 1\na: 2: 3"):
        assert with_parameters(text, {"a": "b"}) == text
    with pytest.raises(SpecError):
        parse_spec("[1]")
