"""Check the spec against the data and prepare the job."""

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from heterrec_pipeline.building.config import BuildConfig
from heterrec_pipeline.building.reuse import reusable, with_readings
from heterrec_pipeline.checking.changes import (
    feature_of_call,
    refused_changes,
    without_vocabularies,
)
from heterrec_pipeline.checking.check import check_tables, raise_problems
from heterrec_pipeline.checking.doubts.find import doubts, key_examples
from heterrec_pipeline.checking.estimate import estimate_sizes
from heterrec_pipeline.checking.parent import find_parent, open_parent
from heterrec_pipeline.checking.reject_limit import check_sample
from heterrec_pipeline.checking.user_keys import refused_key
from heterrec_pipeline.job import Job
from heterrec_pipeline.parent import Parent
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.publishing.latest import Latest, read_latest
from heterrec_pipeline.sizing import check_layout, with_known
from heterrec_pipeline.telemetry.clock import utc_text
from heterrec_pipeline.telemetry.recorder import phase
from heterrec_pipeline.wiring.exchange import spills
from heterrec_schemas.errors import HeterrecError, RunError
from heterrec_schemas.manifest import GENERATION_ID


def with_base(config: BuildConfig) -> BuildConfig:
    """The configuration of a refresh with its parent's own folder as base, since `latest.json` may change meanwhile.

    Raises:
        GenerationError: there is no generation, or it is unfinished.
    """
    return config if config.base is None else replace(config, base=find_parent(config.base).path)


def checked_job(config: BuildConfig, now: datetime) -> Job:
    """Describe the build, and check a sample of the input unless the build is lenient.

    Raises:
        HeterrecError: all errors that can be found without the whole input, or too many rejects in the sample.
    """
    with phase("check the spec and the input"):
        job = make_job(config, now)
    if not job.lenient:
        with phase("check a sample of the input"):
            samples = check_sample(job)
            return replace(
                job,
                doubts=tuple(doubts(job.spec, job, samples, now)),
                key_examples=key_examples(job.spec, job, samples),
            )
    return job


def make_job(config: BuildConfig, now: datetime) -> Job:
    """Check the spec against the data and describe the build.

    Raises:
        HeterrecError: reports all errors that can be found before the data are read.
    """
    latest = _latest(config)
    parent = open_parent(config.base) if config.base is not None else None
    refit = frozenset(feature_of_call(name) for name in config.refit)
    begun = parent.features if parent is not None else ()
    checked = check_tables(without_vocabularies(config.spec, begun), config.input)
    changes = list[HeterrecError]()
    if parent is not None:
        changes += refused_key(parent, config.spec, checked.user_key)
        changes += refused_changes(parent, config.spec, refit)
    raise_problems([*changes, *checked.problems])
    sizes = estimate_sizes(config.spec, checked)
    rows = {name: v.rows for name, v in checked.imported.items()}
    if parent is not None:
        rows |= {name: v.rows for name, v in parent.vocabularies.items()}
    sizes = with_known(sizes, rows)
    check_layout(config.spec, sizes)
    job = Job(
        spec=config.spec,
        spec_text=config.spec_text,
        generation=lease.new_generation_id(_later(now, parent, latest.names)),
        output=config.output.rstrip("/") or "/",
        attempt=secrets.token_hex(8),
        created=utc_text(now),
        items=checked.items,
        joins=checked.joins,
        users=checked.users,
        log=checked.log,
        spill=spills(config.options),
        sizes=sizes,
        lenient=config.lenient,
        erasures=checked.erasures,
        imported=checked.imported,
        parent=parent,
        refit=refit,
        latest=latest.held,
        publish=config.publish,
        allow_drift=config.allow_drift,
        empty=checked.empty,
        user_key=checked.user_key,
    )
    job = with_readings(job)
    return replace(job, reuse=reusable(job, wanted=config.reuse))


def _latest(config: BuildConfig) -> Latest:
    """What `latest.json` names; a build that cannot read it says so when it publishes."""
    try:
        return read_latest(config.output)
    except (OSError, RunError):
        if config.base is not None:
            raise
        return Latest(None)


def _later(now: datetime, parent: Parent | None, latest: str | None) -> datetime:
    """The present time, but after the parent's and the published one's: ids sort by time, whichever clocks they come from.

    Otherwise a build by a clock that is behind would be taken for one that began before the published one.
    """
    known = [latest or "", parent.generation if parent is not None else ""]
    newest = max(filter(GENERATION_ID.fullmatch, known), default=None)
    if newest is None:
        return now
    try:
        begun = datetime.strptime(newest.split("-")[0], "%Y%m%dT%H%M%S%fZ")
        return max(now, begun.replace(tzinfo=UTC) + timedelta(milliseconds=1))
    except (ValueError, OverflowError):  # a name that is no time
        return now
