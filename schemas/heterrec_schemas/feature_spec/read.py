"""Read a spec from YAML; all mistakes are reported in one message, with suggestions for unknown names."""

import hashlib
import math
import re
from datetime import date
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from heterrec_schemas.documents import PlainLoader, parse_yaml
from heterrec_schemas.errors import HeterrecError, SpecError, suggest
from heterrec_schemas.feature_spec.features import TAGGED
from heterrec_schemas.feature_spec.limits import LIMITS_BY_REASON, ONE_LIMIT
from heterrec_schemas.feature_spec.model import (
    IDS_ONLY,
    WITH_TABLE,
    FeatureSpec,
    LeaveOneOut,
    Temporal,
    UserIds,
    Users,
)
from heterrec_schemas.feature_spec.parameters import filled

SPEC_VERSION = 1
_MAX_LINES, _MAX_LINE = 50, 1_000
"""Number of mistakes that are listed, and length of one in characters."""


class _UniqueKeyLoader(PlainLoader):
    """PlainLoader that refuses duplicate keys, of which YAML would silently keep the last."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise SpecError(
                f"a key is not plain text (line {key_node.start_mark.line + 1})",
                todo="Text that begins with a brace or bracket needs quotes.",
            )
        key = loader.construct_object(key_node)
        if key in seen:
            raise SpecError(
                f"the key {key!r} is given twice (line {key_node.start_mark.line + 1})",
                todo="Keep one of them.",
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_spec(text: str, *, where: str = "spec") -> FeatureSpec:
    """Read a spec from YAML text.

    Args:
        text: the YAML.
        where: its name in messages, such as a path.

    Raises:
        SpecError: all mistakes in one message.
    """
    try:
        return FeatureSpec.model_validate(_plain_data(text, where))
    except ValidationError as error:
        raise SpecError(describe_mistakes(error, where)) from None


def salvage_spec(text: str, *, where: str = "spec") -> tuple[FeatureSpec | None, SpecError | None]:
    """Read a spec as far as possible, so that the valid part can be checked against the data.

    Unknown keys and faulty features are left out; with any other mistake there is no spec.

    Returns:
        The spec, or None; and its mistakes, or None.
    """
    try:
        data = _plain_data(text, where)
    except SpecError as error:
        return None, error
    try:
        return FeatureSpec.model_validate(data), None
    except ValidationError as error:
        mistakes = SpecError(describe_mistakes(error, where))
        found = error.errors()
    if any({"where", "columns"} & set(finding["loc"]) for finding in found):
        # Without an expression of its source a table would have other columns and rows.
        return None, mistakes
    try:
        return FeatureSpec.model_validate(_without(data, found)), mistakes
    except (ValueError, LookupError, TypeError, AttributeError):  # a part has another form
        return None, mistakes


def _without(data: dict[str, Any], found: list[ErrorDetails]) -> dict[str, Any]:
    """The data without unknown keys and faulty features."""
    faulty: set[tuple[Any, ...]] = set()
    for finding in found:
        path = [p for p in finding["loc"] if p not in _UNION_TAGS]
        if path[1:2] == ["features"] and finding["type"] != "extra_forbidden":
            faulty.add(tuple(path[:3]))
            continue
        holder: Any = data
        for part in path[:-1]:
            holder = holder[part]
        holder.pop(path[-1], None)
    # From the last to the first: positions refer to the original list.
    for side, features, position in sorted(faulty, reverse=True):
        del data[side][features][position]
    if any(_may_hide(finding["loc"]) for finding in found):
        data["rejects"] = {"values": "none"}
    return data


def _may_hide(path: tuple[Any, ...]) -> bool:
    """Whether a mistake may be in what keeps texts out of messages, perhaps under a misspelt name."""
    return len(path) < 2 or path[0] == "rejects" or (path[0] == "users" and "features" not in path)


def _plain_data(text: str, where: str) -> dict[str, Any]:
    """The spec as plain data, of a known version."""
    try:
        # A subclass of SafeLoader, which makes plain data only.
        data = parse_yaml(text, _UniqueKeyLoader)
    except ValueError as error:
        raise SpecError(f"{where} is not YAML: {error}") from None
    except HeterrecError as error:
        raise SpecError(f"{where}: {error.message}") from None
    if not isinstance(data, dict):
        raise SpecError(
            f"{where} holds no feature spec",
            got=f"{type(data).__name__}",
            expected="a mapping with version, name, items, interactions, sequences, split",
        )
    if data.get("version", SPEC_VERSION) != SPEC_VERSION:
        raise SpecError(
            f"{where}: unknown spec version",
            got=repr(data.get("version")),
            expected=f"{SPEC_VERSION}",
            todo="Write the spec for this release, or install the release that knows it.",
        )
    return filled(data, where)


def load_spec(path: str | Path) -> FeatureSpec:
    """Read a spec file; see `parse_spec`.

    Raises:
        SpecError: the file cannot be read, or holds mistakes.
    """
    return parse_spec(read_spec_text(path), where=str(path))


def read_spec_text(path: str | Path) -> str:
    """The text of a spec file.

    Raises:
        SpecError: there is no such file, or it is not UTF-8 text.
    """
    file = Path(path)
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise SpecError(
            f"the spec file {path} cannot be read: it is a device, pipe or socket",
            todo="Write the spec to a file.",
        )
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"there is no spec file {path}", todo="Check --spec.") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"the spec file {path} is not UTF-8 text: {error}") from None
    except OSError as error:
        raise SpecError(f"the spec file {path} cannot be read: {error.strerror}") from None


def spec_sha256(text: str) -> str:
    """The SHA-256 of a spec's text, for the manifest."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def describe_mistakes(error: ValidationError, where: str) -> str:
    """Pydantic's findings as text, with suggestions for unknown names."""
    lines = []
    for raw in error.errors():
        found: dict[str, Any] = {**raw, "loc": tuple(map(_unwrapped, raw["loc"]))}
        if _other_branch(found):
            continue
        # Tags of unions are not keys of the spec.
        parts = [p for p in found["loc"] if p not in _UNION_TAGS]
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")
        lines.append(_shortened(f"  {path or 'spec'}: {_mistake(found, parts)}"))
    lines = list(dict.fromkeys(lines))
    head = f"{where} has {len(lines)} mistake{'s' if len(lines) != 1 else ''}:"
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES:] = [f"  and {len(lines) - _MAX_LINES:,} more"]
    return "\n".join([head, *lines])


