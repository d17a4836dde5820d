"""Stores of files, local disks and object stores (gs://, s3://), behind one interface.

Object stores use their own client libraries: one client per process and store, every request
retried for a bounded time, and conditional writes.
"""

from heterrec_schemas.stores.object_store import ObjectStore
from heterrec_schemas.stores.objects import ABSENT, ChangedError
from heterrec_schemas.stores.registry import configure, current_settings, forget, store_of
from heterrec_schemas.stores.settings import StoreSettings
from heterrec_schemas.stores.store import FileInfo, Kind, Sink, Store

__all__ = [
    "ABSENT",
    "ChangedError",
    "FileInfo",
    "Kind",
    "ObjectStore",
    "Sink",
    "Store",
    "StoreSettings",
    "configure",
    "current_settings",
    "forget",
    "store_of",
]
