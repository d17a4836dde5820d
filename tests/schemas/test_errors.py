import pytest
from hypothesis import given
from hypothesis import strategies as st

from heterrec_schemas import errors
from heterrec_schemas.errors import (
    CallError,
    CorruptGenerationError,
    HeterrecError,
    RunError,
    SpecError,
    from_wire,
    suggest,
)


def family(cls: type[HeterrecError] = HeterrecError) -> list[type[HeterrecError]]:
    return [cls, *(c for sub in cls.__subclasses__() for c in family(sub))]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "column 'x'"),
        ({"got": "int32"}, "column 'x': got int32"),
        ({"got": 0, "expected": 1}, "column 'x': got 0, expected 1"),
        ({"expected": "int64", "todo": "Rebuild."}, "column 'x': expected int64. Rebuild."),
        ({"todo": "Rebuild."}, "column 'x'. Rebuild."),
        ({"todo": ""}, "column 'x'"),
    ],
)
def test_a_message_says_what_got_expected_and_what_to_do(
    parts: dict[str, object], message: str
) -> None:
    error = CallError("column 'x'", **parts)  # type: ignore[arg-type]
    assert error.message == message
    assert str(error) == message


def test_a_full_stop_is_not_doubled() -> None:
    assert CallError("It ended.", todo="Start.").message == "It ended. Start."


@pytest.mark.parametrize("cls", family())
def test_every_member_of_the_family_survives_the_wire(cls: type[HeterrecError]) -> None:
    line = cls("ä\n<>", got=1).to_wire()
    wrapped = RuntimeError(f"worker 3 died: [{line!r}] while running 's1'")
    back = from_wire(str(wrapped))
    assert type(back) is cls
    assert back.message == "ä\n<>: got 1"


@given(st.text(), st.text(), st.text())
def test_the_wire_carries_any_text(before: str, message: str, after: str) -> None:
    back = from_wire(before + SpecError(message).to_wire() + after)
    assert isinstance(back, SpecError)
    assert back.message == message


def test_the_first_error_of_a_text_is_found() -> None:
    text = f"{SpecError('one').to_wire()} then {RunError('two').to_wire()}"
    found = from_wire(text)
    assert isinstance(found, SpecError)
    assert found.message == "one"


def test_text_without_an_error_gives_none() -> None:
    assert from_wire("ValueError: <<heterrec zz heterrec>>") is None


def test_an_unknown_member_comes_back_as_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    line = SpecError("later").to_wire()
    monkeypatch.delitem(errors._FAMILY, "SpecError")
    assert type(from_wire(line)) is HeterrecError


@pytest.mark.parametrize("cls", family())
def test_only_failed_runs_exit_with_1(cls: type[HeterrecError]) -> None:
    assert cls.exit_code == (1 if issubclass(cls, RunError) or cls is HeterrecError else 2)


def test_a_damaged_generation_is_a_generation_error() -> None:
    assert issubclass(CorruptGenerationError, errors.GenerationError)


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("brnad", ["brand", "price"], "Did you mean 'brand'?"),
        ("BRAND", ["brand", "price"], "Did you mean 'brand'?"),
        ("colour", ["price", "brand"], "Known: brand, price."),
        ("colour", [], ""),
        ("zzz", [f"a{n:02d}" for n in range(21)], None),
    ],
)
def test_near_names_are_suggested(name: str, known: list[str], hint: str | None) -> None:
    said = suggest(name, known)
    if hint is None:
        assert said.endswith("a19, ....")
    else:
        assert said == hint


def test_two_near_names_are_both_named() -> None:
    assert suggest("pric", ["price", "prices"]) == "Did you mean 'price' or 'prices'?"
