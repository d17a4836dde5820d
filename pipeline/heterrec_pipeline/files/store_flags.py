"""Beam's flags for object stores, as settings of the stores' clients.

A flag reaches the launching process through the command line, and every worker through the options that its engine
passes on; Beam keeps them in one place in both. The graph holds nothing about a store.
"""

from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, S3Options

from heterrec_schemas import stores

_S3 = {
    "s3_access_key_id": "aws_access_key_id",
    "s3_secret_access_key": "aws_secret_access_key",
    "s3_session_token": "aws_session_token",
    "s3_endpoint_url": "endpoint_url",
    "s3_region_name": "region_name",
    "s3_api_version": "api_version",
    "s3_verify": "verify",
}
_followed: list[Any] = [None]


def follow_flags() -> None:
    """Configure the stores by the flags of this process; without flags, the environment decides."""
    options = FileSystems._pipeline_options
    if options is not None and options is not _followed[0]:
        stores.configure(settings_of(options))
        _followed[0] = options


def settings_of(options: PipelineOptions) -> stores.StoreSettings:
    """The settings of the stores in Beam's options."""
    s3, google = options.view_as(S3Options), options.view_as(GoogleCloudOptions)
    given = {name: getattr(s3, flag) for flag, name in _S3.items()}
    if s3.s3_disable_ssl:
        given["use_ssl"] = False
    verify = str(s3.s3_verify).lower()
    if verify in ("true", "false"):  # otherwise the path of a bundle of certificates
        given["verify"] = verify == "true"
    return stores.StoreSettings(
        s3=tuple((name, value) for name, value in given.items() if value is not None),
        gs_anonymous=bool(google.no_auth),
        gs_impersonate=google.impersonate_service_account,
    )
