"""Plans a build: estimates its resources and results from a sample of the input; nothing is published."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from heterrec_pipeline.building.config import BuildConfig
from heterrec_pipeline.building.prepare import make_job
from heterrec_pipeline.checking.changes import (
    feature_of_call,
    refused_changes,
    without_vocabularies,
)
from heterrec_pipeline.checking.check import check_tables, raise_problems
from heterrec_pipeline.checking.doubts.find import doubts
from heterrec_pipeline.checking.doubts.outcome import training_doubts, vocabulary_doubts
from heterrec_pipeline.checking.outlook import BaseOutlook, outlook
from heterrec_pipeline.checking.parent import open_parent
from heterrec_pipeline.checking.sample import sample_tables
from heterrec_pipeline.checking.seen_values import SeenValues, seen_values
from heterrec_pipeline.checking.user_keys import refused_key, user_key_of
from heterrec_pipeline.job import Job
from heterrec_pipeline.parent import Parent
from heterrec_pipeline.planning.advice import warnings
from heterrec_pipeline.planning.blocks import SAMPLE_BYTES
from heterrec_pipeline.planning.figures import Figures, scaled
from heterrec_pipeline.planning.files import Files, expected_files
from heterrec_pipeline.planning.resources import Memory, Shuffle, disk_for_parts, memory, shuffle
from heterrec_pipeline.planning.sample import SAMPLE_ROWS, take_sample
from heterrec_pipeline.planning.token_choices import TokenChoices, token_choices
from heterrec_pipeline.planning.trial import trial
from heterrec_pipeline.reading.empty_files import skipped
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import FeatureSpec


@dataclass(frozen=True)
class PlanConfig:
    """Configuration of a plan.

    Attributes:
        spec: the feature spec.
        spec_text: its text.
        input: the folder (or store) to which paths of the spec are relative.
        pipeline_args: Beam's flags, which name the engine.
        full_scan: read everything and build it, so that cardinalities are exact.
        sample_bytes: approximate number of bytes to read of each table otherwise.
        sample_rows: approximate number of interactions to build otherwise.
        base: the parent of a refresh, as in `BuildConfig`; None to plan a build.
        refit: as in `BuildConfig`.
        tune_tokens: whether settings of the tokens of embedding features are compared.
    """

    spec: FeatureSpec
    spec_text: str
    input: str
    pipeline_args: list[str] = field(default_factory=list)
    full_scan: bool = False
    sample_bytes: int = SAMPLE_BYTES
    sample_rows: int = SAMPLE_ROWS
    base: str | None = None
    refit: Sequence[str] = ()
    tune_tokens: bool = False


@dataclass(frozen=True)
class Plan:
    """The expected results and resources of a build.

    Attributes:
        figures: rows and cardinalities, and the sample.
        files: the generation's tables.
        texts: bytes of the text files, by name.
        shuffle: bytes that are grouped by key.
        parts: bytes on disk while the build runs, by content.
        memory: memory of a worker.
        warnings: texts for a person.
        base: what a refresh would find in its parent; None for a build.
        tokens: the settings of tokens that were compared, by embedding feature.
    """

    figures: Figures
    files: list[Files]
    texts: dict[str, int]
    shuffle: Shuffle
    parts: dict[str, int]
    memory: Memory
    warnings: list[str]
    base: BaseOutlook | None = None
    tokens: list[TokenChoices] = field(default_factory=list)

    @property
    def bytes_out(self) -> int:
        """Bytes of the whole generation."""
        return sum(f.bytes for f in self.files) + sum(self.texts.values())

    @property
    def disk(self) -> int:
        """Bytes of the parts and the generation together, just before the parts are deleted."""
        return self.bytes_out + sum(self.parts.values())


def plan(config: PlanConfig) -> Plan:
    """Read a sample of the input, build it into a temporary folder, and scale the result.

    The resources of a refresh are those of a build of the same input.

    Raises:
        HeterrecError: any error of a build, except for three that become warnings: too many rejects, a feature without any
            value, and no interactions left. Also if the temporary folder has too little space.
    """
    parent = open_base(config) if config.base is not None else None
    spec = without_vocabularies(config.spec, parent.features if parent is not None else ())
    build = BuildConfig(spec, config.spec_text, config.input, "plan", list(config.pipeline_args))
    job = make_job(build, datetime.now(UTC))
    read = take_sample(job, None if config.full_scan else config.sample_bytes, config.sample_rows)
    with trial(build, read) as built:
        generation = built.result.open()
        figures = scaled(read, built.result, generation)
        counts = built.result.manifest.counts if read.whole else None
        unmet = vocabulary_doubts(job.imported, built.result.path, built.result.manifest)
        doubted = [*_doubts(job), *unmet]
        files, texts = expected_files(figures, generation)
        tokens = token_choices(built.config) if config.tune_tokens else []
        base = None
        if parent is not None:
            seen = _values_of(built.config, whole=read.whole)
            base = outlook(parent, config.spec, job.input_files, seen)
    moved = shuffle(figures)
    if counts is not None:
        doubted += training_doubts(config.spec, counts, doubted)
    return Plan(
        figures=figures,
        files=files,
        texts=texts,
        shuffle=moved,
        parts=disk_for_parts(figures, moved),
        memory=memory(figures),
        warnings=[
            *config.spec.warnings(),
            *skipped(job.empty),
            *warnings(figures, doubted),
            *doubted,
        ],
        base=base,
        tokens=tokens,
    )


def _doubts(job: Job) -> list[str]:
    """What a sample of the input suggests is lost or misread; the trial build has read all of it without an error."""
    problems: list[HeterrecError] = []
    samples = sample_tables(job.spec, job, problems)
    return [] if problems else doubts(job.spec, job, samples, datetime.now(UTC))


def open_base(config: PlanConfig) -> Parent:
    """The parent of a planned refresh.

    Raises:
        HeterrecError: there is none that the spec could continue.
    """
    assert config.base is not None
    parent = open_parent(config.base)
    refit = frozenset(feature_of_call(name) for name in config.refit)
    problems = list[HeterrecError]()
    problems += refused_key(parent, config.spec, user_key_of(config.spec, problems))
    raise_problems([*problems, *refused_changes(parent, config.spec, refit)])
    return parent


def _values_of(trial: BuildConfig, *, whole: bool) -> dict[str, SeenValues]:
    """The values of the vocabularies in the input of a trial build; `whole`: whether that is the whole input."""
    tables = check_tables(trial.spec, trial.input)
    found = seen_values(trial.spec, tables, undecided=lambda _: True)
    for values in found.values():
        values.whole = whole
    return found
