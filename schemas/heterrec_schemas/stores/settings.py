"""Settings of the object stores that differ from their clients' defaults."""

import math
import os
from dataclasses import dataclass

from heterrec_schemas.errors import CallError

SECONDS = "HETERREC_STORE_SECONDS"
"""The environment variable for the seconds during which one operation is retried."""
DEFAULT_SECONDS = 120.0
SILENCE = 60.0
"""Seconds without a byte after which a connection counts as broken, at the most."""


@dataclass(frozen=True)
class StoreSettings:
    """Settings that differ from the clients' defaults; None keeps a default.

    Attributes:
        s3: arguments of boto3's client, such as endpoint_url or region_name; those that are None
            are left out.
        gs_anonymous: use Google's store without credentials.
        gs_impersonate: a service account to impersonate with the caller's own credentials.
    """

    s3: tuple[tuple[str, str | bool], ...] = ()
    gs_anonymous: bool = False
    gs_impersonate: str | None = None

    @property
    def seconds(self) -> float:
        """Seconds during which one operation is retried: HETERREC_STORE_SECONDS, else 120.

        Raises:
            CallError: the environment variable is not a number above 0.
        """
        text = os.environ.get(SECONDS, "")
        try:
            seconds = float(text) if text else DEFAULT_SECONDS
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise CallError(f"the environment's {SECONDS}", got=text, expected="seconds above 0")
        return seconds

    @property
    def silence(self) -> float:
        """Seconds without a byte after which a connection counts as broken."""
        return min(SILENCE, self.seconds / 2)
