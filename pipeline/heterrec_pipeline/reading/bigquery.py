"""BigQuery tables: BigQuery exports them as Parquet files to Cloud Storage, which are then read like any others.

An export has the rows of one moment. It is kept, with an index of its files, and used again until the table changes: so all
commands read the same files, and a refresh knows them again.
"""

import json
import os
import posixpath
import re
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import pyarrow.parquet as pq
import requests
from google.api_core import exceptions
from google.auth import exceptions as gauth
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from heterrec_pipeline.files import storage
from heterrec_pipeline.files.store_flags import follow_flags
from heterrec_pipeline.telemetry.recorder import phase
from heterrec_schemas import stores
from heterrec_schemas.errors import (
    CallError,
    DataError,
    HeterrecError,
    RunError,
    SpecError,
    suggest,
)
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.stores import FileInfo
from heterrec_schemas.stores.gs import CLOUD_SCOPE, CREDENTIALS_TODO, google_credentials

_WORKERS = 8
"""Number of tables that are looked up at once, and of files."""
_EMULATOR = "BIGQUERY_EMULATOR_HOST"
"""The environment variable of another endpoint, which is used without credentials."""
_FILES = "*.parquet"
_URL = re.compile(r"^[A-Z]+ https?://\S+: ")
"""The request that begins a message of the library."""
_ROLES = (
    "Grant roles/bigquery.dataViewer on the table, roles/bigquery.jobUser on the project, and roles/storage.objectUser on "
    "the bucket of export_to."
)
_AS_TABLE = "Write its rows to a table: CREATE TABLE ... AS SELECT * FROM ..., and name that."


@dataclass(frozen=True)
class _Export:
    """An export of one table in one state.

    Attributes:
        where: the name of the table in messages.
        table: the table, as BigQuery describes it.
        version: the time of its rows in milliseconds since 1970; None for the present.
        stem: the path of its index without the suffix; its files are in a folder beside it.
    """

    where: str
    table: Any
    version: int | None
    stem: str

    @property
    def index(self) -> str:
        """The file that lists the files of the export. It is written last."""
        return f"{self.stem}.json"


@dataclass(frozen=True)
class _Running:
    """An export that BigQuery is making: its job, and the folder that it writes to."""

    export: _Export
    job: Any
    folder: str


def exported_files(source: Source, base: str, pattern: str, where: str) -> list[FileInfo]:
    """The Parquet files of tables as they are now, or at the time of the source's version. Exports what has changed.

    Args:
        source: of the format bigquery.
        base: the input folder, to which `export_to` is relative.
        pattern: `project.dataset.table`; the table may be a glob.
        where: name of the source in messages.

    Raises:
        CallError: there are no credentials, or BigQuery denies the access.
        DataError: there is no such table, it cannot be exported, or rows of it would be lacking.
        RunError: BigQuery does not answer as it should.
        SpecError: `export_to` is not in Cloud Storage.
    """
    target = storage.join(base, source.export_to or "").rstrip("/")
    if not target.startswith("gs://"):
        raise SpecError(
            f"{where}: tables cannot be exported to {target}",
            expected="a folder in Cloud Storage",
            todo="Set source.export_to to a folder such as gs://my-bucket/exports.",
        )
    name = f"{where}: {pattern}"
    with closing(_client(name, pattern)) as client:
        exports = [_export(t, source, target, where) for t in _tables(client, pattern, name)]
        with ThreadPoolExecutor(_WORKERS) as pool:
            held = list(pool.map(_held, exports))
        absent = [e for e, files in zip(exports, held, strict=True) if files is None]
        if absent:
            with phase(f"export {pattern} from BigQuery"):
                held += _exported(client, absent)
    return [file for files in held if files is not None for file in files]


def _client(name: str, pattern: str) -> Any:
    """A client whose jobs run in the environment's project, or in that of the table if it has none."""
    follow_flags()
    with _translated(name):
        settings = stores.current_settings()
        if _EMULATOR in os.environ:
            settings = replace(settings, gs_anonymous=True)
        used = google_credentials(settings, CLOUD_SCOPE)
        try:
            return bigquery.Client(credentials=used)
        except (OSError, gauth.DefaultCredentialsError):  # the environment names no project
            return bigquery.Client(pattern.rsplit(".", 2)[0], credentials=used)


