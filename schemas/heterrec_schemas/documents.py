"""Parse JSON and YAML of unknown origin: whatever is wrong with it becomes one ValueError or an error of the project."""

import json
import re
from typing import Any

import yaml

from heterrec_schemas.errors import CallError, HeterrecError

MAX_BYTES = 4 * 2**20
"""Size of a YAML document."""
MAX_NODES = 100_000
"""Number of values of a YAML document; what an alias stands for counts each time."""
MAX_DEPTH = 64
"""Number of lists and mappings of a YAML document around a value."""
_MAX_DIGITS = 100
"""Length of a number of which the value is looked at; numbers have at most 64 bits."""
_ODD = re.compile("[\0\ud800-\udfff]")
"""What no path, name or value can hold: NUL, and halves of surrogate pairs."""
_DEEP = "it is nested too deeply"
_TRAP = re.compile(r"[-+]?0[0-9_]+|.*:.*")
"""Integers that YAML 1.1 reads as octal (010) or to the base of 60 (1:30)."""


class PlainLoader(yaml.SafeLoader):
    """SafeLoader that refuses numbers which are others than they look, and documents that are larger than they look."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth, self._nodes = 0, 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node; refused if the document has too many, or too deep ones."""
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise CallError(f"line {line}: nested more than {MAX_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias:
            size = self._sizes.get(id(node))
            if size is None:
                raise CallError(f"line {line}: an alias stands for a value that contains it")
        else:
            size = 1 + sum(self._sizes[id(inner)] for inner in _inner_nodes(node))
            self._sizes[id(node)] = size
        if max(size, self._nodes) > MAX_NODES:
            raise CallError(
                f"line {line}: more than {MAX_NODES:,} values",
                todo="Values that stand for others by aliases count each time; write fewer.",
            )
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; refused with its line if its tag does not fit it."""
        tag = node.tag.rpartition(":")[2]
        try:
            if tag == "map" and not isinstance(node, yaml.MappingNode):
                raise ValueError("it has no keys")
            return super().construct_object(node, deep)
        except (HeterrecError, yaml.YAMLError):
            raise
        except Exception as error:  # constructors raise many kinds
            raise CallError(
                f"line {node.start_mark.line + 1}: {str(node.value)[:100]!r} is no {tag} of YAML: {error}",
                todo="If it is a text, write it in quotes.",
            ) from None

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        """The text of a node; refused if no path, name or value can be that text."""
        text = str(super().construct_scalar(node))
        if (odd := _ODD.search(text)) is not None:
            raise CallError(
                f"line {node.start_mark.line + 1}: a text has the character U+{ord(odd[0]):04X}, which no path, name or "
                "value can have"
            )
        return text


def _inner_nodes(node: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _integer(loader: PlainLoader, node: yaml.ScalarNode) -> int:
    line = node.start_mark.line + 1
    number = int(loader.construct_yaml_int(node)) if len(node.value) <= _MAX_DIGITS else None
    if number is None or not -(2**63) <= number < 2**63:
        raise CallError(
            f"line {line}: the number {node.value[:20]}... has more than 64 bits",
            todo="Write a smaller number, or the text in quotes.",
        )
    if _TRAP.fullmatch(node.value):
        raise CallError(
            f"line {line}: YAML reads {node.value} as the number {number}",
            todo=f"Write another number, or the text in quotes: '{node.value}'.",
        )
    return number


PlainLoader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse_json(data: str | bytes) -> Any:
    """A JSON document as Python values.

    Raises:
        ValueError: it is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError(_DEEP) from None


def parse_yaml(data: str | bytes, loader: type[PlainLoader] = PlainLoader) -> Any:
    """A YAML document as Python values.

    Raises:
        ValueError: it is not UTF-8, not YAML, or larger than `MAX_BYTES`.
        CallError: it has more or deeper values than a loader accepts, or values that are not of their type; or another
            error of the project that the loader raises.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has {len(data):,} characters, more than {MAX_BYTES:,}")
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return yaml.load(text, Loader=loader)
    except (HeterrecError, UnicodeDecodeError):
        raise
    except Exception as error:  # the constructors of tagged values raise many kinds
        raise ValueError(str(error)) from None


def parse_settings(data: str | bytes, where: str) -> Any:
    """A YAML document that a user wrote, as Python values.

    Args:
        data: the document.
        where: its name in messages.

    Raises:
        CallError: see `parse_yaml`.
    """
    try:
        return parse_yaml(data)
    except ValueError as error:
        raise CallError(f"{where} is not valid YAML: {error}") from None
    except HeterrecError as error:
        raise CallError(f"{where}: {error.message}") from None
