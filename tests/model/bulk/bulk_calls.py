"""Sizes of the bundle of these tests, and the type of the fixture `call`."""

from collections.abc import Callable

from heterrec_model.bulk.run import BulkResult

ITEMS, USERS = 500, 230
Call = Callable[..., BulkResult]
