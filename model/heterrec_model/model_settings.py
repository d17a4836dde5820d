"""The settings that a trained model does not read: refused by name, or dropped from a file written for another model."""

from collections.abc import Mapping
from typing import Any

from heterrec_schemas.own_class import is_own, own_class

DEFAULT_MODEL = "heterrec"
_TOKEN_LEVEL = frozenset(
    {
        "model.literal",
        "model.raw_skip",
        "model.token_blocks",
        "model.token_mask",
    }
)
_TIME_GAP = frozenset({"model.time_gap"})
_CAUSAL_ATTENTION = frozenset({"model.attention"})
_STEPS = frozenset({"loss.gate", "loss.margin", "loss.step_weights", "loss.steps"})
_HEADS = frozenset({"loss.token_weight", "negatives.token"})
"""Read by models without a token level only for `model.token_heads`."""
_NO_HEADS = _HEADS | {"model.token_heads"}
_CLOZE = frozenset({"model.cloze"})
_DENSE = frozenset({"loss.dense"})
UNREAD: dict[str, frozenset[str]] = {
    "bert4rec": _TOKEN_LEVEL | _TIME_GAP | _CAUSAL_ATTENTION | _STEPS | _DENSE | _NO_HEADS,
    "heterrec": _CLOZE,
    "hstu": _TOKEN_LEVEL
    | _NO_HEADS
    | _CAUSAL_ATTENTION
    | _CLOZE
    | {"model.ffn_multiplier", "model.norm"},
    "pinnerformer": _TOKEN_LEVEL | _STEPS | _CLOZE | _NO_HEADS | {"loss.dense.weight"},
    "sasrec": _TOKEN_LEVEL | _TIME_GAP | _CLOZE | _HEADS,
    "sasrec_time": _TOKEN_LEVEL | _CLOZE | _HEADS,
}
"""By `model.name`, the settings (or sections of settings) that the model does not read; the `unread` of its class."""


def unread_by(model: str) -> frozenset[str]:
    """The settings that a model does not read, by `model.name`: none if it is unknown.

    Raises:
        CallError: it is a class outside of this package that cannot be imported.
    """
    if is_own(model):
        return frozenset(getattr(own_class(model), "unread", ()))
    return UNREAD.get(model, frozenset())


def is_read(model: str, setting: str, *, token_heads: bool = False) -> bool:
    """Whether a model reads a setting such as `loss.token_weight`.

    `token_heads` is the value of `model.token_heads`.

    Raises:
        CallError: see `unread_by`.
    """
    parts = setting.split(".")
    names = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    unread = unread_by(model)
    return names.isdisjoint(unread - _HEADS if token_heads else unread)


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by `section.key`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def only_read(settings: Mapping[str, Any], model: str, prefix: str = "") -> dict[str, Any]:
    """Nested settings without those that a model does not read."""
    return {
        name: only_read(value, model, f"{prefix}{name}.") if isinstance(value, dict) else value
        for name, value in settings.items()
        if is_read(model, prefix + str(name))
    }
