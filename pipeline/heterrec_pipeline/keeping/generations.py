"""The generations of an output: what each is, and what protects it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from heterrec_pipeline.files import storage
from heterrec_pipeline.publishing.latest import Latest, read_latest
from heterrec_pipeline.publishing.lease import lease_of
from heterrec_schemas import leases
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import CallError, GenerationError, suggest
from heterrec_schemas.generation import open_folder, read_manifest
from heterrec_schemas.leases import LEASES, SWEEP_AFTER, Lease
from heterrec_schemas.manifest import GENERATION_ID, GENERATIONS, MANIFEST_NAME, Manifest
from heterrec_schemas.stores import store_of

PINS = "pins"
"""The folder of pins in an output: one file per pinned generation."""
AT_A_TIME = 8
"""Number of generations that are read at once."""


@dataclass(frozen=True)
class Listed:
    """One generation.

    Attributes:
        id: its id.
        manifest: its manifest; None if it has none, or none that this release can read.
        damage: why its manifest cannot be read; None if it can, or if there is none.
        latest: whether `latest.json` names it.
        pin: the content of its pin, or None.
        leases: the contents of the leases on it whose holders live, as far as can be seen at once.
        builder: the content of the lease inside its folder, of its builder or of a purge, if its holder may live; or None.
    """

    id: str
    manifest: Manifest | None
    damage: str | None
    latest: bool
    pin: dict[str, Any] | None
    leases: tuple[dict[str, Any], ...]
    builder: dict[str, Any] | None

    @property
    def finished(self) -> bool:
        """Whether it has a manifest."""
        return self.manifest is not None or self.damage is not None

    @property
    def states(self) -> tuple[str, ...]:
        """Those of latest, pinned, leased, unfinished and damaged that hold, in this order."""
        holds = {
            "latest": self.latest,
            "pinned": self.pin is not None,
            "leased": bool(self.leases) or (self.finished and self.builder is not None),
            "unfinished": not self.finished,
            "damaged": self.damage is not None,
        }
        return tuple(state for state, true in holds.items() if true)

    @property
    def created(self) -> datetime:
        """When its build began."""
        if self.manifest is not None:
            return datetime.fromisoformat(self.manifest.created).astimezone(UTC)
        return datetime.strptime(self.id[:18], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)

    @cached_property
    def bytes(self) -> int | None:
        """The size of its files; None without a manifest."""
        return None if self.manifest is None else sum(f.bytes for f in self.manifest.files)

    @property
    def ancestors(self) -> tuple[str, ...]:
        """The ids of the generations from which it descends, the first build first, the parent last."""
        return tuple(a.generation for a in self.manifest.lineage) if self.manifest else ()

    def as_json(self) -> dict[str, Any]:
        """All of it for scripts."""
        m = self.manifest
        return {
            "id": self.id,
            "parent": m and m.parent,
            "created": m.created if m else self.created.isoformat(timespec="milliseconds"),
            "content": m and m.content_sha256,
            "items": m and m.counts.items.kept,
            "retired": m and m.counts.items.retired,
            "rows": m and m.counts.interactions.kept,
            "bytes": self.bytes,
            "drift": m and m.drift,
            "state": ", ".join(self.states),
            "lineage": list(self.ancestors),
            "pin": self.pin,
            "leases": list(self.leases),
            "builder": self.builder,
            "damage": self.damage,
        }


@dataclass(frozen=True)
class Survey:
    """All generations of an output, newest first, and what `latest.json` contains."""

    output: str
    latest: Latest
    listed: tuple[Listed, ...]

    def __getitem__(self, generation: str) -> Listed | None:
        """A generation by its id; None if there is no such one."""
        return next((one for one in self.listed if one.id == generation), None)

    def as_json(self) -> dict[str, Any]:
        """All of it for scripts."""
        generations = [one.as_json() for one in self.listed]
        return {"output": self.output, "latest": self.latest.names, "generations": generations}


def survey(output: str, after: timedelta = SWEEP_AFTER, now: datetime | None = None) -> Survey:
    """Read the state of all generations of an output.

    Args:
        output: the folder of `generations/` and `latest.json`.
        after: time without a heartbeat after which the holder of a lease that cannot be seen is dead.
        now: the present time, by this machine's clock if it is not given.

    Raises:
        CallError: there is no such output, or no generation in it.
        RunError: the store does not respond.
    """
    output = output_folder(output)
    names, latest = generation_names(output), read_latest(output)
    now = now or datetime.now(UTC)
    held, pins = _readers(output, after, now), _pins(output)

    def one(name: str) -> Listed:
        root = storage.join(output, GENERATIONS, name)
        manifest, damage = _manifest(root)
        return Listed(
            id=name,
            manifest=manifest,
            damage=damage,
            latest=latest.names == name,
            pin=pins.get(name),
            leases=tuple(lease.body for lease in held.get(name, ())),
            builder=_builder(root, after, now),
        )

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return Survey(output, latest, tuple(pool.map(one, sorted(names, reverse=True))))


def output_folder(output: str) -> str:
    """The absolute path or the URI of an output folder with generations.

    Raises:
        CallError: there is no such folder, or it holds no generations.
    """
    path = store_of(output).absolute(output)
    if storage.folder_missing(path):
        raise CallError(f"there is no folder {output}", todo="Check the path.")
    if storage.exists(storage.join(path, MANIFEST_NAME)):
        raise CallError(
            f"{output} is a generation", expected=f"the output folder that holds {GENERATIONS}/"
        )
    if not generation_names(path):
        raise CallError(f"{output} holds no generations", todo="Check the path, or build into it.")
    return path


def generation_names(output: str) -> list[str]:
    """The ids of all generations of an output, unfinished ones too, sorted. Links and other folders are ignored."""
    above = storage.join(output, GENERATIONS)
    if storage.is_link(above):
        return []
    found = (folder.rpartition("/")[2] for folder in storage.folders(above))
    return sorted(
        name
        for name in found
        if GENERATION_ID.fullmatch(name) and not storage.is_link(storage.join(above, name))
    )


def existing(output: str, generation: str) -> str:
    """The folder of a generation of an output, finished or not.

    Raises:
        CallError: there is no such generation; near ids are suggested.
    """
    names = generation_names(output)
    if generation not in names:
        raise CallError(
            f"{output} has no generation {generation!r}", todo=suggest(generation, names)
        )
    return storage.join(output, GENERATIONS, generation)


def pin_of(output: str, generation: str) -> dict[str, Any] | None:
    """The content of a generation's pin; None if it is not pinned."""
    try:
        body = parse_json(storage.read_bytes(pin_path(output, generation)))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}  # a damaged pin protects all the same
    return body if isinstance(body, dict) else {}


