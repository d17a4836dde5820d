"""How long the texts may become that an expression makes, from its tree as Polars writes it."""

from typing import Any

MAX_GROWTH = 1_000
"""How many times as long as a cell a text may become; Polars ends the process if it has no memory for the texts."""
_CELL = 100
"""Length that a cell is taken to have, beside texts and lengths that an expression states."""


def growth(node: Any) -> float:
    """How many times as long as a cell the longest text of a tree may become; at least 1.

    Cells in the place of the replacement of REPLACE count `_CELL` characters, like any cell.
    """
    if not isinstance(node, dict):
        return 1
    ((kind, body),) = node.items()
    if kind == "Literal":
        text = body.get("Scalar", {}).get("String") if isinstance(body, dict) else None
        return max(1, len(text) / _CELL) if isinstance(text, str) else 1
    if kind == "Function":
        return _of_function(body)
    parts = [growth(part) for part in _parts(kind, body)]
    joins = kind == "BinaryExpr" and body["op"] == "Plus"
    return sum(parts) if joins else max(parts, default=1)


def _parts(kind: str, body: Any) -> list[Any]:
    names = {
        "BinaryExpr": ("left", "right"),
        "Ternary": ("predicate", "truthy", "falsy"),
        "Cast": ("expr",),
        "Eval": ("expr",),
    }
    return [body[0]] if kind == "Alias" else [body[name] for name in names.get(kind, ())]


def _of_function(body: Any) -> float:
    family = body["function"]
    own = next(iter(family.values())) if isinstance(family, dict) else None
    name = next(iter(own), "") if isinstance(own, dict) else own
    inputs = body["input"]
    parts = [growth(part) for part in inputs]
    if name in ("ConcatHorizontal", "Join"):
        return sum(parts)
    if name in ("PadStart", "PadEnd"):
        length = float(inputs[1].get("Literal", {}).get("Dyn", {}).get("Int", 1))
        return max(parts[0], length / _CELL)
    if isinstance(own, dict) and name == "Replace":
        return parts[0] * max(1, _replacement(inputs, own[name]))
    return max(parts, default=1)


def _replacement(inputs: Any, settings: Any) -> float:
    """How many times as long as what it replaces a replacement may be."""
    pattern, text = (
        part.get("Literal", {}).get("Scalar", {}).get("String") for part in inputs[1:3]
    )
    length = _CELL * growth(inputs[2]) if text is None else len(text)
    if settings["literal"] and pattern:
        return length / len(pattern)
    # A pattern may match nothing at each character, and a replacement may have the whole match several times.
    references = 0 if text is None else text.count("$")
    return 1 + length + references
