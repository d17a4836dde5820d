"""Leases: small files by which a process shows others that it still builds, reads or deletes a generation."""

from heterrec_schemas.leases.lease import (
    LEASE_NAME,
    LEASES,
    PURGING,
    SWEEP_AFTER,
    TAKEN,
    Lease,
    as_text,
    heartbeat,
    live_leases,
    may_live,
    parsed,
    read_lease,
    silent,
    store_now,
)
from heterrec_schemas.leases.process import lives, this_process
from heterrec_schemas.leases.reader import await_purge, reader_lease

__all__ = [
    "LEASES",
    "LEASE_NAME",
    "PURGING",
    "SWEEP_AFTER",
    "TAKEN",
    "Lease",
    "as_text",
    "await_purge",
    "heartbeat",
    "live_leases",
    "lives",
    "may_live",
    "parsed",
    "read_lease",
    "reader_lease",
    "silent",
    "store_now",
    "this_process",
]
