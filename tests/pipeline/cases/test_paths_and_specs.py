"""Kinds of paths and of specs."""

from pathlib import Path

import pytest
import yaml
from case_shop import Case

from heterrec_pipeline import validate
from heterrec_schemas import Generation
from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec import FeatureSpec, parse_spec


def test_folders_with_stars_spaces_and_brackets(text_shop: Generation) -> None:
    assert "out [x]*" in str(text_shop.root)
    assert {Path(i.path).parts[0] for i in text_shop.manifest.inputs} >= {"log", "items.jsonl"}


def test_hidden_files_are_no_data(text_shop: Generation) -> None:
    assert not [i.path for i in text_shop.manifest.inputs if "/." in i.path or "MACOSX" in i.path]


def test_a_spec_with_a_mark_and_other_line_ends(case: Case) -> None:
    path = case.folder / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(case.spec).replace("\n", "\r\n").encode())
    assert validate(spec=path, input=case.input).mistakes == []


def test_a_spec_in_utf16(case: Case) -> None:
    path = case.folder / "spec.yaml"
    path.write_bytes(yaml.safe_dump(case.spec).encode("utf-16"))
    with pytest.raises(SpecError, match="UTF-8"):
        validate(spec=path, input=case.input)


def _parsed(case: Case, old: str, new: str) -> FeatureSpec:
    """The plain spec with another line."""
    text = yaml.safe_dump(case.spec, sort_keys=False) + "limits: {max_reject_ratio: 0.01}\n"
    assert old in text
    return parse_spec(text.replace(old, new))


def test_an_exponent_without_a_point_is_a_number(case: Case) -> None:
    assert _parsed(case, "0.01", "1e-2").limits.max_reject_ratio == 0.01


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("column: ts", "column: on", "quotes"),
        ("max_length: 20", "max_length: 010", "YAML reads 010 as the number 8"),
        ("max_length: 20", "max_length: 1e2", "1e2"),
    ],
)
def test_what_yaml_reads_as_something_else(case: Case, old: str, new: str, words: str) -> None:
    with pytest.raises(SpecError) as error:
        _parsed(case, old, new)
    assert words in error.value.message
