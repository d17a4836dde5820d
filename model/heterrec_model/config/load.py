"""Reads a configuration: a YAML file or a shipped one (`paper`, `cpu`, `gpu`), with `key=value` overrides."""

import copy
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from heterrec_model.config.settings import Config
from heterrec_model.model_settings import DEFAULT_MODEL, flat_settings, is_read, only_read
from heterrec_schemas.documents import parse_settings
from heterrec_schemas.errors import CallError, suggest


def shipped_configs() -> list[str]:
    """Names of the configurations in the package."""
    folder = resources.files("heterrec_model") / "configs"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def load_config(path: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Config:
    """Read a configuration and apply overrides.

    If the overrides select another model than the file is written for (heterrec unless it says otherwise), the file's
    settings that this model does not read are left at their defaults.

    Args:
        path: a YAML file, or the name of a shipped configuration, such as `cpu`.
        overrides: `section.key=value`, the value in YAML; or values by `section.key`.

    Raises:
        CallError: the file or a setting does not exist, or a value is invalid; all errors are reported together.
    """
    settings = _read(path)
    if isinstance(overrides, Mapping):
        changes = list(overrides.items())
    else:
        changes = [_parsed(override) for override in overrides]
    written_for = _model_name(settings)
    changed = copy.deepcopy(settings)
    _apply(changed, changes)
    if (model := _model_name(changed)) != written_for:
        changed = only_read(settings, model)
        _apply(changed, changes)
    return parse_config(changed, where=str(path))


def check_read(config: Config) -> None:
    """Check that a model reads all settings that differ from their defaults.

    Raises:
        CallError: it does not; all of them are named.
    """
    model = config.model.name
    default = flat_settings(Config().model_dump(mode="json"))
    found = flat_settings(config.model_dump(mode="json"))
    unread = [
        f"{name}: got {value!r}, the default is {default[name]!r}"
        for name, value in found.items()
        if value != default.get(name)
        and not is_read(model, name, token_heads=config.model.token_heads)
    ]
    if unread:
        raise CallError(
            "\n  ".join([f"the model {model} does not read {len(unread)} setting(s)", *unread]),
            todo="Remove them from the configuration and from --set.",
        )


def _model_name(settings: dict[str, Any]) -> str:
    """`model.name` of plain settings."""
    section = settings.get("model")
    return str(section.get("name", DEFAULT_MODEL)) if isinstance(section, dict) else DEFAULT_MODEL


def parse_config(settings: dict[str, Any], where: str) -> Config:
    """Validate plain settings; `where` names their source in messages.

    Raises:
        CallError: a setting is unknown or invalid; all errors are reported together.
    """
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        errors = list(dict.fromkeys(describe_error(detail, Config) for detail in error.errors()))
        raise CallError("\n  ".join([f"{where}: {len(errors)} error(s)", *errors])) from None


def _read(path: str | Path) -> dict[str, Any]:
    file = Path(path)
    shipped = (
        resources.files("heterrec_model") / "configs" / f"{str(path).removesuffix('.yaml')}.yaml"
    )
    if file.is_file():
        data = file.read_bytes()
    elif file.parent == Path() and shipped.is_file():
        data = shipped.read_bytes()
    else:
        raise CallError(
            f"there is no configuration {path}",
            expected=f"a YAML file, or one of {', '.join(shipped_configs())}",
        )
    settings = parse_settings(data, str(path))
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise CallError(str(path), got=type(settings).__name__, expected="sections with settings")
    # a section with all lines commented out is None
    return {name: section for name, section in settings.items() if section is not None}


def _parsed(override: str) -> tuple[str, Any]:
    """The name and the value of `section.key=value`."""
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise CallError("--set", got=repr(override), expected="key=value, such as train.seed=1")
    return name.strip(), parse_settings(text, f"--set {override}: the value")


def _apply(settings: dict[str, Any], changes: Sequence[tuple[str, Any]]) -> None:
    """Set values by `section.key`."""
    for name, value in changes:
        *sections, key = name.split(".")
        inner: Any = settings
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise CallError(f"--set {name}={value}", got=f"{section}, which is not a section")
        inner[key] = copy.deepcopy(value)


def describe_error(detail: Any, document: type[BaseModel]) -> str:
    """One of pydantic's errors about a document in words, with similar names for a misspelt setting."""
    section: Any = document
    known: list[str] = []
    for part in detail["loc"]:
        fields = getattr(section, "model_fields", {})
        if part in fields:
            section = _section(fields[part].annotation)
        elif get_origin(section) is dict and part != "[key]":
            section = _section(get_args(section)[1])
        elif not isinstance(part, int):
            break  # misspelt, or one of several types of a setting
        known.append(str(part))
    if detail["type"] == "extra_forbidden":
        name, fields = ".".join(map(str, detail["loc"])), section.model_fields
        return f"{name}: there is no such setting. {suggest(str(detail['loc'][-1]), fields)}"
    got = "" if detail["type"] == "value_error" else f" (got {detail['input']!r})"
    name = ".".join(known) or "the configuration"
    return f"{name}: {detail['msg'].removeprefix('Value error, ')}{got}"


def _section(annotation: Any) -> Any:
    """The section of an annotation such as `WarmStartConfig | None`; other annotations as they are."""
    sections = [kind for kind in get_args(annotation) if hasattr(kind, "model_fields")]
    return sections[0] if sections and get_origin(annotation) is not dict else annotation
