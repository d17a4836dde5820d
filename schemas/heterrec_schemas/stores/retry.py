"""The retry rule of every request to a store."""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from heterrec_schemas.errors import RunError

LOG = logging.getLogger(__name__)
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 16.0
"""Seconds between two tries, at the most."""
T = TypeVar("T")


class TransientError(Exception):
    """A request failed in a way that a retry may fix; the message says how."""


def retry(operation: str, seconds: float, call: Callable[[], T]) -> T:
    """The result of `call`, retried after a `TransientError` with pauses that double.

    Args:
        operation: the operation and its object, for the message.
        seconds: no try begins later than this after the first one.
        call: one try.

    Raises:
        RunError: no try succeeded in that time.
    """
    started = time.monotonic()
    pause, tries = FIRST_PAUSE, 0
    while True:
        tries += 1
        try:
            return call()
        except TransientError as error:
            # Workers that failed together must not retry together.
            wait = pause * random.uniform(0.5, 1)
            passed = time.monotonic() - started
            if passed + wait > seconds:
                raise RunError(
                    f"{operation}: the store has not answered as it should in {passed:.0f} s "
                    f"and {tries} {'try' if tries == 1 else 'tries'} (the last: {error})",
                    todo="Run the same command again when the store is well.",
                ) from error
            LOG.warning("%s: trying again in %.1f s: %s", operation, wait, error)
        time.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE)
