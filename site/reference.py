"""Reference pages that are written from the code: commands, keys of a spec, public names."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
import typer
from typer.main import get_command

TITLES = {
    "heterrec_schemas": "Reading generations: heterrec_schemas",
    "heterrec_pipeline": "The pipeline: heterrec_pipeline",
    "heterrec_model": "The model: heterrec_model",
}
"""Titles of the pages of public names."""


def commands_page(app: typer.Typer) -> str:
    """The page of a program: all commands with their arguments and options."""
    group: Any = get_command(app)
    lines = [f"# {group.name}", "", group.help or "", ""]
    for name, command in group.commands.items():
        lines += [f"## {name}", "", _text(command.help), ""]
        lines += ["```text", f"{group.name} {name} {' '.join(_usage(command))}", "```", ""]
        lines += ["| argument or option | meaning |", "|---|---|"]
        lines += [
            f"| {_names(each)} | {_meaning(each)} |" for each in command.params if not each.hidden
        ]
        lines.append("")
    return "\n".join(lines) + f"\n## Exit codes\n\n```text\n{group.epilog}\n```\n"


def _usage(command: Any) -> Iterator[str]:
    yield "[OPTIONS]"
    for each in command.params:
        if each.param_type_name == "argument":
            name = each.name.upper() + ("..." if each.nargs != 1 else "")
            yield name if each.required else f"[{name}]"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _meaning(parameter: Any) -> str:
    more = []
    if parameter.required:
        more.append("Required.")
    default = parameter.default
    if isinstance(default, str | int | float) and not isinstance(default, bool) and default != "":
        more.append(f"Default: `{default}`.")
    return " ".join([_text(parameter.help), *more]).strip()


def _text(text: str | None) -> str:
    """A text of a terminal as a cell of a table."""
    escaped = (text or "").replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*")
    return " ".join(escaped.replace("<", "&lt;").replace("[", "\\[").split())


def spec_page(schema: Path) -> str:
    """The keys of a feature spec, from its published JSON Schema."""
    spec = json.loads(schema.read_text(encoding="utf-8"))
    lines = [
        "# Keys of a feature spec",
        "",
        "All keys, from the JSON Schema with which specs are checked. [The contract](../contract.md#feature-spec) explains "
        "them, [sources](../sources.md) those of a source.",
        "",
        *_section("The spec", spec),
    ]
    for name, section in sorted(spec["$defs"].items()):
        lines += _section(name, section)
    return "\n".join(lines)


def _section(title: str, section: dict[str, Any]) -> list[str]:
    lines = [f"## {title}", "", _text(section.get("description")), ""]
    if "properties" in section:
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    required = section.get("required", [])
    for key, value in section.get("properties", {}).items():
        default = "required" if key in required else f"`{json.dumps(value.get('default'))}`"
        lines.append(
            f"| `{key}` | {_type(value)} | {default} | {_text(value.get('description'))} |"
        )
    return [*lines, ""]


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in value:
            return " or ".join(dict.fromkeys(map(_type, value[key])))
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}" if "items" in value else "list"
    if value.get("type") == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"name to {_type(value['additionalProperties'])}"
    return str(value.get("type", "any"))


def names_page(package: str, folder: Path) -> str:
    """The public names of a package, for mkdocstrings."""
    module = griffe.load(package, search_paths=[folder])
    lines = [f"# {TITLES[package]}", "", module.docstring.value if module.docstring else "", ""]
    names = [
        name
        for name, member in module.members.items()
        if member.is_alias and member.target_path.startswith(f"{package}.")
    ]
    for name in sorted(names, key=lambda name: (not name[0].islower(), name)):
        lines += [f"::: {package}.{name}", ""]
    return "\n".join(lines)
