"""Keeping generations: list them, publish one, pin one, delete those that are no longer needed."""

from heterrec_pipeline.keeping.erased import ErasedKeys, purge_erased, read_erased_keys
from heterrec_pipeline.keeping.generations import Listed, Survey, survey
from heterrec_pipeline.keeping.pins import pin, unpin
from heterrec_pipeline.keeping.repoint import publish
from heterrec_pipeline.keeping.retention import GRACE, Purged, purge

__all__ = [
    "GRACE",
    "ErasedKeys",
    "Listed",
    "Purged",
    "Survey",
    "pin",
    "publish",
    "purge",
    "purge_erased",
    "read_erased_keys",
    "survey",
    "unpin",
]
