import pytest

from heterrec_schemas.documents import (
    MAX_BYTES,
    MAX_NODES,
    parse_json,
    parse_settings,
    parse_yaml,
)
from heterrec_schemas.errors import CallError, SpecError
from heterrec_schemas.feature_spec import parse_spec

DEEP = "[" * 100_000


@pytest.mark.parametrize("data", ["", "{", b"\xff", DEEP, "[" * 100_000 + "]" * 100_000])
def test_what_is_no_json(data: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(data)


@pytest.mark.parametrize(
    "data",
    ["a: [", b"\xff", "a: !!python/x y", "a: !!str [b]", "a" * (MAX_BYTES + 1), "a: !!binary b"],
)
def test_what_is_no_yaml(data: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_yaml(data)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (DEEP, "nested more than 64 levels deep"),
        ("[" * 63 + "]" * 63, None),
        ("[" * 64 + "]" * 64, "nested more than 64 levels deep"),
        ("2020-99-99", "'2020-99-99' is no timestamp of YAML: month must be in 1..12. If it is"),
        ("!!timestamp x", "'x' is no timestamp of YAML"),
        ("!!int ''", "'' is no int of YAML"),
        ("!!bool x", "'x' is no bool of YAML"),
        ("!!map x", "'x' is no map of YAML"),
        ("9223372036854775807", None),
        ("-9223372036854775809", "the number -9223372036854775809... has more than 64 bits"),
        ("9" * 5000, "has more than 64 bits"),
        ("0x" + "F" * 20_000, "has more than 64 bits"),
        (":".join(["59"] * 3000), "has more than 64 bits"),
        (f"'{'9' * 5000}'", None),
        ('"\\0"', "the character U[+]0000"),
        ('{"\\uDC80": 1}', "the character U[+]DC80"),
        ("&a [*a]", "an alias stands for a value that contains it"),
        ("&a {b: *a}", "an alias stands for a value that contains it"),
        ("[" + "x," * MAX_NODES + "]", "more than 100,000 values"),
    ],
)
def test_values_that_are_not_what_they_look_like(value: str, words: str | None) -> None:
    text = f"a: 1\nb: {value}\n"
    if words is None:
        parse_yaml(text)
        return
    with pytest.raises(CallError, match=f"line 2: .*{words}"):
        parse_yaml(text)


def test_aliases_count_as_often_as_they_stand_there() -> None:
    ten = "".join(
        f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 10)}]\n" if k else "a0: &a0 [x]\n"
        for k in range(9)
    )
    with pytest.raises(CallError, match="line 6: more than 100,000 values"):
        parse_yaml(ten)
    few = "base: &base {b: 1}\nc: {<<: *base, d: 2}\n"
    assert parse_yaml(few) == {"base": {"b": 1}, "c": {"b": 1, "d": 2}}


def test_settings_name_their_file() -> None:
    with pytest.raises(CallError, match=r"c\.yaml is not valid YAML: "):
        parse_settings("a: [", "c.yaml")
    with pytest.raises(CallError, match=r"c\.yaml: line 1: '2020-13-01' is no timestamp"):
        parse_settings("a: 2020-13-01", "c.yaml")


def test_the_reason_is_said() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)
    with pytest.raises(SpecError, match="spec: line 1: nested more than 64 levels deep"):
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
