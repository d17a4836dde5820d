"""s3:// through boto3: Amazon's store, and others that speak its protocol."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import boto3
import urllib3
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as aws
from botocore.config import Config

from heterrec_schemas.errors import CallError, HeterrecError
from heterrec_schemas.stores.object_store import CONNECTIONS, ObjectStore
from heterrec_schemas.stores.objects import ABSENT, ChangedError, no_bucket, split
from heterrec_schemas.stores.retry import TransientError
from heterrec_schemas.stores.settings import StoreSettings
from heterrec_schemas.stores.store import FileInfo

_ONE_COPY = 2**26
"""Bytes: larger objects are copied in parts, so that no request lasts long."""
_PAGE = 1_000
_TRANSIENT = {
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "RequestTimeTooSkewed",
    "OperationAborted",
}
_ABSENT = {"NoSuchKey", "404", "NotFound"}
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_CREDENTIALS = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.CredentialRetrievalError,
    aws.ProfileNotFound,
    aws.UnauthorizedSSOTokenError,
)
_TODO = "Check the credentials (environment, ~/.aws, or the machine's role) and the bucket's permissions."


class S3Store(ObjectStore):
    """Objects in S3; a version is an ETag."""

    def __init__(self, settings: StoreSettings) -> None:
        """Make the process's client.

        Raises:
            CallError: the settings or the profile are wrong.
        """
        super().__init__(settings)
        config = Config(
            # This package retries by itself, under one rule for all stores.
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=min(10.0, settings.silence),
            read_timeout=settings.silence,
            max_pool_connections=CONNECTIONS,
        )
        with self.translated("s3://"):
            self._client: Any = boto3.session.Session().client(
                "s3", config=config, **dict(settings.s3)
            )

    @contextmanager
    def translated(self, path: str) -> Iterator[None]:
        """Turns the client's exceptions into this package's."""
        try:
            yield
        except aws.ClientError as error:
            raise _error(path, error) from error
        except _CREDENTIALS as error:
            raise CallError(
                f"{path}: there are no credentials for it: {error}", todo=_TODO
            ) from error
        except (
            aws.HTTPClientError,
            aws.ConnectionError,
            aws.IncompleteReadError,
            urllib3.exceptions.HTTPError,
        ) as error:
            raise TransientError(" ".join(str(error).split())) from error
        except (aws.BotoCoreError, ValueError) as error:
            raise CallError(f"{path} cannot be reached: {error}", todo=_TODO) from error

    def stat(self, path: str) -> FileInfo | None:
        """One HEAD."""
        answer = self._head(path)
        return answer and FileInfo(path, answer["ContentLength"], answer["ETag"])

    def modified(self, path: str) -> datetime | None:
        """One HEAD; whole seconds."""
        answer = self._head(path)
        written: datetime | None = answer and answer["LastModified"].astimezone(UTC)
        return written

    def _head(self, path: str) -> Any:
        bucket, key = split(path)
        try:
            return self.ask(
                "looking for", path, lambda: self._client.head_object(Bucket=bucket, Key=key)
            )
        except FileNotFoundError:
            return None

    def fetch(self, found: FileInfo, start: int, stop: int) -> bytes:
        """One GET of a range of this version."""
        bucket, key = split(found.path)
        answer = self._client.get_object(
            Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}", IfMatch=found.version
        )
        with answer["Body"] as body:
            data: bytes = body.read()
        return data

    def put(self, path: str, data: bytes, expected: str | None = None) -> None:
        """One PUT, with If-Match or If-None-Match if a version is expected."""
        bucket, key = split(path)
        condition = {}
        if expected is not None:
            condition = {"IfNoneMatch": "*"} if expected == ABSENT else {"IfMatch": expected}
        try:
            self.ask(
                "writing",
                path,
                lambda: self._client.put_object(Bucket=bucket, Key=key, Body=data, **condition),
            )
        except FileNotFoundError:  # the expected version is deleted
            raise ChangedError(path) from None

    def upload(self, path: str) -> "S3Upload":
        """A multipart upload."""
        return S3Upload(self, self._client, path)

    def copy(self, old: str, new: str) -> None:
        """One COPY; an object above 64 MB takes several."""
        (bucket, key), (new_bucket, new_key) = split(old), split(new)
        source = {"Bucket": bucket, "Key": key}
        config = TransferConfig(
            multipart_threshold=_ONE_COPY, multipart_chunksize=_ONE_COPY, use_threads=False
        )
        self.ask(
            "copying", old, lambda: self._client.copy(source, new_bucket, new_key, Config=config)
        )

    def remove(self, path: str) -> None:
        """One DELETE."""
        bucket, key = split(path)
        self._client.delete_object(Bucket=bucket, Key=key)

    def below(self, prefix: str, limit: int | None = None) -> Iterator[FileInfo]:
        """One GET per thousand objects."""
        bucket, _ = split(prefix)
        left = limit
        for page in self._pages(prefix, MaxKeys=min(limit or _PAGE, _PAGE)):
            for entry in page.get("Contents", ())[:left]:
                yield FileInfo(f"s3://{bucket}/{entry['Key']}", entry["Size"], entry["ETag"])
            if left is not None:
                left -= len(page.get("Contents", ()))
                if left <= 0:
                    return

    def prefixes(self, base: str) -> Iterator[str]:
        """One GET per thousand names."""
        for page in self._pages(base, Delimiter="/"):
            yield from (entry["Prefix"] for entry in page.get("CommonPrefixes", ()))

    def _pages(self, prefix: str, **more: Any) -> Iterator[dict[str, Any]]:
        bucket, key = split(prefix)
        token: dict[str, str] = {}
        while True:
            asked = {"Bucket": bucket, "Prefix": key, **more, **token}
            page = self.ask("listing", prefix, partial(self._client.list_objects_v2, **asked))
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class S3Upload:
    """A multipart upload."""

    def __init__(self, store: S3Store, client: Any, path: str) -> None:
        """Begin it."""
        self._store, self._client, self._path = store, client, path
        bucket, key = split(path)
        self._where = {"Bucket": bucket, "Key": key}
        begun = store.ask("writing", path, lambda: client.create_multipart_upload(**self._where))
        self._where["UploadId"] = begun["UploadId"]
        self._parts: list[dict[str, Any]] = []
        self._bytes = 0

    def part(self, data: bytes) -> None:
        """One PUT; a part that is sent again replaces the earlier one."""
        number = len(self._parts) + 1
        sent = self._store.ask(
            "writing",
            self._path,
            lambda: self._client.upload_part(**self._where, PartNumber=number, Body=data),
        )
        # Some stores want the parts' checksums back; others return none.
        sums = {k: v for k, v in sent.items() if k.startswith("Checksum") and k != "ChecksumType"}
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"], **sums})
        self._bytes += len(data)

    def finish(self) -> None:
        """One POST; if its answer is lost, the object exists and the upload is gone."""
        done = {"Parts": self._parts}
        try:
            self._store.ask(
                "writing",
                self._path,
                lambda: self._client.complete_multipart_upload(**self._where, MultipartUpload=done),
            )
        except FileNotFoundError:
            found = self._store.stat(self._path)
            if found is None or found.bytes != self._bytes:
                raise

    def abort(self) -> None:
        """One DELETE, if the store accepts it; otherwise the bucket's lifecycle rule deletes the parts."""
        try:
            self._store.ask(
                "clearing", self._path, lambda: self._client.abort_multipart_upload(**self._where)
            )
        except (HeterrecError, FileNotFoundError):
            return


def _error(path: str, error: aws.ClientError) -> Exception:
    """The exception for a failed request."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"{code} {error.response.get('Error', {}).get('Message', '')}".strip()
    if code == "NoSuchBucket":
        return no_bucket(path)
    if code in _CHANGED or (status == 409 and code not in _TRANSIENT):
        return ChangedError(path)
    if code in _ABSENT or status == 404:
        return FileNotFoundError(2, text, path)
    if code in _TRANSIENT or status in (408, 429) or (status >= 500 and status != 501):
        return TransientError(text or str(status))
    return CallError(f"{path}: the store refuses: {text or status}", todo=_TODO)
