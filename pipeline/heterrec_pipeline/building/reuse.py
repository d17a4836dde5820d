"""What a build can take over from the parent of a refresh: how tables are read, and which input files are unchanged."""

import hashlib
import json
from dataclasses import replace
from importlib import metadata
from typing import Any

from heterrec_pipeline.files.rejects import RejectValues
from heterrec_pipeline.items.aggregate import ITEM
from heterrec_pipeline.job import INTERACTIONS, LOG_ITEMS, ErasingFeature, Job, TableJob
from heterrec_pipeline.keys.read import KEY
from heterrec_pipeline.reading.digests import Held, Reading, Reuse
from heterrec_pipeline.reading.erased import ErasedList
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.fingerprints import unchanged_files
from heterrec_schemas.generation.find_generation import find_generation
from heterrec_schemas.generation.verify import read_manifest
from heterrec_schemas.manifest import STATE
from heterrec_schemas.user_ids import UserKey

VERSION = 2
"""Version of the digests; another one is not read."""
LIBRARIES = ("fastavro", "heterrec", "numpy", "orjson", "polars", "polars-hash", "pyarrow")
"""Packages that decide what is found in a file; digests of other versions are not used."""
_LATER = (
    *("min_count", "max_size", "max_values", "oov_buckets", "shards", "vocabulary"),
    *("bins", "boundaries", "fit_sample", "erased"),
)
"""Settings of a feature that apply to what was read."""


def with_readings(job: Job) -> Job:
    """The job with digests: how each of its tables is read."""
    spec = job.spec
    log = spec.interactions
    about_log = log.model_dump(mode="json", exclude={"source"}) | _about_source(job.log)
    about_log |= _about_texts(job.user_key, job.rejects)
    own = [("user", _as_written(job.erasures.users, job.user_key)), ("item", job.erasures.items)]
    job = replace(
        job,
        reading=_reading(INTERACTIONS, {"log": about_log}, own),
        joins=tuple(replace(t, reading=_of_table(t)) for t in job.joins),
        users=replace(job.users, reading=_of_table(job.users)) if job.users else None,
    )
    if not spec.denormalised:
        return replace(job, items=replace(job.items, reading=_of_table(job.items)))
    if any(isinstance(f, ErasingFeature) for f in job.items.features):
        # The digests of a log hold raw cells, in which an erased value cannot be told.
        return replace(job, reading=None)
    about = {"log": about_log, "items": _about(job.items)}
    reading = _reading(LOG_ITEMS, about, [(ITEM, job.erasures.items)])
    return replace(job, items=replace(job.items, reading=reading))


def _of_table(table: TableJob) -> Reading:
    erased = [(KEY, _as_written(table.erased, table.user_key))]
    erased += [(f.name, f.erased) for f in table.features if isinstance(f, ErasingFeature)]
    return _reading(table.name, _about(table), erased)


def _about(table: TableJob) -> dict[str, Any]:
    """All that decides what is found in a file of a feature table."""
    listed = table.available_from
    return {
        "key": table.key,
        "missing_values": table.missing_values,
        "features": [f.model_dump(mode="json", exclude=set(_LATER)) for f in table.features],
        "available_from": listed.model_dump(mode="json") if listed else None,
        **_about_source(table.files),
        **_about_texts(table.user_key, table.rejects),
    }


def _about_texts(key: UserKey | None, rejects: RejectValues) -> dict[str, Any]:
    """How user ids and the texts of rejects are written; nothing if they are written as they are."""
    found = {"user_ids": key.fingerprint} if key is not None else {}
    if rejects.values == "none":
        return found | {"rejects": "none"}
    if rejects.key is not None and rejects.values == "hashed":
        return found | {"rejects": rejects.key.fingerprint}
    return found


def _as_written(listed: ErasedList | None, key: UserKey | None) -> ErasedList | None:
    """The list of erased user ids as digests have them."""
    return listed if listed is None or key is None else replace(listed, key=key)


def _about_source(files: tuple[InputFile, ...]) -> dict[str, Any]:
    """What a source says about the rows of its files, and what the other files decide about what is found in one of them."""
    if not files:
        return {}
    one = files[0]
    found = {"source": one.settings, "dates_as_times": one.dates_as_times}
    return {name: value for name, value in found.items() if value}


def _reading(
    name: str, about: dict[str, Any], erased: list[tuple[str, ErasedList | None]]
) -> Reading:
    versions = {library: metadata.version(library) for library in LIBRARIES}
    body = json.dumps([VERSION, versions, name, about], sort_keys=True)
    sha256 = hashlib.sha256(body.encode("utf-8")).hexdigest()
    return Reading(name, sha256, tuple((c, listed) for c, listed in erased if listed is not None))


def reusable(job: Job, *, wanted: bool) -> Reuse | None:
    """What a refresh can take over; None in a build. Hashes the input files whose sizes the parent's had.

    Raises:
        HeterrecError: an input file cannot be read.
    """
    if job.parent is None:
        return None
    # Digests of the parent have tokens by its own quantizers.
    anew = [t.name for t in job.tables if any(not job.is_frozen(t.side, f) for f in t.embeddings)]
    nothing = Reuse(job.root, job.parent.root, anew=frozenset(anew))
    if not wanted:
        return replace(nothing, why="because of --no-reuse")
    manifest = read_manifest(find_generation(job.parent.root))
    held = {
        f.path: Held(f.bytes, f.sha256)
        for f in manifest.files
        if f.path.startswith(f"{STATE}/") and f.path.endswith(".arrow")
    }
    if not held:
        return replace(nothing, why="because the base has no state")
    same = unchanged_files(job.input_files, manifest.inputs)
    return replace(nothing, files=same, held=held)
