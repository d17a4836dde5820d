"""`plan`: a spec and its input in, what a build would take and give out. Nothing is run or written."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from heterrec_pipeline.building.config import BuildConfig
from heterrec_pipeline.building.prepare import make_job
from heterrec_pipeline.job import Job
from heterrec_pipeline.keys.row_filter import KEY
from heterrec_pipeline.planning.advice import warnings
from heterrec_pipeline.planning.counts import (
    LogCounts,
    TableCounts,
    expected_rejects,
    log_counts,
    sequence_counts,
    table_counts,
)
from heterrec_pipeline.planning.memory import Memory, memory
from heterrec_pipeline.planning.one_table import KeyRules
from heterrec_pipeline.planning.output import Files, Surveys, predicted_files
from heterrec_pipeline.planning.resources import Shuffle, disk_for_parts, shuffle
from heterrec_pipeline.planning.sampling.blocks import SAMPLE_BYTES
from heterrec_pipeline.planning.sampling.estimates import Estimate
from heterrec_pipeline.planning.survey.derived import survey_derived
from heterrec_pipeline.planning.survey.log import survey_log
from heterrec_pipeline.planning.survey.splits import survey_splits
from heterrec_pipeline.planning.survey.tables import TableSurvey, survey_table
from heterrec_pipeline.planning.texts import text_bytes
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.rejects import Reason


@dataclass(frozen=True)
class PlanConfig:
    """What a plan needs.

    Attributes:
        spec: the feature spec.
        spec_text: its text.
        input: the folder (or store) that relative paths of the spec start from.
        pipeline_args: Beam's own flags: they name the engine.
        full_scan: read everything, so that cardinalities are exact.
        sample_bytes: about how many bytes are read of each table otherwise.
    """

    spec: FeatureSpec
    spec_text: str
    input: str
    pipeline_args: list[str] = field(default_factory=list)
    full_scan: bool = False
    sample_bytes: int = SAMPLE_BYTES


@dataclass(frozen=True)
class Plan:
    """Everything that a plan says.

    Attributes:
        found: what was read, and what it shows.
        items, users, log, sequences: rows.
        files: the generation's tables; `texts` its text files and their bytes.
        rejects: expected entries by reason.
        shuffle: bytes that are grouped by key.
        parts: bytes on disk while it runs, by what they are.
        memory: of a worker.
        warnings: what a person should look at.
    """

    found: Surveys
    items: TableCounts
    users: TableCounts | None
    log: LogCounts
    sequences: dict[str, Estimate]
    files: list[Files]
    texts: dict[str, int]
    rejects: dict[Reason, int]
    shuffle: Shuffle
    parts: dict[str, int]
    memory: Memory
    warnings: list[str]

    @property
    def bytes_out(self) -> int:
        """Of the whole generation."""
        return sum(f.bytes for f in self.files) + sum(self.texts.values())

    @property
    def disk(self) -> int:
        """Parts and the generation's own files together, just before the parts are deleted."""
        return self.bytes_out + sum(self.parts.values())


def plan(config: PlanConfig) -> Plan:
    """Read schemas, footers and a sample, and reckon.

    Raises:
        HeterrecError: every mistake that a build would name before reading the data, and unreadable files.
    """
    build = BuildConfig(
        config.spec, config.spec_text, config.input, "plan", list(config.pipeline_args)
    )
    job = make_job(build, datetime.now(UTC))
    found, of_items, by_item = survey(job, None if config.full_scan else config.sample_bytes)
    rejects = expected_rejects(found, of_items)
    files = predicted_files(found, rejects)
    items, log, sequences = table_counts(found.items), log_counts(found), sequence_counts(found)
    users = table_counts(found.users) if found.users else None
    named = dict(sorted(rejects.items()))
    moved = shuffle(found, by_item)
    return Plan(
        found=found,
        items=items,
        users=users,
        log=log,
        sequences=sequences,
        files=files,
        texts=text_bytes(found, files, items, users, log, sequences, named),
        rejects=named,
        shuffle=moved,
        parts=disk_for_parts(found, moved),
        memory=memory(found),
        warnings=[*config.spec.warnings(), *warnings(found, items, log)],
    )


def survey(job: Job, budget: int | None) -> tuple[Surveys, Counter[Reason], int]:
    """Read every table; also the rejects and the shuffled bytes a row of items that come out of the log."""
    declared = job.spec.items.catalogue_vocabulary
    rules = KeyRules(declared.oov_buckets, declared.shards)
    of_items = Counter[Reason]()
    by_item = 0
    if job.spec.denormalised:
        items, of_items, by_item = survey_derived(job, rules, budget)
    else:
        items = survey_table(job.items, rules=rules, budget=budget)
    joins = tuple(
        survey_table(t, rules=rules, universe=items.keys, budget=budget) for t in job.joins
    )
    users = survey_table(job.users, rules=KeyRules(0, None), budget=budget) if job.users else None
    log = survey_log(job, items.keys, items.keys.kept.value, budget)
    splits = survey_splits(job.spec, log, _user_tokens(users))
    return Surveys(job, items, joins, users, log, splits), of_items, by_item


def _user_tokens(users: TableSurvey | None) -> pa.Table | None:
    """Tokens of users as the log's buckets get them."""
    if users is None:
        return None
    named = {KEY: "user"} | {f.feature.name: f"user_{f.feature.name}" for f in users.features}
    return users.tokens.select(list(named)).rename_columns(list(named.values()))
