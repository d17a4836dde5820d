"""The settings that a trained model does not read: refused by name, or dropped from a file written for another model."""

from collections.abc import Mapping
from typing import Any

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
UNREAD: dict[str, frozenset[str]] = {
    "heterrec": frozenset(),
    "sasrec": _TOKEN_LEVEL | _TIME_GAP,
    "sasrec_time": _TOKEN_LEVEL,
}
"""By `model.name`, the settings (or sections of settings) that the model does not read."""


def is_read(model: str, setting: str) -> bool:
    """Whether a model reads a setting such as `loss.token_weight`; an unknown model counts as reading all."""
    parts = setting.split(".")
    names = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    return names.isdisjoint(UNREAD.get(model, frozenset()))


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
