"""Spares Beam what takes much of the time of a small build, of which the tests run hundreds."""

import bz2
import gc
from collections.abc import Callable
from functools import lru_cache, partial
from types import SimpleNamespace


def quicken(replace: Callable[[object, str, object], None]) -> None:
    """Replace two of Beam's functions by quicker ones; a build has the same results.

    Beam compresses each step of a graph at the highest level, and decompresses it for every bundle. To measure what it
    caches of a side input, it goes through the names of all modules; the limit of that cache is far from what tests hold.

    Args:
        replace: sets an attribute, such as `setattr`.
    """
    from apache_beam.internal import cloudpickle_pickler
    from apache_beam.runners.worker import statecache

    remembered = lru_cache(maxsize=512)
    compress = remembered(partial(bz2.compress, compresslevel=1))
    quick_bz2 = SimpleNamespace(
        compress=lambda data, compresslevel: compress(data), decompress=remembered(bz2.decompress)
    )
    replace(cloudpickle_pickler, "bz2", quick_bz2)
    replace(statecache, "get_deep_size", lambda *objects: len(objects))


def rest_collector() -> None:
    """Make the collector rare, and take out of its way what stays for ever: modules and collected tests.

    Otherwise it takes a seventh of the time of a small build.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