def pin_path(output: str, generation: str) -> str:
    """The file that pins a generation."""
    return storage.join(output, PINS, f"{generation}.json")


def readers_of(output: str, generation: str) -> str:
    """The folder of the leases of a generation's readers."""
    return storage.join(output, LEASES, generation)


def _pins(output: str) -> dict[str, dict[str, Any]]:
    names = [name.removesuffix(".json") for name in storage.files_in(storage.join(output, PINS))]
    found = {name: pin_of(output, name) for name in names if GENERATION_ID.fullmatch(name)}
    return {name: body for name, body in found.items() if body is not None}


def _readers(output: str, after: timedelta, now: datetime) -> dict[str, list[Lease]]:
    found: dict[str, list[Lease]] = {}
    for lease in leases.live_leases(storage.join(output, LEASES), after, now):
        found.setdefault(lease.folder.rpartition("/")[2], []).append(lease)
    return found


def _builder(root: str, after: timedelta, now: datetime) -> dict[str, Any] | None:
    lease = lease_of(root)
    if lease.held is None or leases.lives(lease.body) is False:
        return None
    # The job of a remote engine has no heartbeat.
    lives = "beats" not in lease.body or leases.may_live(lease, after, now)
    return lease.body if lives else None


def _manifest(root: str) -> tuple[Manifest | None, str | None]:
    """The manifest of a generation, or why it cannot be read; neither if there is none."""
    try:
        return read_manifest(open_folder(root)), None
    except FileNotFoundError:
        return None, None
    except GenerationError as error:
        return None, error.message
