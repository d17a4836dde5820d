from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from pieces import job_of, spec_of, table_job

from heterrec_pipeline.job import Job
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.runtime.dataflow.options import (
    check_call,
    check_files,
    is_detached,
    job_name,
    on_dataflow,
    set_defaults,
)
from heterrec_schemas.errors import CallError

WHOLE = ["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/tmp"]
GENERATION = "20261122T115715879Z-2d8ee186"


def job_named(name: str, folder: Path) -> Job:
    return job_of(spec_of().model_copy(update={"name": name}), folder, generation=GENERATION)


def options(*flags: str) -> PipelineOptions:
    return PipelineOptions(list(flags))


@pytest.mark.parametrize(
    ("runner", "expected"),
    [
        ("DataflowRunner", True),
        ("dataflow", True),
        ("apache_beam.runners.dataflow.DataflowRunner", True),
        ("FnApiRunner", False),
        ("PortableRunner", False),
    ],
)
def test_the_engine_is_known_by_all_its_names(runner: str, expected: bool) -> None:
    assert on_dataflow(options(f"--runner={runner}")) is expected
    assert not on_dataflow(options())


@pytest.mark.dataflow
@pytest.mark.parametrize(
    ("flags", "input", "output", "words"),
    [
        ([], "gs://b/in", "gs://b/out", ["--project", "--region", "--temp_location is missing"]),
        (WHOLE, "/data", "gs://b/out", ["--input must be in a bucket", "got /data"]),
        (WHOLE, "gs://b/in", "s3://b/out", ["--output must be in a bucket", "got s3://b/out"]),
        (
            [*WHOLE, "--temp_location=/tmp", "--staging_location=stage"],
            "gs://b/in",
            "gs://b/out",
            ["--temp_location must be", "--staging_location must be"],
        ),
        (
            [*WHOLE, "--s3_secret_access_key=hush"],
            "gs://b/in",
            "gs://b/out",
            ["--s3_secret_access_key would be readable"],
        ),
        ([*WHOLE, "--streaming"], "gs://b/in", "gs://b/out", ["batch job"]),
    ],
)
def test_what_dataflow_cannot_run_is_refused_at_once(
    flags: list[str], input: str, output: str, words: list[str]
) -> None:
    with pytest.raises(CallError) as error:
        check_call(options(*flags), input, output)
    assert [w for w in words if w not in error.value.message] == []
    assert "hush" not in error.value.message
    assert "docs/dataflow.md" in error.value.message


@pytest.mark.dataflow
def test_a_whole_call_passes() -> None:
    check_call(options(*WHOLE), "gs://b/in", "gs://b/out")


def test_files_out_of_the_workers_reach_are_refused(tmp_path: Path) -> None:
    def file(path: str) -> InputFile:
        return InputFile(path, "log.csv", 1, "csv")

    job = job_of(spec_of(), tmp_path, log=(file("gs://b/log.csv"),))
    check_files(job)
    far = job_of(spec_of(), tmp_path, log=job.log, items=table_job(files=(file("/data/i.csv"),)))
    with pytest.raises(CallError, match=r"workers cannot read /data/i\.csv"):
        check_files(far)


def test_what_the_call_leaves_open_is_filled_in(tmp_path: Path) -> None:
    job = job_named("Amazon Beauty", tmp_path)
    settled = options(*WHOLE)
    set_defaults(settled, job)
    worker, cloud = settled.view_as(WorkerOptions), settled.view_as(GoogleCloudOptions)
    assert (worker.machine_type, worker.max_num_workers) == ("n2-standard-4", 16)
    assert settled.view_as(DebugOptions).number_of_worker_harness_threads == 2
    assert cloud.job_name == "heterrec-amazon-beauty-20261122t115715879z-2d8ee186"
    assert cloud.labels == [
        "heterrec-spec=amazon-beauty",
        "heterrec-generation=20261122t115715879z-2d8ee186",
    ]


def test_what_the_call_names_is_kept(tmp_path: Path) -> None:
    given = options(
        *WHOLE,
        "--machine_type=n2-highmem-8",
        "--max_num_workers=40",
        "--num_workers=3",
        "--number_of_worker_harness_threads=1",
        "--job_name=nightly",
        "--labels=team=search",
    )
    set_defaults(given, job_of(spec_of(), tmp_path))
    worker, cloud = given.view_as(WorkerOptions), given.view_as(GoogleCloudOptions)
    assert (worker.machine_type, worker.max_num_workers) == ("n2-highmem-8", 40)
    assert given.view_as(DebugOptions).number_of_worker_harness_threads == 1
    assert cloud.job_name == "nightly"
    assert cloud.labels[0] == "team=search"


def test_more_workers_at_the_start_raise_the_bound(tmp_path: Path) -> None:
    given = options(*WHOLE, "--num_workers=30")
    set_defaults(given, job_of(spec_of(), tmp_path))
    assert given.view_as(WorkerOptions).max_num_workers == 30


@pytest.mark.parametrize("name", ["shop", "Ein Laden für alles und noch viel mehr", "ß", "9 lives"])
def test_job_names_are_what_the_service_takes(name: str, tmp_path: Path) -> None:
    made = job_name(job_named(name, tmp_path))
    validator = PipelineOptionsValidator(options(), None)
    assert validator.is_full_string_match(PipelineOptionsValidator.JOB_PATTERN, made), made
    assert len(made) <= 63
    assert made.endswith(GENERATION.lower())


@pytest.mark.parametrize(
    ("flags", "no_wait", "detached"),
    [
        (WHOLE, False, False),
        (WHOLE, True, True),
        ([*WHOLE, "--dry_run=True"], False, True),
        ([*WHOLE, "--template_location=gs://b/t"], False, True),
        (["--runner=FnApiRunner"], False, False),
    ],
)
def test_when_a_command_ends_before_its_job(
    flags: list[str], no_wait: bool, detached: bool
) -> None:
    assert is_detached(options(*flags), no_wait) is detached


def test_other_engines_always_wait() -> None:
    with pytest.raises(CallError, match="--no-wait is for Dataflow"):
        is_detached(options("--runner=FnApiRunner"), no_wait=True)
