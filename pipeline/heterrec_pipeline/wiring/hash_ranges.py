"""Hash ranges of users."""

import numpy as np
import numpy.typing as npt
import polars as pl

from heterrec_schemas.hashing import hash_texts


def bucket_numbers(users: pl.Series, shards: int, ranges: int) -> npt.NDArray[np.int64]:
    """The bucket of each user: shard * ranges + hash range.

    Args:
        users: n texts.
        shards: M, the number of sequence shards; shard = hash mod M.
        ranges: R, equal ranges of the hash, in ascending order.
    """
    hashes = hash_texts(users).to_numpy()
    shard = (hashes % np.uint64(shards)).astype(np.int64)
    # The upper 32 bits are enough to cut the hash space into equal ranges.
    part = ((hashes >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32)).astype(np.int64)
    return shard * ranges + part
