"""`latest.json`: which generation it names, and who may let it name another one.

Every change is conditional on the content that the rule was applied to: concurrent writers never undo each other's decision.
"""

import json
import logging
from collections.abc import Callable
from typing import NamedTuple

from heterrec_pipeline.files import storage
from heterrec_pipeline.job import Job
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import NotPublishedError
from heterrec_schemas.manifest import GENERATION_ID, GENERATIONS, LATEST_NAME, MANIFEST_NAME

LOG = logging.getLogger(__name__)


class Latest(NamedTuple):
    """What `latest.json` was found to contain; None if it is absent."""

    held: bytes | None

    @property
    def names(self) -> str | None:
        """The generation that it names; None if it is absent or names none."""
        try:
            named = parse_json(self.held or b"")["generation"]
        except (ValueError, TypeError, KeyError):
            return None
        return named if isinstance(named, str) and GENERATION_ID.fullmatch(named) else None

    @property
    def decision(self) -> str | bytes | None:
        """What two findings of the same decision have in common: white space does not count."""
        return self.names or self.held

    @property
    def in_words(self) -> str:
        """For messages: `names X`."""
        if self.held is None:
            return "is absent"
        return f"names {self.names or 'no generation'}"


def read_latest(output: str) -> Latest:
    """The present content of an output's `latest.json`.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return Latest(storage.read_bytes(storage.join(output, LATEST_NAME)))
    except FileNotFoundError:
        return Latest(None)


def name_latest(job: Job) -> None:
    """Let `latest.json` name the generation of a job, which is complete, by the rule of builds or of refreshes.

    Raises:
        NotPublishedError: a refresh may not be named.
        RunError: the file cannot be written.
    """
    if job.parent is None:
        point_latest(job.output, job.generation, job.attempt)
    elif job.publish is not False:
        parent, found = job.parent.generation, Latest(job.latest)
        anyway = job.publish is True
        publish_refresh(job.output, job.generation, job.attempt, parent, found, anyway=anyway)


def point_latest(output: str, generation: str, attempt: str) -> None:
    """The rule of builds: name the generation, unless `latest.json` names a newer one that is published.

    Of builds that end at the same time, the one that began last is named, in whatever order they write.

    Raises:
        RunError: the file cannot be written.
    """

    def newer_only(now: Latest) -> bool:
        named = now.names or ""
        if named > generation and storage.exists(
            storage.join(output, GENERATIONS, named, MANIFEST_NAME)
        ):
            LOG.warning("%s already names the newer %s", LATEST_NAME, named)
            return False
        return True

    _move(output, generation, attempt, newer_only)


def publish_refresh(
    output: str, generation: str, attempt: str, parent: str, found: Latest, *, anyway: bool = False
) -> None:
    """The rule of refreshes: name the generation if `latest.json` is as it was found, and names the parent or is absent.

    So of two refreshes of one parent one is named, and a rollback is never undone by a refresh that was under way. A retry
    after the move changes nothing.

    Args:
        output: the folder for generations.
        generation: the refresh.
        attempt: makes the name of a temporary file unique to this writer.
        parent: the id of its parent.
        found: `latest.json` as it was before the refresh read anything.
        anyway: accept that it names another generation than the parent, as long as it is as it was found.

    Raises:
        NotPublishedError: it may not be named; the generation is complete all the same.
        RunError: the file cannot be written.
    """
    root = storage.join(output, GENERATIONS, generation)
    todo = f"{root} is complete: publish it by `heterrec-pipeline publish`, or refresh again."

    def as_found(now: Latest) -> bool:
        if now.decision != found.decision:
            expected = found.names or (parent if now.names != parent else "none")
            raise _not_published(now, expected, todo)
        if not anyway and now.held is not None and now.names != parent:
            raise _not_published(now, parent, todo)
        return True

    _move(output, generation, attempt, as_found)


def publish_named(output: str, generation: str, attempt: str, expected: str | None) -> None:
    """The rule of an operator: name the generation if `latest.json` names the expected one.

    Args:
        output: the folder for generations.
        generation: a finished generation, protected from purges by a lease.
        attempt: as in `publish_refresh`.
        expected: the generation to be replaced; None if `latest.json` names none.

    Raises:
        NotPublishedError: it names another generation.
        RunError: the file cannot be written.
    """

    def as_expected(now: Latest) -> bool:
        if now.names != expected:
            todo = (
                f"It was kept. Look at `heterrec-pipeline generations {output}`, and decide again."
            )
            raise _not_published(now, expected or "none", todo)
        return True

    _move(output, generation, attempt, as_expected)


def _not_published(now: Latest, expected: str, todo: str) -> NotPublishedError:
    what = f"not published: {LATEST_NAME} {now.in_words}, not {expected}"
    return NotPublishedError(what, todo=todo)


def _move(output: str, generation: str, attempt: str, allowed: Callable[[Latest], bool]) -> None:
    """Let `latest.json` name a generation, if it does not yet and that is allowed."""
    body = (json.dumps({"generation": generation}) + "\n").encode()

    def moved(held: bytes | None) -> bytes | None:
        now = Latest(held)
        return body if now.names != generation and allowed(now) else None

    storage.update_bytes(storage.join(output, LATEST_NAME), moved, attempt)
