"""Check the spec against the data and prepare the job."""

import secrets
from datetime import datetime

from heterrec_pipeline.building.config import BuildConfig
from heterrec_pipeline.checking.check import check_tables, raise_problems
from heterrec_pipeline.checking.estimate import estimate_sizes
from heterrec_pipeline.checking.reject_limit import check_sample
from heterrec_pipeline.job import Job
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.sizing import check_layout
from heterrec_pipeline.telemetry.clock import utc_text
from heterrec_pipeline.telemetry.recorder import phase
from heterrec_pipeline.wiring.exchange import spills


def checked_job(config: BuildConfig, now: datetime) -> Job:
    """Describe the build, and check a sample of the input unless the build is lenient.

    Raises:
        HeterrecError: all errors that can be found without the whole input, or too many rejects in the sample.
    """
    with phase("check the spec and the input"):
        job = make_job(config, now)
    if not job.lenient:
        with phase("check a sample of the input"):
            check_sample(job)
    return job


def make_job(config: BuildConfig, now: datetime) -> Job:
    """Check the spec against the data and describe the build.

    Raises:
        HeterrecError: reports all errors that can be found before the data are read.
    """
    checked = check_tables(config.spec, config.input)
    raise_problems(checked.problems)
    sizes = estimate_sizes(config.spec, checked)
    check_layout(config.spec, sizes)
    return Job(
        spec=config.spec,
        spec_text=config.spec_text,
        generation=lease.new_generation_id(now),
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
    )
