"""The description of a bulk job, by which a later call recognises it, and the manifest of its output."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from heterrec_model.bundle.files import Identity
from heterrec_model.recommending.history import Key
from heterrec_schemas.errors import CallError

JOB, MANIFEST = "job.json", "manifest.json"
ALL = "all"
"""Value of `users` for the histories of the bundle."""
SHARD_USERS = 4_096
"""Number of users of a shard, up to `_MOST_SHARDS` shards."""
_MOST_SHARDS = 1_000
_LIBRARIES = ("numpy", "pyarrow", "faiss-cpu", "onnxruntime")
Size = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listed(_Part):
    """A list of ids in an option: their number and the hash of their texts in order."""

    ids: Size
    sha256: str


class Job(_Part):
    """The content of job.json: all that the answers depend on.

    Attributes:
        identity: generation, model, checkpoint and fingerprint of the bundle.
        users: `all`, or the SHA-256 of the file of users.
        rows: number of users.
        shards: number of files.
        k: number of items per user.
        search: exact or index.
        index_sha256: of the index; None for exact search.
        filter_seen: whether items of the history are left out.
        where: values by feature.
        allow: ids that may be recommended; None allows all.
        deny: ids that are left out.
        versions: of the libraries that compute the answers.
    """

    identity: Identity
    users: str
    rows: Size
    shards: Size
    k: Size
    search: str
    index_sha256: str | None
    filter_seen: bool
    where: dict[str, list[str]]
    allow: Listed | None
    deny: Listed | None
    versions: dict[str, str]

    def differences(self, other: "Job") -> str:
        """The fields in which another job differs, in words: name, this value, the other value."""
        ours, theirs = _flat(self.model_dump()), _flat(other.model_dump())
        names = [
            n
            for n in [*ours, *(n for n in theirs if n not in ours)]
            if ours.get(n) != theirs.get(n)
        ]
        return "; ".join(
            f"{n} {_shown(ours.get(n))} there, {_shown(theirs.get(n))} now" for n in names
        )


class ShardInfo(_Part):
    """A finished file.

    Attributes:
        path: inside the output folder.
        rows: number of users.
        bytes: size.
        sha256: of the file.
        fallbacks: number of users by kind of fallback.
        short: number of users with fewer than k items.
    """

    path: str
    rows: Size
    bytes: Size
    sha256: str
    fallbacks: dict[str, int]
    short: Size


class BulkManifest(_Part):
    """The content of manifest.json, which is written last.

    Attributes:
        job: see `Job`.
        rows: number of users.
        fallbacks: number of users by kind of fallback.
        short: number of users with fewer than k items, because no more are allowed.
        files: in the order of the users.
    """

    job: Job
    rows: Size
    fallbacks: dict[str, int]
    short: Size
    files: list[ShardInfo]

    @classmethod
    def of(cls, job: Job, files: list[ShardInfo]) -> "BulkManifest":
        """The manifest of finished files."""
        kinds = sorted({kind for file in files for kind in file.fallbacks})
        return cls(
            job=job,
            rows=sum(file.rows for file in files),
            fallbacks={kind: sum(f.fallbacks.get(kind, 0) for f in files) for kind in kinds},
            short=sum(file.short for file in files),
            files=files,
        )


def shard_name(shard: int, shards: int) -> str:
    """Name of a file of recommendations."""
    return f"recommendations-{shard:05}-of-{shards:05}.parquet"


def shard_rows(shard: int, shards: int, rows: int) -> tuple[int, int]:
    """First row of a shard, and the one after its last."""
    return rows * shard // shards, rows * (shard + 1) // shards


def number_of_shards(rows: int) -> int:
    """Number of shards unless the caller chooses it."""
    return max(1, min(-(-rows // SHARD_USERS), _MOST_SHARDS))


def listed(ids: Iterable[Key] | None) -> Listed | None:
    """The description of a list of ids."""
    if ids is None:
        return None
    texts = sorted({str(one) for one in ids})
    digest = hashlib.sha256(json.dumps(texts).encode("ascii")).hexdigest()
    return Listed(ids=len(texts), sha256=digest)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that compute the answers; absent ones are left out."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def part_of(text: str) -> tuple[int, int]:
    """The numbers of a part such as 2/8: the second of eight.

    Raises:
        CallError: it is no such part.
    """
    number, slash, parts = text.partition("/")
    if slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts):
        return int(number), int(parts)
    raise CallError("part", got=repr(text), expected="I/N with 1 <= I <= N, such as 2/8")


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and value and not name == "where":
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value) if isinstance(value, dict) else str(value)
