"""The bundle that answers, ready for its first request.

Shapes: D width.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from heterrec_model.bundle.files import HISTORIES, BundleInfo
from heterrec_model.bundle.reader import read_info
from heterrec_model.recommending.answer import Filters
from heterrec_model.recommending.history import EncodedHistory, History, Key
from heterrec_model.recommending.recommender import Recommender
from heterrec_schemas.errors import BundleError

Opener = Callable[[Path], Recommender]
"""Opens and verifies a bundle and its index."""
CACHED_USERS = 10_000
"""Number of users whose vectors are kept."""
EXAMPLES = 1_000
"""Number of users that the page draws from."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class KnownUser:
    """A user whose vector has been computed.

    Attributes:
        history: None for a user without one.
        vector_D: float32 [D]; None without a history with items.
    """

    history: EncodedHistory | None
    vector_D: Floats | None


class UserVectors:
    """The users seen last, with their vectors. Used by the compute thread only.

    Args:
        size: number of users; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._users: OrderedDict[Key, KnownUser] = OrderedDict()

    def get(self, user: Key) -> KnownUser | None:
        """A user, who becomes the one seen last."""
        found = self._users.get(user)
        if found is not None:
            self._users.move_to_end(user)
        return found

    def put(self, user: Key, known: KnownUser) -> None:
        """Keep a user, in place of the one that was not seen for the longest time."""
        if not self._size:
            return
        self._users[user] = known
        if len(self._users) > self._size:
            self._users.popitem(last=False)


@dataclass(frozen=True, eq=False)
class Live:
    """An open bundle with all that belongs to it, so that an answer cannot mix two bundles.

    Attributes:
        folder: of the bundle.
        info: its description.
        recommender: computes answers.
        users: cache of user vectors.
        examples: ids of users for the page.
        headers: of every answer: generation, checkpoint and fingerprint.
    """

    folder: Path
    info: BundleInfo
    recommender: Recommender
    users: UserVectors
    examples: list[Key]
    headers: dict[str, str]


class Current:
    """Holds the bundle that answers; a reload replaces one reference."""

    def __init__(self, live: Live) -> None:
        self.live = live


def open_live(folder: Path, opener: Opener, cached_users: int = CACHED_USERS) -> Live:
    """Open a bundle, verify it and let it answer once with every graph.

    Raises:
        BundleError: it is damaged, unfinished, or replaced meanwhile, or its index belongs to another one.
        HeterrecError: it does not answer.
    """
    info = read_info(folder)
    recommender = opener(folder)
    if recommender.identity.fingerprint != info.fingerprint:
        raise BundleError(
            f"{folder} was replaced while it was opened",
            got=recommender.identity.fingerprint,
            expected=info.fingerprint,
        )
    _warm(recommender, info)
    identity = recommender.identity
    return Live(
        folder=folder,
        info=info,
        recommender=recommender,
        users=UserVectors(cached_users),
        examples=_examples(folder),
        headers={
            "x-heterrec-generation": identity.generation,
            "x-heterrec-checkpoint": identity.checkpoint,
            "x-heterrec-bundle": info.fingerprint,
        },
    )


def _warm(recommender: Recommender, info: BundleInfo) -> None:
    """Use every graph, the index and every filter once: what is made at first use is made now."""
    catalogue = recommender.catalogue
    ids: Sequence[Key] = catalogue.ids(np.zeros(1, np.int64)) if len(catalogue) else []
    for length in info.buckets:
        for item in ids:
            history = recommender.translate(History([item] * length))
            recommender.answer([None], [history], 1, Filters())
    for feature in catalogue.features:
        catalogue.where({feature: []})
    for item in ids:
        recommender.similar([item], 1)


def _examples(folder: Path) -> list[Key]:
    """Some users with a history."""
    file = folder / HISTORIES
    if not file.is_file():
        return []
    with pa.memory_map(str(file)) as source, pa.ipc.open_file(source) as reader:
        if not reader.num_record_batches:
            return []
        ids: list[Key] = reader.get_batch(0)["user_id"].slice(0, EXAMPLES).to_pylist()
    return ids