def _shortened(line: str) -> str:
    """A line without the middle of a long value."""
    half = _MAX_LINE // 2
    return line if len(line) <= _MAX_LINE else f"{line[:half]} ... {line[-half:]}"


def _unwrapped(part: Any) -> Any:
    """The name of a model in a location, which pydantic writes together with the model's validators."""
    wrapped = isinstance(part, str) and part.startswith("function-after[")
    return part.rstrip("]").rpartition(" ")[2] if wrapped else part


def _other_branch(found: dict[str, Any]) -> bool:
    """Whether a finding is about the alternative of `items.source` that the spec does not use."""
    branch = [p for p in found["loc"] if p in ("Source", "literal['interactions']")]
    if not branch:
        return False
    if branch[-1] == "Source":
        return found["loc"][-1] == "Source" and isinstance(found["input"], str)
    return not isinstance(found["input"], str)


_TAGGED: dict[Any, type[BaseModel]] = {
    **TAGGED,
    "leave_one_out": LeaveOneOut,
    "temporal": Temporal,
    WITH_TABLE: Users,
    IDS_ONLY: UserIds,
}
_UNION_TAGS = {
    *_TAGGED,
    *("str", "list[str]", "float", "Source", "literal['interactions']"),
    *(ONE_LIMIT, LIMITS_BY_REASON),
}


_WORDS = {True: "on, yes and true", False: "off, no and false", None: "null, ~ and nothing"}
"""The unquoted words that YAML reads as a value that is no text."""


def _mistake(found: dict[str, Any], parts: list[Any]) -> str:
    kind, got = found["type"], found.get("input")
    if kind == "extra_forbidden":
        return f"unknown key. {suggest(str(parts[-1]), _keys_at(parts[:-1], found['loc']))}".strip()
    if kind == "missing":
        return "missing; it is required"
    if kind == "value_error":
        return str(found["ctx"]["error"])
    if kind == "union_tag_invalid":
        word, tags = found["ctx"]["tag"], found["ctx"]["expected_tags"].replace("'", "").split(", ")
        name = found["ctx"]["discriminator"].strip("'()")
        return f"unknown {name} {word!r}. {suggest(str(word), tags)}"
    if kind == "union_tag_not_found":
        return f"missing its {found['ctx']['discriminator']}"
    if kind == "literal_error":
        return f"got {got!r}, expected {found['ctx']['expected']}. {_near_literal(got, found)}".rstrip()
    if kind == "string_pattern_mismatch":
        return f"got {got!r}, expected a name of the form {found['ctx']['pattern']}"
    if kind == "string_type" and isinstance(got, bool | None):
        why = f"YAML reads {_WORDS[got]} as {got}"
        return f"a valid string; got {got!r}. Write the text in quotes, e.g. 'on' or 'null': {why}"
    if kind == "string_type" and isinstance(got, int | float | date):
        return f"a valid string; got {got}. Write it in quotes: '{got}'"
    if kind in ("int_type", "float_type") and (number := _number(got)) is not None:
        return f"{found['msg'].removeprefix('Input should be ')}; got {got!r}. Write it as {number}"
    return f"{found['msg'].removeprefix('Input should be ')}; got {got!r}".replace("  ", " ")


def _number(got: object) -> str | None:
    """A number that YAML has read as text, such as 1e2, in digits."""
    try:
        number = float(got) if isinstance(got, str) else math.nan
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return str(int(number)) if number.is_integer() else repr(number)


def _near_literal(got: object, found: dict[str, Any]) -> str:
    hint = suggest(str(got), re.findall(r"'([^']+)'", found["ctx"]["expected"]))
    return hint if hint.startswith("Did") else ""


def _keys_at(parts: list[Any], loc: tuple[Any, ...]) -> list[str]:
    """The keys that a spec may have at a path."""
    model: type[BaseModel] | None = FeatureSpec
    for at, tag in reversed(list(enumerate(loc[:-1]))):
        if tag in _TAGGED:
            model, parts = _TAGGED[tag], list(loc[at + 1 : -1])
            break
    for name in parts:
        if model is not None and isinstance(name, str):
            field = model.model_fields.get(name)
            model = _model_in(field.annotation) if field else None
    return list(model.model_fields) if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first model in the type of a field, such as `list[Join]` or `Users | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
