"""gs:// through Google's own client for Cloud Storage."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
from heterrec_schemas.stores.retry import TransientError
from heterrec_schemas.stores.settings import StoreSettings
from heterrec_schemas.stores.store import ChangedError, ObjectInfo, Store, split

CONNECTIONS = 32
_INCOMPLETE = 308
_QUANTUM = 2**18
"""What an upload holds before its end is a multiple of this."""
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_FIELDS = "items(name,size,generation),prefixes,nextPageToken"
_CREDENTIALS_TODO = (
    "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS, "
    "or run where a service account is attached."
)


class GsStore(Store):
    """Objects in Cloud Storage; a version is a generation number."""

    scheme = "gs"

    def __init__(self, settings: StoreSettings) -> None:
        """Make the process's client; STORAGE_EMULATOR_HOST, if set, is asked without credentials.

        Raises:
            CallError: there are no credentials.
        """
        super().__init__(settings)
        # Else the client asks for every bucket's metadata in a thread, for traces that nobody takes.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        self._times = (min(10.0, settings.silence), settings.silence)
        with self.translated("gs://"):
            self._client: Any = storage.Client(credentials=_credentials(settings))
        # The client's own pools hold ten connections, and drop what exceeds them with a warning.
        for scheme in ("https://", "http://"):
            adapter = HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS)
            self._client._http.mount(scheme, adapter)

    @contextmanager
    def translated(self, path: str) -> Iterator[None]:
        """The client's exceptions as this package's."""
        try:
            yield
        except GoogleAPICallError as error:
            raise _judged(path, int(error.code or 0), error.message) from error
        except InvalidResponse as error:
            raise _judged(path, error.response.status_code, str(error)) from error
        except gauth.GoogleAuthError as error:
            if error.retryable or isinstance(error, gauth.TransportError):
                raise TransientError(str(error)) from error
            raise CallError(
                f"{path}: there are no credentials for it: {error}", todo=_CREDENTIALS_TODO
            ) from error
        except (
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            DataCorruption,
            ConnectionError,
        ) as error:
            raise TransientError(" ".join(str(error).split())) from error

    def blob(self, path: str) -> Any:
        """The client's object of a URI; nothing is asked."""
        bucket, key = split(path)
        return self._client.bucket(bucket).blob(key)

    def stat(self, path: str) -> ObjectInfo | None:
        """One GET of metadata."""
        bucket, key = split(path)
        found = self.ask(
            "looking for",
            path,
            lambda: self._client.bucket(bucket).get_blob(key, timeout=self._times, retry=None),
        )
        return None if found is None else ObjectInfo(path, found.size, str(found.generation))

    def read(self, found: ObjectInfo, start: int, stop: int) -> bytes:
        """One GET of a range, of this very version."""

        def get() -> bytes:
            data: bytes = self.blob(found.path).download_as_bytes(
                start=start,
                end=stop - 1,
                raw_download=True,  # else what is stored as gzip would come unpacked
                if_generation_match=int(found.version),
                checksum=None,
                timeout=self._times,
                retry=None,
            )
            if len(data) != stop - start:
                raise TransientError(f"got {len(data)} bytes, expected {stop - start}")
            return data

        return self.ask("reading", found.path, get)

    def put(self, path: str, data: bytes, expected: str | None = None) -> None:
        """One POST, with ifGenerationMatch where a version is expected."""
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
            raise _no_bucket(path) from None

    def upload(self, path: str) -> "GsUpload":
        """A resumable upload."""
        return GsUpload(self, path)

    def session(self, path: str) -> str:
        """The URL of a new resumable upload."""
        url: str = self.blob(path).create_resumable_upload_session(timeout=self._times, retry=None)
        return url

    def send(self, method: str, url: str, data: bytes | memoryview, headers: dict[str, str]) -> Any:
        """One request of a resumable upload, for which the client has no public call."""
        return self._client._http.request(
            method, url, data=bytes(data), headers=headers, timeout=self._times
        )

    def copy(self, old: str, new: str) -> None:
        """One rewrite, or as many as the store wants for a large object."""
        source, target = self.blob(old), self.blob(new)
        once = partial(target.rewrite, source, timeout=self._times, retry=None)
        token = None
        while True:
            token, _, _ = self.ask("copying", old, partial(once, token=token))
            if token is None:
                return

    def delete(self, paths: list[str]) -> None:
        """One DELETE an object, some at a time."""

        def one(path: str) -> None:
            try:
                self.ask(
                    "deleting",
                    path,
                    lambda: self.blob(path).delete(timeout=self._times, retry=None),
                )
            except FileNotFoundError:
                return

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, paths))

    def below(self, prefix: str, limit: int | None = None) -> Iterator[ObjectInfo]:
        """One GET a thousand objects."""
        bucket = split(prefix)[0]
        for blob in self._listed(prefix, max_results=limit)[0][:limit]:
            yield ObjectInfo(f"gs://{bucket}/{blob.name}", blob.size, str(blob.generation))

    def folders(self, path: str) -> list[str]:
        """One GET a thousand names."""
        base = path.rstrip("/") + "/"
        skipped = len(split(base)[1])
        return sorted(p[skipped:-1] for p in self._listed(base, delimiter="/")[1])

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
            raise _no_bucket(prefix) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class GsUpload:
    """A resumable upload. After a broken answer the store is asked how much it has, and gets the rest."""

    def __init__(self, store: "GsStore", path: str) -> None:
        """One POST."""
        self._store, self._path = store, path
        self._url: str = store.ask("writing", path, partial(store.session, path))
        self._sent = 0
        self._held = b""

    def part(self, data: bytes) -> None:
        """One PUT, of the part before: the last one has to say that it is."""
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
        """How many bytes the store has of the upload, all of them where it has ended."""
        try:
            return self._put(b"", f"bytes */{whole}", stop)
        except FileNotFoundError:  # some forget an upload once its object stands
            found = self._store.stat(self._path)
            if found is None or found.bytes != stop:
                raise
            return stop

    def _put(self, data: bytes | memoryview, span: str, stop: int) -> int:
        """Send some bytes; returns how many of the upload the store then has."""
        answer = self._store.send("PUT", self._url, data, {"Content-Range": span})
        if answer.status_code in (200, 201):
            return stop
        if answer.status_code == _INCOMPLETE:
            _, _, last = answer.headers.get("Range", "bytes=0--1").partition("-")
            return (int(last) + 1) // _QUANTUM * _QUANTUM
        raise _judged(self._path, answer.status_code, answer.text)

    def abort(self) -> None:
        """One DELETE, if the store takes it; else the upload lapses after a week."""
        with suppress(HeterrecError, TransientError), self._store.translated(self._path):
            self._store.send("DELETE", self._url, b"", {})


def _credentials(settings: StoreSettings) -> Any:
    """The credentials to use; None for the client's own way to find them."""
    if settings.gs_anonymous:
        anonymous: Any = credentials.AnonymousCredentials
        return anonymous()
    if settings.gs_impersonate is None:
        return None
    own, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    *delegates, target = settings.gs_impersonate.split(",")
    impersonated: Any = impersonated_credentials.Credentials
    return impersonated(own, target_principal=target, target_scopes=[_SCOPE], delegates=delegates)


def _no_bucket(path: str) -> CallError:
    return CallError(f"{path}: there is no bucket {split(path)[0]}", todo="Check the path.")


def _judged(path: str, status: int, said: str) -> Exception:
    """What an answer of the store means."""
    said = " ".join(said.split())[:300]
    if status == 412:
        return ChangedError(path)
    if status == 404:
        return FileNotFoundError(2, said, path)
    if status in (408, 429) or status >= 500:
        return TransientError(f"{status} {said}")
    return CallError(
        f"{path}: the store refuses: {status} {said}",
        todo="Check the credentials and the bucket's permissions.",
    )
