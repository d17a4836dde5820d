"""How the stores are reached, where their clients' own defaults do not do."""

import math
import os
from dataclasses import dataclass, field

from heterrec_schemas.errors import CallError

SECONDS = "HETERREC_STORE_SECONDS"
DEFAULT_SECONDS = 120.0
SILENCE = 60.0


def _seconds() -> float:
    text = os.environ.get(SECONDS, "")
    try:
        seconds = float(text) if text else DEFAULT_SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise CallError(f"the environment's {SECONDS}", got=text, expected="seconds above 0")
    return seconds


@dataclass(frozen=True)
class StoreSettings:
    """What differs from the clients' defaults; None leaves a thing to them.

    Attributes:
        seconds: for how long one operation is tried again, from the environment's
            HETERREC_STORE_SECONDS if it is there.
        s3: arguments of boto3's client, such as endpoint_url or region_name; without those that
            are None.
        gs_anonymous: ask Google's store without credentials.
        gs_impersonate: a service account whose credentials the own ones fetch.
    """

    seconds: float = field(default_factory=_seconds)
    s3: tuple[tuple[str, str | bool], ...] = ()
    gs_anonymous: bool = False
    gs_impersonate: str | None = None

    @property
    def silence(self) -> float:
        """Seconds without a byte after which a connection counts as broken."""
        return min(SILENCE, self.seconds / 2)
