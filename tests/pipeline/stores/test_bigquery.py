"""Tables of BigQuery as sources: exported once per state, then read as Parquet; a fake of its REST API runs here."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from emulators import Emulator
from fake_bigquery import FakeBigQuery, Stored
from google.cloud.bigquery.job import ExtractJob
from test_refusals import without_credentials

from heterrec_pipeline import api
from heterrec_pipeline.building import BuildResult
from heterrec_pipeline.files import storage
from heterrec_pipeline.reading import lakes
from heterrec_pipeline.reading.files import InputFile, input_files
from heterrec_schemas.errors import CallError, DataError, RunError, SpecError
from heterrec_schemas.feature_spec import Source

BRANDS = ["Größe", 'say "hi"', "a; b", ""]
ITEMS = pa.table(
    {
        "item": [f"i{k}" for k in range(8)],
        "brand": [BRANDS[k % 4] for k in range(8)],
        "price": [k + 0.5 for k in range(8)],
    }
)
LOG = pa.table(
    {
        "user": [f"u{k % 6}" for k in range(40)],
        "item": [f"i{k * 5 % 8}" for k in range(40)],
        "time": [datetime.fromtimestamp(1_600_000_000 + k, UTC) for k in range(40)],
    }
)
LATER = pa.table(
    {
        "user": ["u0", "u1"],
        "item": ["i0", "i1"],
        "time": [datetime(2021, 1, 1, k, tzinfo=UTC) for k in range(2)],
    }
)
NAME = "shop.sales.items"
SPEC: dict[str, Any] = {
    "version": 1,
    "name": "tables",
    "items": {
        "source": {"path": NAME, "format": "bigquery", "export_to": "exports"},
        "key": "item",
        "features": [
            {"name": "brand", "kind": "categorical", "column": "brand"},
            {"name": "price", "kind": "numeric", "column": "price", "bins": 3},
        ],
    },
    "interactions": {
        "source": {"path": "shop.sales.log_*", "format": "bigquery", "export_to": "exports/"},
        "user": "user",
        "item": "item",
        "timestamp": {"column": "time"},
    },
    "sequences": {"max_length": 20},
    "split": {"method": "leave_one_out"},
}


@pytest.fixture
def store(store_named: Callable[[str], Emulator]) -> Emulator:
    """Cloud Storage alone."""
    return store_named("gs")


@pytest.fixture
def fake(store: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBigQuery]:
    """BigQuery with the tables of a shop."""
    made = FakeBigQuery()
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", made.url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "billed")
    made.tables = {
        NAME: Stored(ITEMS),
        "shop.sales.log_1": Stored(LOG.slice(0, 20)),
        "shop.sales.log_2": Stored(LOG.slice(20)),
    }
    yield made
    made.stop()


@pytest.fixture
def exported(fake: FakeBigQuery, folder: str) -> Callable[..., tuple[InputFile, ...]]:
    """Lists the files of a source; by default that of the items."""

    def files(path: str = NAME, **more: Any) -> tuple[InputFile, ...]:
        source = {"path": path, "format": "bigquery", "export_to": f"{folder}/exports"} | more
        return input_files(Source(**source), "/nowhere", "items")

    return files


def items_in(files: tuple[InputFile, ...]) -> list[str]:
    tables = []
    for file in files:
        assert (file.format, bool(file.version), file.append_only) == ("parquet", True, False)
        with storage.open_arrow(file.path) as handle:
            tables.append(pq.read_table(handle)["item"])
    return sorted(cell for table in tables for cell in table.to_pylist())


def of_files(folder: Path) -> str:
    """The content of a generation of the same rows from local Parquet files."""
    for name, table in (("items", ITEMS), ("log", LOG)):
        pq.write_table(table, folder / f"{name}.parquet")
    spec = json.loads(json.dumps(SPEC))
    spec["items"]["source"] = {"path": "items.parquet"}
    spec["interactions"]["source"] = {"path": "log.parquet"}
    made = api.build(spec=spec, input=folder, output=folder / "output")
    return made.manifest.content_sha256


@pytest.mark.slow
def test_validate_plan_build_and_refresh(fake: FakeBigQuery, folder: str, tmp_path: Path) -> None:
    output = tmp_path / "published"

    def refresh(**more: Any) -> BuildResult:
        return api.refresh(spec=SPEC, input=folder, output=output, base=output, **more)

    found = api.validate(spec=SPEC, input=folder)
    assert not found.problems
    assert {s.table: s.files for s in found.samples} == {"items": 2, "interactions": 4}
    assert len(fake.extracts) == 3
    assert all("/projects/billed/jobs" in a for a in fake.asked if a.startswith("POST"))
    api.plan(spec=SPEC, input=folder)
    made = api.build(spec=SPEC, input=folder, output=output)
    assert made.manifest.content_sha256 == of_files(tmp_path)
    assert made.manifest.counts.interactions.read == 40
    assert len(fake.extracts) == 3
    stem = f"exports/{NAME}/20231114T221320000Z-8"
    names = [e.path for e in made.manifest.inputs if NAME in e.path]
    assert [n.rpartition("/")[2] for n in names] == [f"part-00000000000{k}.parquet" for k in (0, 1)]
    assert all(n.startswith(f"{stem}-") for n in names)
    assert storage.exists(f"{folder}/{stem}.json")

    assert refresh(skip_unchanged=True).skipped
    fake.tables["shop.sales.log_3"] = Stored(LATER)
    again = refresh()
    assert len(fake.extracts) == 4
    assert again.manifest.counts.interactions.read == 42
    assert again.reuse is not None
    assert (again.reuse["files"], again.reuse["of_files"]) == (6, 8)
    fake.tables[NAME] = Stored(ITEMS, modified=1_700_000_001_000)
    last = refresh()
    assert len(fake.extracts) == 5
    assert last.reuse is not None
    assert (last.reuse["files"], last.reuse["of_files"]) == (6, 8)


def test_an_export_is_made_once_per_state(
    fake: FakeBigQuery, exported: Callable[..., tuple[InputFile, ...]]
) -> None:
    first = exported()
    assert items_in(first) == ITEMS["item"].to_pylist()
    assert exported() == first
    extract = fake.extracts[0]
    assert (extract["destinationFormat"], extract["compression"]) == ("PARQUET", "ZSTD")
    assert len(fake.extracts) == 1
    storage.delete_now(first[1].path)  # by a rule of the bucket, say
    second = exported()
    assert {f.path for f in second}.isdisjoint({f.path for f in first})
    assert items_in(second) == items_in(exported()) == ITEMS["item"].to_pylist()
    assert len(fake.extracts) == 2
    # Rows of the streaming buffer are stored later, which need not change the time.
    fake.tables[NAME].rows = ITEMS.slice(0, 7)
    assert len(items_in(exported())) == 7
    fake.tables[NAME].before[1_699_999_999_000] = ITEMS.slice(0, 2)
    old = exported(version=1_699_999_999_000)
    assert items_in(old) == ["i0", "i1"]
    assert exported(version=1_699_999_999_000) == old
    assert "/at-20231114T221319000Z-" in old[0].path
    assert len(fake.extracts) == 4


def test_of_two_exports_of_one_state_the_first_is_used(
    fake: FakeBigQuery,
    exported: Callable[..., tuple[InputFile, ...]],
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = ExtractJob.result
    first: list[tuple[InputFile, ...]] = []

    def slow(job: Any, **more: Any) -> Any:
        if not first:
            first.append(())
            first.append(exported())
        return result(job, **more)

    monkeypatch.setattr(ExtractJob, "result", slow)
    assert exported() == first[1]
    assert len(fake.extracts) == 2
    files = [p for p in storage.files_below(f"{folder}/exports") if p.endswith(".parquet")]
    assert files == [f.path for f in first[1]]


def test_a_lost_answer_starts_no_second_job(
    fake: FakeBigQuery,
    exported: Callable[..., tuple[InputFile, ...]],
) -> None:
    fake.forgetful = True
    assert len(items_in(exported())) == 8
    assert len(fake.extracts) == 1


def test_rows_that_an_export_would_lack_are_refused(
    fake: FakeBigQuery, exported: Callable[..., tuple[InputFile, ...]], folder: str
) -> None:
    fake.tables[NAME].hidden = 3
    with pytest.raises(
        DataError, match=r"lacks rows: got 5 rows, expected 8.*FILTER USING \(TRUE\)"
    ):
        exported()
    assert storage.files_below(f"{folder}/exports") == []
    fake.tables[NAME] = Stored(ITEMS, buffer=12)
    with pytest.raises(DataError, match=r"streaming buffer.*got about 12 rows.*append_only: true"):
        exported()
    fake.tables[NAME].hidden = 1
    with pytest.raises(DataError, match="lacks rows: got 7 rows, expected 8"):
        exported(append_only=True)
    fake.tables[NAME].hidden = 0
    assert len(items_in(exported(append_only=True))) == 8


def test_without_a_project_of_their_own_jobs_run_in_that_of_the_table(
    fake: FakeBigQuery,
    exported: Callable[..., tuple[InputFile, ...]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    emulator = os.environ["STORAGE_EMULATOR_HOST"]
    without_credentials(monkeypatch, tmp_path)
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    assert len(items_in(exported())) == 8
    assert "POST /bigquery/v2/projects/shop/jobs" in fake.asked


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED_VIEW", "EXTERNAL", "SNAPSHOT"])
def test_what_is_no_table_is_refused(
    fake: FakeBigQuery, exported: Callable[..., tuple[InputFile, ...]], kind: str
) -> None:
    fake.tables[NAME].kind = kind
    words = rf"items: shop.sales.items cannot be exported: got a {kind.lower().replace('_', ' ')}\."
    with pytest.raises(DataError, match=rf"{words} .*CREATE TABLE \.\.\. AS SELECT"):
        exported()


def test_wrong_names_are_said(
    fake: FakeBigQuery, exported: Callable[..., tuple[InputFile, ...]]
) -> None:
    with pytest.raises(DataError, match=r"no such table: .*sales.itms.*Did you mean 'items'\?"):
        exported("shop.sales.itms")
    with pytest.raises(DataError, match=r"no such table: got Not found.*Check source.path\.$"):
        exported("shop.slaes.items")
    with pytest.raises(DataError, match=r"got 3 tables in shop.sales.*Did you mean 'log_"):
        exported("shop.sales.logs_*")
    for path in (
        "sales.items",
        "shop:sales.items",
        "gs://b/items",
        "shop.sales.items@5",
        "a.b.c.d",
    ):
        with pytest.raises(ValueError, match=r"expected project\.dataset\.table"):
            exported(path)
    assert Source(path="example.com:shop.sales.items", format="bigquery", export_to="x")
    with pytest.raises(SpecError, match=r"exported to /nowhere/x: .*gs://my-bucket/exports"):
        exported(export_to="x")


def test_denied_access_is_said(
    fake: FakeBigQuery, exported: Callable[..., tuple[InputFile, ...]], folder: str
) -> None:
    fake.refused = {f"tables/{NAME.rpartition('.')[2]}": ("accessDenied", "Access Denied: Table x")}
    with pytest.raises(
        CallError, match=r"denies the access: got Access Denied: Table x.*dataViewer"
    ):
        exported()
    fake.refused = {"POST": ("accessDenied", "no bigquery.jobs.create in project billed")}
    with pytest.raises(CallError, match=r"jobs\.create in project billed.*bigquery\.jobUser"):
        exported()
    fake.refused = {}
    fake.job_error = ("accessDenied", "no storage.objects.create")
    with pytest.raises(CallError, match=r"storage\.objects\.create.*storage\.objectUser"):
        exported()
    fake.job_error = ("invalid", "Cannot read and write in different locations")
    with pytest.raises(DataError, match=r"different locations.*in the location of the dataset"):
        exported()
    assert storage.files_below(f"{folder}/exports") == []
    assert len([a for a in fake.asked if a.endswith("/cancel")]) == 2


def test_an_outage_ends_in_time(
    fake: FakeBigQuery,
    exported: Callable[..., tuple[InputFile, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HETERREC_STORE_SECONDS", "2")
    fake.refused = {"GET": ("backendError", "down")}
    with pytest.raises(RunError, match="BigQuery has not answered as it should"):
        exported()
    fake.refused = {}
    fake.job_error = ("backendError", "down")
    with pytest.raises(RunError, match=r"has not answered as it should: .*down"):
        exported()


def test_an_incomplete_export_is_not_used(
    exported: Callable[..., tuple[InputFile, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExtractJob, "destination_uri_file_counts", [3])
    with pytest.raises(RunError, match=r"got 2 files in .*, expected 3 files"):
        exported()


def test_an_interrupted_export_is_cancelled(
    fake: FakeBigQuery,
    exported: Callable[..., tuple[InputFile, ...]],
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ExtractJob, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        exported("shop.sales.*")
    assert len([a for a in fake.asked if a.endswith("/cancel")]) == 3
    assert storage.files_below(f"{folder}/exports") == []


def test_missing_credentials_and_a_missing_library_are_said(
    exported: Callable[..., tuple[InputFile, ...]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST")
    without_credentials(monkeypatch, tmp_path)
    with pytest.raises(CallError, match=r"no credentials for BigQuery.*gcloud auth"):
        exported()

    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(lakes, "import_module", absent)
    with pytest.raises(CallError, match="with the extra bigquery"):
        exported()
