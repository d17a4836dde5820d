"""How to get the run again: command, settings, generation, seed and versions."""

from typing import Any

from heterrec_model.config import Config
from heterrec_model.model_settings import flat_settings
from heterrec_model.runs.checkpoints import Checkpoint
from heterrec_model.runs.run_folder import CONFIG, RunFolder
from heterrec_schemas.pages.html import Section, code, facts, folded, paragraph, table


def reproducing_part(folder: RunFolder, config: Config, checkpoint: Checkpoint) -> Section:
    """The section with everything that the result depends on."""
    generation, state = folder.generation(), checkpoint.state
    started = config.warm_start is not None
    command = f"heterrec-model train --data GENERATION --config {CONFIG} --run NEW"
    blocks = [
        paragraph(
            f"With {CONFIG} of the run, whose settings are below, and the generation with this fingerprint. On the same "
            "machine, with as many threads and the same versions, the weights are the same bit by bit."
        ),
        code(f"{command} --warm-start EARLIER" if started else command),
        facts(
            {
                "run": folder.path.resolve().name,
                "model": config.model.name,
                "seed": config.train.seed,
                "checkpoint": f"{checkpoint.name}, epoch {state.get('epoch')}",
                "weights (SHA-256)": state["sha256"]["model.safetensors"],
                "generation": generation.id,
                "generation's content (SHA-256)": generation.content_sha256,
                "item features": _listed(generation.features),
                "user features": _listed(generation.user_features),
                "PyTorch": state.get("torch"),
                "heterrec": state.get("heterrec"),
                "device": state.get("device"),
                "threads": state.get("threads"),
                "processes": state.get("world"),
            }
        ),
        *_changed(config),
        folded(f"All settings ({CONFIG})", code(config.to_yaml())),
    ]
    return Section("How to reproduce it", blocks)


def _listed(names: tuple[str, ...] | None) -> str | None:
    return None if names is None else ", ".join(names) or "none"


def _changed(config: Config) -> list[str]:
    """A table of the settings that are not the defaults."""
    now, default = (flat_settings(c.model_dump(mode="json")) for c in (config, Config()))
    rows = [
        [name, _text(now[name]), _text(default.get(name))]
        for name in sorted(now)
        if now[name] != default.get(name)
    ]
    title = "Settings that differ from the defaults"
    return [table(title, ["setting", "here", "default"], rows)] if rows else []


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
