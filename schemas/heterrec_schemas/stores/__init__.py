"""Object stores, gs:// and s3://: one small interface over the stores' own clients.

One client a process and store; every request is tried again for a bounded time; writes can be made
conditional. A local path is none of this package's business.
"""

from heterrec_schemas.stores.reader import open_object
from heterrec_schemas.stores.registry import configure, forget, is_remote, store_of
from heterrec_schemas.stores.settings import StoreSettings
from heterrec_schemas.stores.store import ABSENT, ChangedError, ObjectInfo, Store, Upload, split
from heterrec_schemas.stores.writer import ObjectWriter

__all__ = [
    "ABSENT",
    "ChangedError",
    "ObjectInfo",
    "ObjectWriter",
    "Store",
    "StoreSettings",
    "Upload",
    "configure",
    "forget",
    "is_remote",
    "open_object",
    "split",
    "store_of",
]
