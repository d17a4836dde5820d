"""Delete the generations that are no longer needed."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from heterrec_pipeline.files import storage
from heterrec_pipeline.keeping.generations import (
    AT_A_TIME,
    PINS,
    Listed,
    Survey,
    generation_names,
    output_folder,
    survey,
)
from heterrec_pipeline.keeping.remove import GONE, remove
from heterrec_pipeline.publishing import lease
from heterrec_schemas import leases
from heterrec_schemas.errors import CallError, RunError
from heterrec_schemas.leases import LEASES, SWEEP_AFTER
from heterrec_schemas.manifest import GENERATIONS, LATEST_NAME, MANIFEST_NAME

GRACE = timedelta(hours=24)
"""Default time for which readers without a lease may use a generation that is not the latest any more."""
Wait = Callable[[float], None]
_TEMPORARY = re.compile(
    r"(\.now-[0-9a-f]{8}|(latest|building|\d{8}T\d{9}Z-[0-9a-f]{8})\.json\.[\w-]+)\.tmp"
)
"""Names under which this package writes `latest.json`, pins, leases and probes of the clock before they are complete."""


@dataclass(frozen=True)
class Purged:
    """What a purge did, or would do.

    Attributes:
        output: the folder for generations.
        dry_run: whether nothing was written.
        swept: ids of unfinished generations of dead builders and purges, which were deleted first.
        deleted: the deleted generations, oldest first, each with the reason.
        kept: the others, newest first, each with the reason.
        refused: those among `kept` that had to be deleted.
    """

    output: str
    dry_run: bool = False
    swept: list[str] = field(default_factory=list)
    deleted: list[tuple[Listed, str]] = field(default_factory=list)
    kept: list[tuple[Listed, str]] = field(default_factory=list)
    refused: list[tuple[Listed, str]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """The size of the deleted generations."""
        return sum(one.bytes or 0 for one, _ in self.deleted)

    def as_json(self) -> dict[str, Any]:
        """All of it for scripts."""
        found: dict[str, Any] = {
            "output": self.output,
            "dry_run": self.dry_run,
            "swept": self.swept,
            "bytes": self.bytes,
        }
        for name in ("deleted", "kept", "refused"):
            found[name] = [{"id": one.id, "why": why} for one, why in getattr(self, name)]
        return found


def purge(
    output: str,
    keep: int,
    *,
    grace: timedelta = GRACE,
    dry_run: bool = False,
    after: timedelta = SWEEP_AFTER,
    wait: Wait = time.sleep,
) -> Purged:
    """Delete all generations except those that are needed.

    Kept are: what `latest.json` names, the newest of its ancestors, pinned and leased ones, all younger than the grace time,
    and their parents. Unfinished ones are deleted if their builder is dead; damaged ones are left to people.

    Args:
        output: the folder for generations.
        keep: number of ancestors of the latest generation to keep.
        grace: age below which a generation is kept, and time for which one that was replaced is kept.
        dry_run: write and delete nothing.
        after: time without a heartbeat after which a builder or reader that cannot be seen is dead.
        wait: waits for some seconds.

    Raises:
        CallError: there is no such output, or `keep` is negative.
        RunError: no generation is published, the store does not respond, or a generation cannot be deleted.
    """
    if keep < 0:
        raise CallError("--keep", got=keep, expected="0 or more")
    swept, found, now = prepare(output, dry_run=dry_run, after=after, wait=wait)
    latest = found.latest.names
    if latest is None or (named := found[latest]) is None or named.manifest is None:
        raise RunError(
            f"nothing is purged: {LATEST_NAME} {found.latest.in_words}"
            + (", which is not whole" if latest else ""),
            todo="Purging keeps its lineage: publish a generation first.",
        )
    result = Purged(found.output, dry_run, swept)
    decided = choose(found, keep, lambda one: now - _last_change(found.output, one) < grace)
    for one, why in sorted(decided, key=lambda d: d[0].id):
        if why is None:
            protection = None if dry_run else remove(found.output, one.id)
            if protection is None:
                result.deleted.append((one, "not needed"))
                continue
            if protection == GONE:
                continue
            why = protection
        result.kept.insert(0, (one, why))
    return result


def prepare(
    output: str, *, dry_run: bool, after: timedelta, wait: Wait
) -> tuple[list[str], Survey, datetime]:
    """Delete leftovers of dead builders, purges and readers; then read the state of all generations.

    Returns:
        The ids of the deleted leftovers, the generations, and the present time by the store's clock.

    Raises:
        CallError: there is no such output.
    """
    output, now = output_folder(output), datetime.now(UTC)
    if dry_run:
        return [], survey(output, after, now), now
    swept = lease.sweep(output, now, after, wait)
    _clear_readers(output, after, wait)
    now = leases.store_now(output)
    _clear_temporary(output, now - after)
    return swept, survey(output, after, now), now


def choose(
    found: Survey, keep: int, is_young: Callable[[Listed], bool]
) -> Iterator[tuple[Listed, str | None]]:
    """Each generation with the reason to keep it; None if it is not needed.

    Args:
        found: all generations.
        keep: number of ancestors of the latest generation to keep.
        is_young: whether a finished generation is within its grace time.
    """
    latest = found[found.latest.names or ""]
    known = {one.id for one in found.listed}
    # An ancestor that is gone does not count.
    lineage = [a for a in (latest.ancestors if latest else ()) if a in known]
    newest = set(lineage[len(lineage) - min(keep, len(lineage)) :])
    young = {one.id for one in found.listed if one.finished and is_young(one)}
    replaced = {
        one.manifest.parent for one in found.listed if one.id in young and one.manifest is not None
    }
    for one in found.listed:
        if one.states:
            yield one, ", ".join(one.states)
        elif one.id in newest:
            yield one, f"one of the {keep} newest of the lineage"
        elif one.id in young:
            yield one, "younger than the grace time"
        elif one.id in replaced:
            yield one, "replaced within the grace time"
        else:
            yield one, None


def _last_change(output: str, one: Listed) -> datetime:
    """When a generation was created or finished, or copied here."""
    path = storage.join(output, GENERATIONS, one.id, MANIFEST_NAME)
    return max(one.created, storage.modified(path) or one.created)


def _clear_readers(output: str, after: timedelta, wait: Wait) -> None:
    """Delete the leases of readers that are certainly dead."""
    paths = storage.files_below(storage.join(output, LEASES))
    found = [leases.read_lease(path) for path in paths]
    alive = [(one, leases.lives(one.body)) for one in found]
    dead = [one for one, lives in alive if lives is False]
    dead += leases.silent([one for one, lives in alive if lives is None], after, output, wait)
    storage.delete_files(one.path for one in dead)


def _clear_temporary(output: str, before: datetime) -> None:
    """Delete what killed writers of small files have left outside of unfinished generations; a write takes moments."""

    def old(folder: str) -> list[str]:
        names = filter(_TEMPORARY.fullmatch, storage.files_in(folder))
        written = {p: storage.modified(p) for p in (storage.join(folder, n) for n in names)}
        return [path for path, moment in written.items() if moment and moment < before]

    roots = [storage.join(output, GENERATIONS, name) for name in generation_names(output)]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for paths in pool.map(old, [output, storage.join(output, PINS), *roots]):
            storage.delete_files(paths)
