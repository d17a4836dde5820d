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


NO_TOKEN_LOSS: Changes = [("loss", "token_weight", 0.0), ("model", "token_heads", False)]
"""Token heads are trained by the token-level losses."""


def _without_tokens(config: Config) -> Changes:
    blocks = config.model.token_blocks + config.model.item_blocks
    return [("model", "token_blocks", 0), ("model", "item_blocks", blocks), *NO_TOKEN_LOSS]


def _without_hierarchy(config: Config) -> Changes:
    blocks = config.model.token_blocks + config.model.item_blocks
    return [("model", "token_blocks", blocks), ("model", "item_blocks", 0)]


ABLATIONS: dict[str, Callable[[Config], Changes]] = {
    "htfl": _without_tokens,
    "mfk": lambda config: [],
    "hct": _without_hierarchy,
    "lmp": lambda config: [("loss", "gate", False), *NO_TOKEN_LOSS],
    "token_lmp": lambda config: NO_TOKEN_LOSS,
    "gate": lambda config: [("loss", "gate", False)],
}
"""By name, the settings that leave out a part.

    htfl        no token blocks: the tokens of an item are concatenated and fused by the MLP; all blocks are item-level, and
                there is no token-level loss, hence no token heads
    mfk         frozen vectors in one linear projection instead of quantile tokens (`model.frozen`)
    hct         all blocks are token-level, and the MLP fuses their output: no item-level blocks, hence no user features
    lmp         multi-step prediction without gates, token-level losses and token heads
    token_lmp   no token-level losses, hence no token heads
    gate        no gates
"""
