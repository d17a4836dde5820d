"""gs:// through Google's own client for Cloud Storage."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import google.auth
import requests
import urllib3
from google.api_core.exceptions import GoogleAPICallError
from google.auth import credentials, impersonated_credentials
from google.auth import exceptions as gauth
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from requests.adapters import HTTPAdapter

from heterrec_schemas.errors import CallError, HeterrecError
from heterrec_schemas.stores.object_store import CONNECTIONS, ObjectStore
from heterrec_schemas.stores.objects import ChangedError, no_bucket, split
from heterrec_schemas.stores.retry import TransientError
from heterrec_schemas.stores.settings import StoreSettings
from heterrec_schemas.stores.store import FileInfo

_INCOMPLETE = 308
_QUANTUM = 2**18
"""Bytes: an unfinished upload holds a multiple of this."""
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_FIELDS = "items(name,size,generation),prefixes,nextPageToken"
CREDENTIALS_TODO = (
    "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS, "
    "or run where a service account is attached."
)


class GsStore(ObjectStore):
    """Objects in Cloud Storage; a version is a generation number."""

    def __init__(self, settings: StoreSettings) -> None:
        """Make the process's client; STORAGE_EMULATOR_HOST, if set, is used without credentials.

        Raises:
            CallError: there are no credentials.
        """
        super().__init__(settings)
        # By default the client fetches every bucket's metadata in a thread, for traces that are not used.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        self._times = (min(10.0, settings.silence), settings.silence)
        with self.translated("gs://"):
            self._client: Any = storage.Client(credentials=google_credentials(settings, _SCOPE))
        # The client's own pools hold ten connections, and drop further ones with a warning.
        for scheme in ("https://", "http://"):
            adapter = HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS)
            self._client._http.mount(scheme, adapter)

    @contextmanager
    def translated(self, path: str) -> Iterator[None]:
        """Turns the client's exceptions into this package's."""
        try:
            yield
        except GoogleAPICallError as error:
            raise _error(path, int(error.code or 0), error.message) from error
        except InvalidResponse as error:
            raise _error(path, error.response.status_code, str(error)) from error
        except gauth.GoogleAuthError as error:
            if error.retryable or isinstance(error, gauth.TransportError):
                raise TransientError(str(error)) from error
            raise CallError(
                f"{path}: there are no credentials for it: {error}", todo=CREDENTIALS_TODO
            ) from error
        except (
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            DataCorruption,
            ConnectionError,
        ) as error:
            raise TransientError(" ".join(str(error).split())) from error

    def blob(self, path: str) -> Any:
        """The client's object of a URI; makes no request."""
        bucket, key = split(path)
        return self._client.bucket(bucket).blob(key)

    def stat(self, path: str) -> FileInfo | None:
        """One GET of metadata."""
        found = self._metadata(path)
        return None if found is None else FileInfo(path, found.size, str(found.generation))

    def modified(self, path: str) -> datetime | None:
        """One GET of metadata."""
        found = self._metadata(path)
        return None if found is None else found.updated.astimezone(UTC)

    def _metadata(self, path: str) -> Any:
        bucket, key = split(path)
        return self.ask(
            "looking for",
            path,
            lambda: self._client.bucket(bucket).get_blob(key, timeout=self._times, retry=None),
        )

    def fetch(self, found: FileInfo, start: int, stop: int) -> bytes:
        """One GET of a range of this version."""
        data: bytes = self.blob(found.path).download_as_bytes(
            start=start,
            end=stop - 1,
            raw_download=True,  # an object stored as gzip would come unpacked otherwise
            if_generation_match=int(found.version),
            checksum=None,
            timeout=self._times,
            retry=None,
        )
        return data

    def put(self, path: str, data: bytes, expected: str | None = None) -> None:
        """One POST, with ifGenerationMatch if a version is expected."""
        version = None if expected is None else int(expected or 0)
        try:
            self.ask(
                "writing",
                path,
                lambda: self.blob(path).upload_from_string(
                    data,
                    content_type="application/octet-stream",
                    if_generation_match=version,
                    checksum="crc32c",
                    timeout=self._times,
                    retry=None,
                ),
            )
        except FileNotFoundError:
            raise no_bucket(path) from None

    def upload(self, path: str) -> "GsUpload":
        """A resumable upload."""
        return GsUpload(self, path)

    def session(self, path: str) -> str:
        """The URL of a new resumable upload."""
        url: str = self.blob(path).create_resumable_upload_session(timeout=self._times, retry=None)
        return url

    def send(self, method: str, url: str, data: bytes | memoryview, headers: dict[str, str]) -> Any:
        """One request of a resumable upload; the client has no public call for it."""
        return self._client._http.request(
            method, url, data=bytes(data), headers=headers, timeout=self._times
        )

    def copy(self, old: str, new: str) -> None:
        """One rewrite; a large object takes several."""
        source, target = self.blob(old), self.blob(new)
        once = partial(target.rewrite, source, timeout=self._times, retry=None)
        token = None
        while True:
            token, _, _ = self.ask("copying", old, partial(once, token=token))
            if token is None:
                return

    def remove(self, path: str) -> None:
        """One DELETE."""
        self.blob(path).delete(timeout=self._times, retry=None)

    def below(self, prefix: str, limit: int | None = None) -> Iterator[FileInfo]:
        """One GET per thousand objects."""
        bucket = split(prefix)[0]
        for blob in self._listed(prefix, max_results=limit)[0][:limit]:
            yield FileInfo(f"gs://{bucket}/{blob.name}", blob.size, str(blob.generation))

    def prefixes(self, base: str) -> set[str]:
        """One GET per thousand names."""
        return self._listed(base, delimiter="/")[1]

    def _listed(self, prefix: str, **more: Any) -> tuple[list[Any], set[str]]:
        bucket, key = split(prefix)

        def ask() -> tuple[list[Any], set[str]]:
            pages = self._client.list_blobs(
                bucket, prefix=key, fields=_FIELDS, timeout=self._times, retry=None, **more
            )
            return list(pages), set(pages.prefixes)

        try:
            return self.ask("listing", prefix, ask)
        except FileNotFoundError:
            raise no_bucket(prefix) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class GsUpload:
    """A resumable upload. After a broken answer the store reports how much it has, and gets the rest."""

    def __init__(self, store: "GsStore", path: str) -> None:
        """One POST."""
        self._store, self._path = store, path
        self._url: str = store.ask("writing", path, partial(store.session, path))
        self._sent = 0
        self._held = b""

    def part(self, data: bytes) -> None:
        """One PUT of the part before: only the last part is marked as such, by its range."""
        if self._held:
            self._send(self._held, last=False)
        self._held = data

    def finish(self) -> None:
        """One PUT."""
        self._send(self._held, last=True)

    def _send(self, data: bytes, *, last: bool) -> None:
        start, stop = self._sent, self._sent + len(data)
        whole = str(stop) if last else "*"
        tried = False

        def send() -> None:
            nonlocal tried
            known = start
            if tried:
                known = self._known(whole, stop)
            tried = True
            while known < stop:
                rest = memoryview(data)[known - start :]
                known = self._put(rest, f"bytes {known}-{stop - 1}/{whole}", stop)

        self._store.ask("writing", self._path, send)
        self._sent = stop

    def _known(self, whole: str, stop: int) -> int:
        """Number of bytes of the upload that the store has, all of them if it has ended."""
        try:
            return self._put(b"", f"bytes */{whole}", stop)
        except FileNotFoundError:  # some stores forget an upload once its object exists
            found = self._store.stat(self._path)
            if found is None or found.bytes != stop:
                raise
            return stop

    def _put(self, data: bytes | memoryview, span: str, stop: int) -> int:
        """Send some bytes; returns the number of bytes of the upload that the store then has."""
        answer = self._store.send("PUT", self._url, data, {"Content-Range": span})
        if answer.status_code in (200, 201):
            return stop
        if answer.status_code == _INCOMPLETE:
            _, _, last = answer.headers.get("Range", "bytes=0--1").partition("-")
            return (int(last) + 1) // _QUANTUM * _QUANTUM
        raise _error(self._path, answer.status_code, answer.text)

    def abort(self) -> None:
        """One DELETE, if the store accepts it; otherwise the upload expires after a week."""
        with suppress(HeterrecError, TransientError), self._store.translated(self._path):
            self._store.send("DELETE", self._url, b"", {})


def google_credentials(settings: StoreSettings, scope: str) -> Any:
    """The credentials for a client of Google; None if it finds them by itself.

    Raises:
        google.auth.exceptions.GoogleAuthError: there are none to impersonate an account with.
    """
    if settings.gs_anonymous:
        anonymous: Any = credentials.AnonymousCredentials
        return anonymous()
    if settings.gs_impersonate is None:
        return None
    own, _ = google.auth.default(scopes=[CLOUD_SCOPE])
    *delegates, target = settings.gs_impersonate.split(",")
    impersonated: Any = impersonated_credentials.Credentials
    return impersonated(own, target_principal=target, target_scopes=[scope], delegates=delegates)


def _error(path: str, status: int, text: str) -> Exception:
    """The exception for a failed request."""
    text = " ".join(text.split())[:300]
    if status == 412:
        return ChangedError(path)
    if status == 404:
        return FileNotFoundError(2, text, path)
    if status in (408, 429) or status >= 500:
        return TransientError(f"{status} {text}")
    return CallError(
        f"{path}: the store refuses: {status} {text}",
        todo="Check the credentials and the bucket's permissions.",
    )
