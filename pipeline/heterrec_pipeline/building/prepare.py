"""Check the spec against the data and lay out the job."""

import secrets
from datetime import datetime

from apache_beam.options.pipeline_options import StandardOptions

from heterrec_pipeline.building.config import BuildConfig
from heterrec_pipeline.checking.check import check_tables
from heterrec_pipeline.checking.estimate import estimate_sizes
from heterrec_pipeline.job import Job
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.runtime.flags import pipeline_options
from heterrec_pipeline.sizing import check_layout
from heterrec_pipeline.wiring.exchange import DISTRIBUTED


def make_job(config: BuildConfig, now: datetime) -> Job:
    """Hold the spec against the data and lay the build out.

    Raises:
        HeterrecError: every mistake that can be told before reading the data.
    """
    checked = check_tables(config.spec, config.input)
    checked.raise_problems()
    sizes = estimate_sizes(config.spec, checked)
    check_layout(config.spec, sizes)
    runner = pipeline_options(config.pipeline_args).view_as(StandardOptions).runner
    return Job(
        spec=config.spec,
        spec_text=config.spec_text,
        generation=lease.new_generation_id(now),
        output=config.output.rstrip("/") or "/",
        attempt=secrets.token_hex(8),
        created=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        items=checked.items,
        joins=checked.joins,
        users=checked.users,
        log=checked.log,
        spill=runner not in DISTRIBUTED,
        sizes=sizes,
    )
