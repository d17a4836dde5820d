import pytest

from heterrec_schemas.documents import parse_json, parse_yaml
from heterrec_schemas.errors import CallError, SpecError
from heterrec_schemas.feature_spec import parse_spec

DEEP = "[" * 100_000


@pytest.mark.parametrize("data", ["", "{", b"\xff", DEEP, "[" * 100_000 + "]" * 100_000])
def test_what_is_no_json(data: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(data)


@pytest.mark.parametrize(
    "data",
    ["a: [", b"\xff", DEEP, "a: 2020-99-99", "a: !!timestamp x", "a: !!int ''", "a: !!python/x y"],
)
def test_what_is_no_yaml(data: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_yaml(data)


def test_the_reason_is_said() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)
    with pytest.raises(SpecError, match="spec is not YAML: it is nested too deeply"):
        parse_spec(DEEP)


def test_values() -> None:
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}
    assert parse_yaml(b"a: [1, ~]") == {"a": [1, None]}
    assert parse_yaml(b"a: [0, -1, 1_000, 0x10, '010', 0.10]") == {
        "a": [0, -1, 1000, 16, "010", 0.1]
    }


@pytest.mark.parametrize(("text", "number"), [("010", 8), ("-007", -7), ("1:30", 90)])
def test_numbers_that_yaml_reads_as_others_are_refused(text: str, number: int) -> None:
    with pytest.raises(CallError, match=f"line 2: YAML reads {text} as the number {number}"):
        parse_yaml(f"a: 1\nb: {text}\n")
