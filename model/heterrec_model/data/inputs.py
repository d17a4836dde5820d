"""The inputs that a generation has and a model may read, by name: what a comparison of models states."""

from collections.abc import Collection, Sequence

from heterrec_schemas import Generation

ITEM_IDS, BEHAVIOURS, TIME_GAPS = "item ids", "behaviours", "time gaps"
LAST_ITEM, EARLIER_ITEMS = "last items", "earlier items"
"""Of a history."""
ITEM_FEATURE, USER_FEATURE = "item feature ", "user feature "
"""Prefixes of the names of features."""


def generation_inputs(generation: Generation) -> list[str]:
    """All inputs of a generation."""
    prefixes = {"item": ITEM_FEATURE, "user": USER_FEATURE}
    features = [prefixes[entry.side] + entry.name for entry in generation.manifest.features]
    behaviours = [BEHAVIOURS] if generation.spec.interactions.behaviour is not None else []
    return [ITEM_IDS, LAST_ITEM, EARLIER_ITEMS, *features, *behaviours, TIME_GAPS]


def lacking(generation: Generation, inputs: Collection[str]) -> tuple[str, ...]:
    """The inputs of a generation that a model does not read, the features of a side as one entry.

    Args:
        generation: of the model.
        inputs: that the model reads.
    """
    present = generation_inputs(generation)
    absent = [name for name in present if name not in inputs]
    found = []
    for name in absent:
        prefix = next((p for p in (ITEM_FEATURE, USER_FEATURE) if name.startswith(p)), None)
        text = name if prefix is None else _features(prefix, present, absent)
        if text not in found:
            found.append(text)
    return tuple(found)


def _features(prefix: str, present: Sequence[str], absent: Sequence[str]) -> str:
    every, some = ([n for n in names if n.startswith(prefix)] for names in (present, absent))
    side = f"{prefix.strip()}s"
    if len(every) == len(some):
        return side
    return f"{side} {', '.join(name.removeprefix(prefix) for name in some)}"