def _request() -> dict[str, Any]:
    """The retries and the patience of one request, as for object stores."""
    found = stores.current_settings()
    return {"retry": DEFAULT_RETRY.with_timeout(found.seconds), "timeout": found.silence}


def _tables(client: Any, pattern: str, name: str) -> list[Any]:
    """The tables of a pattern, by name."""
    project, dataset, table = pattern.rsplit(".", 2)
    folder = bigquery.DatasetReference(project, dataset)

    def named() -> list[str]:
        return [t.table_id for t in client.list_tables(folder, **_request())]

    names = [table]
    with _translated(name):
        if {"*", "?"} & set(table):
            known = named()
            names = sorted(t for t in known if fnmatchcase(t, table))
            if not names:
                raise _no_table(name, f"{len(known):,} tables in {project}.{dataset}", table, known)
        with ThreadPoolExecutor(_WORKERS) as pool:
            try:
                return list(
                    pool.map(lambda t: client.get_table(folder.table(t), **_request()), names)
                )
            except exceptions.NotFound as error:
                known = []
                with suppress(exceptions.GoogleAPIError):
                    known = named()
                raise _no_table(name, _text(error), table, known) from error


def _no_table(name: str, got: str, table: str, known: Sequence[str]) -> DataError:
    todo = f"Check source.path. {suggest(table, known)}".rstrip()
    return DataError(f"{name}: BigQuery has no such table", got=got, todo=todo)


def _export(table: Any, source: Source, target: str, where: str) -> _Export:
    """The export of a table, if its files would have all of its rows.

    The number of rows is part of the name, as rows that leave the streaming buffer may not change the time.
    """
    name = f"{table.project}.{table.dataset_id}.{table.table_id}"
    told = f"{where}: {name}"
    if table.table_type != "TABLE":
        kind = str(table.table_type).lower().replace("_", " ")
        raise DataError(f"{told} cannot be exported", got=f"a {kind}", todo=_AS_TABLE)
    buffer = table.streaming_buffer
    if buffer is not None and not source.append_only:
        raise DataError(
            f"{told} has rows in its streaming buffer, which exports lack",
            got=f"about {buffer.estimated_rows or 0:,} rows",
            todo="Run again when they are stored, about 90 minutes after the last of them; or set append_only: true on "
            "the source, to read them later.",
        )
    state = f"{_stamp(table.modified)}-{table.num_rows}"
    if source.version is not None:
        state = f"at-{_stamp(datetime.fromtimestamp(source.version / 1000, UTC))}"
    return _Export(told, table, source.version, f"{target}/{name}/{state}")


def _stamp(moment: datetime) -> str:
    """A time in milliseconds, as a part of a path."""
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}Z"


def _held(export: _Export) -> list[FileInfo] | None:
    """The files of an export; None if it was not made yet, or files of it are gone."""
    try:
        return _listed(export, storage.read_bytes(export.index))
    except FileNotFoundError:
        return None


def _listed(export: _Export, index: bytes) -> list[FileInfo] | None:
    """The files of an index; None if some are gone."""
    about = json.loads(index)
    folder = storage.join(posixpath.dirname(export.stem), about["folder"])
    found = storage.matched(folder, _FILES)
    return found if about["files"] == _sizes(found) else None


def _sizes(files: Sequence[FileInfo]) -> dict[str, int]:
    return {posixpath.basename(f.path): f.bytes for f in files}


def _exported(client: Any, exports: Sequence[_Export]) -> list[list[FileInfo]]:
    """Make exports, all at once; returns their files. Those that are not completed are deleted."""
    running: list[_Running] = []
    kept: list[list[FileInfo]] = []
    try:
        for export in exports:
            with _translated(export.where):
                running.append(_started(client, export))
        for one in running:
            with _translated(one.export.where):
                one.job.result(**_request())
                _check_rows(client, one)
            kept.append(_kept(one))
    except BaseException:
        for one in running[len(kept) :]:
            with suppress(exceptions.GoogleAPIError, OSError, HeterrecError):
                one.job.cancel(retry=None, timeout=stores.current_settings().silence)
            with suppress(HeterrecError):
                storage.delete_tree(one.folder)
        raise
    return kept


