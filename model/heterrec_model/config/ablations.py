"""The ablations of HeterRec by name: each changes settings only, so that the configuration of a run shows it."""

from collections.abc import Callable
from typing import Any

from heterrec_model.config.settings import Config
from heterrec_model.model_settings import DEFAULT_MODEL
from heterrec_schemas.errors import CallError, suggest


def ablated(config: Config, name: str) -> Config:
    """The configuration of HeterRec without one of its parts.

    Args:
        config: of the whole model.
        name: a key of `ABLATIONS`.

    Raises:
        CallError: there is no such ablation, the model is another one, or it does not have the part.
    """
    if name not in ABLATIONS:
        raise CallError(f"there is no ablation {name!r}", todo=suggest(name, ABLATIONS))
    if config.model.name != DEFAULT_MODEL:
        raise CallError(
            f"--ablate {name}", got=f"the model {config.model.name}", expected=DEFAULT_MODEL
        )
    if name == "mfk" and not config.model.frozen:
        raise CallError(
            "--ablate mfk replaces the tokens of embedding features by their frozen vectors, which a generation lacks",
            todo="Name the files of each feature: --set model.frozen.<feature>.files=vectors/*.parquet",
        )
    changes = ABLATIONS[name](config)
    sections = config.model_dump()
    if all(sections[part][key] == value for part, key, value in changes) and name != "mfk":
        shown = ", ".join(f"{part}.{key}: {value}".lower() for part, key, value in changes)
        raise CallError(f"--ablate {name} changes nothing: the configuration already has {shown}")
    for part, key, value in changes:
        sections[part][key] = value
    return Config.model_validate(sections)


Changes = list[tuple[str, str, Any]]
"""Section, setting and value."""


def _without_tokens(config: Config) -> Changes:
    blocks = config.model.token_blocks + config.model.item_blocks
    if not config.model.token_blocks:
        return [("model", "token_blocks", 0), ("loss", "token_weight", 0.0)]
    return [
        ("model", "token_blocks", 0),
        ("model", "item_blocks", blocks),
        ("loss", "token_weight", 0.0),
    ]


def _without_hierarchy(config: Config) -> Changes:
    blocks = config.model.token_blocks + config.model.item_blocks
    return [("model", "token_blocks", blocks), ("model", "item_blocks", 0)]


ABLATIONS: dict[str, Callable[[Config], Changes]] = {
    "htfl": _without_tokens,
    "mfk": lambda config: [],
    "hct": _without_hierarchy,
    "lmp": lambda config: [("loss", "gate", False), ("loss", "token_weight", 0.0)],
    "token_lmp": lambda config: [("loss", "token_weight", 0.0)],
    "gate": lambda config: [("loss", "gate", False)],
}
"""By name, the settings that leave out a part.

    htfl        no token blocks: the tokens of an item are concatenated and fused by the MLP; all blocks are item-level, and
                there is no token-level loss
    mfk         frozen vectors in one linear projection instead of quantile tokens (`model.frozen`)
    hct         all blocks are token-level, and the MLP fuses their output: no item-level blocks, hence no user features
    lmp         multi-step prediction without gates and without token-level losses
    token_lmp   no token-level losses
    gate        no gates
"""
