"""Parameters of a spec: `{name}` in a `where` or `path` is replaced by a value, given in the spec or with the call."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import yaml

from heterrec_schemas.documents import PlainLoader, parse_yaml
from heterrec_schemas.errors import HeterrecError, SpecError, suggest

PARAMETERS = "parameters"
"""The key of a spec with the values of its parameters."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACE = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")
_QUOTED = re.compile(r"('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_GLOB = re.compile(r"[*?\[\]{}\\]")


def with_parameters(text: str, given: Mapping[str, str]) -> str:
    """The text of a spec with the values of some parameters, which replace those that it has.

    Args:
        text: the YAML of the spec.
        given: name to value.
    """
    if not given:
        return text
    try:
        data = parse_yaml(text, PlainLoader)
    except (HeterrecError, ValueError):
        return text  # `parse_spec` says what is wrong with it
    if not isinstance(data, dict):
        return text
    own = data.get(PARAMETERS)
    values = (own if isinstance(own, dict) else {}) | dict(given)
    if own == values:
        return text
    made = f"{text.rstrip()}\n{PARAMETERS}: {json.dumps(values, ensure_ascii=False, default=str)}\n"
    if own is None and _has(made, values):
        return made
    return yaml.safe_dump(data | {PARAMETERS: values}, sort_keys=False, allow_unicode=True)


def _has(text: str, values: Mapping[str, Any]) -> bool:
    try:
        data = parse_yaml(text, PlainLoader)
    except (HeterrecError, ValueError):
        return False
    return isinstance(data, dict) and data.get(PARAMETERS) == values


def filled(data: dict[str, Any], where: str) -> dict[str, Any]:
    """A spec as plain data, with the values of its parameters in its sources.

    Args:
        data: the spec.
        where: its name in messages.

    Raises:
        SpecError: a parameter has no value, is not used, or its value would change more than a text or number.
    """
    values = _values(data.get(PARAMETERS) or {}, where)
    used: set[str] = set()
    done: dict[str, Any] = _filled(data, "", values, used, where)
    if unused := sorted(values.keys() - used):
        raise SpecError(
            f"{where}: no source uses the parameter {unused[0]!r}",
            got=f"{{{unused[0]}}} in no source.where and no source.path",
            todo=suggest(unused[0], sorted(used)) if used else "Leave it out.",
        )
    return done | ({PARAMETERS: values} if values else {})


def _values(found: Any, where: str) -> dict[str, str]:
    if not isinstance(found, dict):
        raise SpecError(f"{where}: {PARAMETERS} are no names with values", got=repr(found))
    values = {}
    for name, value in found.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise SpecError(
                f"{where}: {PARAMETERS}: {name!r} is no name", expected="letters, digits and _"
            )
        if isinstance(value, bool) or not isinstance(value, str | int | float | date):
            raise SpecError(
                f"{where}: {PARAMETERS}.{name}", got=repr(value), expected="a text or a number"
            )
        values[name] = str(value)
    return values


def _filled(part: Any, key: str, values: Mapping[str, str], used: set[str], where: str) -> Any:
    if isinstance(part, list):
        return [_filled(p, f"{key}[{k}]", values, used, where) for k, p in enumerate(part)]
    if not isinstance(part, dict):
        return part
    done = {}
    for name, inner in part.items():
        inside = f"{key}.{name}" if key else str(name)
        if name == "source" and isinstance(inner, dict):
            done[name] = inner | dict(_source(inner, inside, values, used, where))
        else:
            done[name] = _filled(inner, inside, values, used, where)
    return done


def _source(
    source: dict[str, Any], key: str, values: Mapping[str, str], used: set[str], where: str
) -> Iterator[tuple[str, Any]]:
    if isinstance(text := source.get("where"), str):
        parts = _QUOTED.split(text)
        at = f"{where}: {key}.where"
        yield (
            "where",
            "".join(
                _replaced(
                    p,
                    lambda n, v, quote=p[:1] if k % 2 else "": _in_sql(n, v, quote, at),
                    values,
                    used,
                    at,
                )
                for k, p in enumerate(parts)
            ),
        )
    at, path = f"{where}: {key}.path", source.get("path")
    if isinstance(path, str):
        yield "path", _replaced(path, lambda n, v: _in_path(n, v, at), values, used, at)
    elif isinstance(path, list):
        yield (
            "path",
            [
                _replaced(p, lambda n, v: _in_path(n, v, at), values, used, at)
                if isinstance(p, str)
                else p
                for p in path
            ],
        )


def _replaced(text: str, quoted: Any, values: Mapping[str, str], used: set[str], key: str) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0][0]
        if name not in values:
            raise SpecError(
                f"{key}: the parameter {{{name}}} has no value",
                got=f"values of {', '.join(values) or 'no parameter'}",
                todo=f"Give --param {name}=VALUE. (Double braces, {{{{{name}}}}}, are the text itself.)",
            )
        used.add(name)
        return str(quoted(name, values[name]))

    return _PLACE.sub(value, text)


def _in_sql(name: str, value: str, quote: str, key: str) -> str:
    """A value inside the quotes of a text, or a number outside of any."""
    if quote == "'":
        return value.replace("'", "''")
    if not quote and _NUMBER.fullmatch(value):
        return value
    raise SpecError(
        f"{key}: the value of {{{name}}} is no number",
        got=repr(value),
        expected="a number, unless it is in single quotes",
        todo=f"Write '{{{name}}}' in the expression.",
    )


def _in_path(name: str, value: str, key: str) -> str:
    if _GLOB.search(value) or not value or ".." in value.split("/"):
        raise SpecError(
            f"{key}: the value of {{{name}}} is no part of a path",
            got=repr(value),
            expected="text without * ? [ ] { } and ..",
        )
    return value
