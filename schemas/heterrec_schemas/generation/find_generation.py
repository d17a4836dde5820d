"""Find a generation by path: the latest one of an output folder, or a generation's own folder."""

from pathlib import Path

from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import (
    CorruptGenerationError,
    GenerationError,
    UnfinishedGenerationError,
    suggest,
)
from heterrec_schemas.generation.folder import Folder, open_folder
from heterrec_schemas.manifest import CONTENT_FOLDERS, GENERATIONS, LATEST_NAME, MANIFEST_NAME


def find_generation(path: str | Path) -> Folder:
    """The folder of the generation at a path; it has a manifest, which is not read.

    Args:
        path: an output folder, whose `latest.json` is followed, or a generation's own folder.

    Raises:
        CallError: the URI's scheme is unknown.
        GenerationError: there is no such folder, or no generation in it.
        UnfinishedGenerationError: the generation has no manifest.
        CorruptGenerationError: `latest.json` names no generation.
    """
    folder = open_folder(path)
    if folder.has_file(MANIFEST_NAME):
        return folder
    if folder.has_file(LATEST_NAME):
        return _latest(folder)
    raise _refusal(folder)


def _latest(output: Folder) -> Folder:
    """The generation in the `latest.json` of an output."""
    shown = output.locate(LATEST_NAME)
    try:
        name = parse_json(output.read_bytes(LATEST_NAME))["generation"]
    except (ValueError, TypeError, KeyError):
        name = None
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
        raise CorruptGenerationError(
            f"{shown} names no generation",
            got=name,
            expected='{"generation": "<id>"}',
            todo="Open a generation by its own folder, or publish again.",
        )
    folder = output.child(f"{GENERATIONS}/{name}")
    if folder.has_file(MANIFEST_NAME):
        return folder
    if folder.kind() == "absent":
        raise GenerationError(
            f"{shown} names {name}, which has no folder",
            todo=suggest(name, output.child(GENERATIONS).folders()) or "Build it again.",
        )
    raise unfinished(folder)


def _refusal(folder: Folder) -> GenerationError:
    """The error for a folder with neither a manifest nor a `latest.json`."""
    kind = folder.kind()
    if kind == "absent":
        beside = folder.parent().folders()
        hint = suggest(folder.path.rpartition("/")[2], beside)
        return GenerationError(
            f"there is no folder {folder.name}",
            todo=hint if hint.startswith("Did") else "Check the path.",
        )
    if kind == "file":
        return GenerationError(
            f"{folder.name} is a file",
            expected="an output folder of a build, or the folder of one generation",
        )
    inside = folder.folders()
    if GENERATIONS in inside:
        return _unpublished(folder)
    if folder.has_file("spec.yaml") or set(inside) & {*CONTENT_FOLDERS, "rejects", "schema"}:
        return unfinished(folder)
    if folder.path.rpartition("/")[0].endswith(f"/{GENERATIONS}"):
        return unfinished(folder)
    return GenerationError(
        f"{folder.name} holds no generation",
        expected=f"an output folder with {LATEST_NAME}, or a generation with {MANIFEST_NAME}",
        todo="Check the path, or build into it first.",
    )


def _unpublished(output: Folder) -> GenerationError:
    """The error for an output folder without `latest.json`."""
    generations = output.child(GENERATIONS)
    names = generations.folders()
    marks = generations.sizes([f"{name}/{MANIFEST_NAME}" for name in names]) if names else []
    finished = [name for name, mark in zip(names, marks, strict=True) if mark is not None]
    if finished:
        return GenerationError(
            f"{output.name} has no {LATEST_NAME}, so no generation is published",
            todo=f"Open one by its own folder: {generations.locate(finished[-1])}.",
        )
    return UnfinishedGenerationError(
        f"{output.name} has no finished generation",
        got=f"{len(names)} without {MANIFEST_NAME}",
        todo="Wait for the build to end, or run it again.",
    )


def unfinished(folder: Folder) -> UnfinishedGenerationError:
    """The error for a generation without a manifest."""
    return UnfinishedGenerationError(
        f"{folder.name} has no {MANIFEST_NAME}: its build is still running, or failed, or it was purged",
        todo="Wait for the build to end, or open the generation that the output names now.",
    )
