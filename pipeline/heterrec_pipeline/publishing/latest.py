"""`latest.json`: the generation that readers of an output folder open."""

import json
import logging

from heterrec_pipeline.files import storage
from heterrec_pipeline.job import Job
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import NotPublishedError
from heterrec_schemas.manifest import GENERATION_ID, LATEST_NAME, MANIFEST_NAME

LOG = logging.getLogger(__name__)


def name_latest(job: Job) -> None:
    """Let `latest.json` name the generation of a job, which is complete.

    Raises:
        NotPublishedError: of a refresh: it names another generation than the parent, or has changed since the refresh began.
        RunError: the file cannot be written.
    """
    if job.parent is None:
        point_latest(job.output, job.generation, job.attempt)
    elif job.publish is not False:
        _continue_latest(job, job.parent.generation)


def _continue_latest(job: Job, parent: str) -> None:
    """Let `latest.json` name a refresh if nobody has changed the file since it began, and it names the parent."""
    other: list[str] = []

    def unchanged_only(held: bytes | None) -> bytes | None:
        named = _named(held)
        other.clear()
        if named == job.generation:
            return None
        if named != job.latest or (named not in ("", parent) and not job.publish):
            other.append(named)
            return None
        return _body(job.generation)

    path = storage.join(job.output, LATEST_NAME)
    storage.update_bytes(path, unchanged_only, job.attempt)
    if other:
        raise NotPublishedError(
            f"not published: {LATEST_NAME} names {other[0] or 'nothing'}, not {job.latest if job.publish else parent}",
            todo=f"The generation {job.root} is complete: publish it by name if it is wanted.",
        )


def latest_named(output: str) -> str:
    """The generation that `latest.json` of an output folder names; empty if there is none."""
    path = storage.join(output, LATEST_NAME)
    return _named(storage.read_bytes(path)) if storage.exists(path) else ""


def point_latest(output: str, generation: str, attempt: str) -> None:
    """Let `latest.json` name a generation, unless it names a newer one that is published.

    Of builds that end at the same time, the one that began last is named, in whatever order they write.

    Raises:
        RunError: the file cannot be written.
    """

    def newer_only(held: bytes | None) -> bytes | None:
        named = _named(held)
        if named > generation and storage.exists(
            storage.join(output, "generations", named, MANIFEST_NAME)
        ):
            LOG.warning("%s already names the newer %s", LATEST_NAME, named)
            return None
        body = _body(generation)
        return None if body == held else body

    storage.update_bytes(storage.join(output, LATEST_NAME), newer_only, attempt)


def _named(held: bytes | None) -> str:
    """The generation named by the content of `latest.json`; empty if there is none."""
    try:
        named = parse_json(held or b"")["generation"]
    except (ValueError, TypeError, KeyError):
        return ""
    return named if isinstance(named, str) and GENERATION_ID.fullmatch(named) else ""


def _body(generation: str) -> bytes:
    return (json.dumps({"generation": generation}) + "\n").encode()