def _started(client: Any, export: _Export) -> _Running:
    number = secrets.token_hex(8)
    folder = f"{export.stem}-{number}"
    table = export.table.reference
    if export.version is not None:
        dataset = bigquery.DatasetReference(table.project, table.dataset_id)
        table = dataset.table(f"{table.table_id}@{export.version}")
    place = {"job_id": f"heterrec-{number}", "location": export.table.location}
    make_config: Any = bigquery.ExtractJobConfig
    config = make_config(destination_format="PARQUET", compression="ZSTD")
    uri = f"{folder}/part-{_FILES}"
    try:
        job = client.extract_table(table, uri, job_config=config, **place, **_request())
    except exceptions.Conflict:  # started by a request whose answer was lost
        job = client.get_job(**place, **_request())
    return _Running(export, job, folder)


def _check_rows(client: Any, made: _Running) -> None:
    """Refuse an export that lacks files, or rows of a table that did not change meanwhile."""
    files = storage.matched(made.folder, _FILES)
    count = sum(made.job.destination_uri_file_counts or [])
    if not files or count != len(files):
        raise RunError(
            f"{made.export.where}: its export is incomplete",
            got=f"{len(files):,} files in {made.folder}",
            expected=f"{count:,} files, as BigQuery reports",
            todo="Run again.",
        )
    before = made.export.table
    if made.export.version is not None:  # whose number of rows is not known
        return
    now = client.get_table(before.reference, **_request())
    if (now.modified, now.num_rows) != (before.modified, before.num_rows):
        return
    with ThreadPoolExecutor(_WORKERS) as pool:
        rows = sum(pool.map(_rows, files))
    buffered = before.streaming_buffer is not None  # rows that left it are in the export
    if rows < before.num_rows or (rows > before.num_rows and not buffered):
        raise DataError(
            f"{made.export.where}: its export lacks rows",
            got=f"{rows:,} rows",
            expected=f"{before.num_rows:,}",
            todo="If the table has row access policies, grant one with FILTER USING (TRUE) to the account.",
        )


def _rows(file: FileInfo) -> int:
    with storage.open_arrow(file.path, mapped=False) as handle:
        count: int = pq.read_metadata(handle).num_rows
    return count


def _kept(made: _Running) -> list[FileInfo]:
    """Write the index of an export; returns its files, or those of another builder who was faster."""
    export, own = made.export, storage.matched(made.folder, _FILES)
    about = {"folder": posixpath.basename(made.folder), "files": _sizes(own)}
    index = json.dumps(about, indent=1, sort_keys=True).encode()

    def first(held: bytes | None) -> bytes | None:
        return index if held is None or _listed(export, held) is None else None

    storage.update_bytes(export.index, first, secrets.token_hex(8))
    found = _held(export)
    if found is None:
        raise RunError(
            f"{export.where}: files of its export are gone",
            got=export.index,
            todo="Run again; a lifecycle rule of the bucket must keep exports longer than a build takes.",
        )
    if found != own:
        storage.delete_tree(made.folder)
    return found


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn the library's errors into ones that name the table."""
    try:
        yield
    except gauth.GoogleAuthError as error:
        if error.retryable or isinstance(error, gauth.TransportError):
            raise _silent(name, error) from error
        raise CallError(
            f"{name}: there are no credentials for BigQuery: {error}", todo=CREDENTIALS_TODO
        ) from error
    except exceptions.GoogleAPICallError as error:
        raise _refusal(name, error) from error
    except (exceptions.RetryError, requests.exceptions.RequestException, ConnectionError) as error:
        raise _silent(name, error) from error


def _refusal(name: str, error: Any) -> HeterrecError:
    status = int(error.code or 0)
    if status in (401, 403):
        return CallError(f"{name}: BigQuery denies the access", got=_text(error), todo=_ROLES)
    if status in (408, 429) or status >= 500:
        return _silent(name, error)
    return DataError(
        f"{name} cannot be exported",
        got=_text(error),
        todo="Check source.path, version and export_to: its bucket must be in the location of the dataset.",
    )


def _silent(name: str, error: Exception) -> RunError:
    return RunError(
        f"{name}: BigQuery has not answered as it should: {_text(error)}",
        todo="Run the same command again later.",
    )


def _text(error: Any) -> str:
    text = " ".join(str(getattr(error, "message", error)).split())
    return _URL.sub("", text)[:300]
