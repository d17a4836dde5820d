"""The user tower of a bundle in onnxruntime.

Shapes: B users, T items, C token columns, D width.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heterrec_model.bundle.files import INFO, ITEM_TOKENS, UserFeature, graph_name
from heterrec_model.bundle.reader import AGAIN, Bundle
from heterrec_schemas.errors import BundleError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

TOKENS, TIMES, LENGTH, BEHAVIOURS = "tokens", "timestamp_ms", "length", "behaviour"
"""Inputs of the graphs: int32 [B, T, C], int64 [B, T], int64 [B], int64 [B, T]."""
USER = "user_"
"""Prefix of the inputs of user features: int64 [B], or [B, tokens]."""
OUTPUT = "user_vector"
"""float32 [B, D]."""
BATCH = 64
"""Maximum number of users in one call of a graph."""


class BundleEncoder:
    """Encodes histories with the graphs of a bundle; each history goes to the shortest graph that holds it.

    Args:
        bundle: an open bundle.
        threads: of onnxruntime.

    Raises:
        BundleError: onnxruntime cannot load a graph, or it does not fit the bundle's description.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        info = bundle.info
        self._tokens_IC = bundle.item_tokens_IC
        self._buckets, self._width = info.buckets, info.width
        self._with_behaviours, self._features = info.reads_behaviours, info.user_features
        self._folder = bundle.folder
        self._graphs = {
            length: self._session(bundle, graph_name(length, info.max_length), length, threads)
            for length in info.buckets
        }

    def _session(self, bundle: Bundle, name: str, length: int, threads: int) -> Any:
        """A graph, with the inputs and the output that are described."""
        session = _session(bundle, name, threads)
        columns = self._tokens_IC.shape[1]
        expected: dict[str, list[Any]] = {TOKENS: [length, columns], TIMES: [length], LENGTH: []}
        expected |= {BEHAVIOURS: [length]} if self._with_behaviours else {}
        got = {one.name: list(one.shape[1:]) for one in session.get_inputs()}
        users = {USER + feature.name for feature in self._features}
        width = next((one.shape[-1] for one in session.get_outputs() if one.name == OUTPUT), None)
        inputs = {key: shape for key, shape in got.items() if key not in users}
        if inputs != expected or not users <= got.keys() or width != self._width:
            raise BundleError(
                f"{bundle.folder / name} does not fit {INFO} and {ITEM_TOKENS}",
                got=f"{got} and vectors of width {width}",
                expected=f"{expected}, {sorted(users)} and vectors of width {self._width}",
                todo=AGAIN,
            )
        return session

    @property
    def buckets(self) -> list[int]:
        """The lengths of the graphs, ascending."""
        return self._buckets

    def encode(
        self,
        items: Sequence[Ints],
        times: Sequence[Ints],
        behaviours: Sequence[Ints | None],
        user_features: Sequence[Mapping[str, Ints]],
    ) -> Floats:
        """The user vectors of B histories with at least one item each, float32 [B, D].

        The model reads the last items of longer histories. The result of a user depends in the last bits on the users that
        it is encoded with.

        Args:
            items: item_index, oldest first.
            times: milliseconds since 1970.
            behaviours: ids; None in a bundle without behaviours.
            user_features: tokens by feature.

        Raises:
            BundleError: an item, or a token of one, is beyond the tables of the bundle.
        """
        longest = self._buckets[-1]
        lengths = np.asarray([min(len(item), longest) for item in items], np.int64)
        bucket_B = np.searchsorted(self._buckets, lengths)
        vectors_BD = np.empty((len(items), self._width), np.float32)
        for number, length in enumerate(self._buckets):
            rows = np.flatnonzero(bucket_B == number)
            for start in range(0, len(rows), BATCH):
                chosen = rows[start : start + BATCH]
                feeds = self.feeds(chosen, length, items, times, behaviours, user_features)
                vectors_BD[chosen] = self._run(length, feeds)
        return vectors_BD

    def _run(self, length: int, feeds: dict[str, npt.NDArray[Any]]) -> Floats:
        try:
            found: Floats = self._graphs[length].run([OUTPUT], feeds)[0]
        except Exception as error:  # onnxruntime raises many types
            raise BundleError(
                f"the user tower of {self._folder} cannot encode a history: {error}", todo=AGAIN
            ) from None
        return found

    def feeds(
        self,
        rows: Sequence[int] | Ints,
        length: int,
        items: Sequence[Ints],
        times: Sequence[Ints],
        behaviours: Sequence[Ints | None],
        user_features: Sequence[Mapping[str, Ints]],
    ) -> dict[str, npt.NDArray[Any]]:
        """The inputs of the graph for `length` items, for some rows of the arguments of `encode`."""
        item_BT = np.zeros((len(rows), length), np.int64)
        time_BT = np.zeros((len(rows), length), np.int64)
        behaviour_BT = np.zeros((len(rows), length), np.int64)
        length_B = np.empty(len(rows), np.int64)
        for place, row in enumerate(rows):
            item_T = items[row][-length:]
            size = length_B[place] = len(item_T)
            item_BT[place, :size] = item_T
            time_BT[place, :size] = times[row][-length:]
            time_BT[place, size:] = time_BT[place, size - 1]
            behaviour_T = behaviours[row]
            if behaviour_T is not None:
                behaviour_BT[place, :size] = behaviour_T[-length:]
        if item_BT.size and not 0 <= item_BT.min() <= item_BT.max() < len(self._tokens_IC):
            raise BundleError(
                f"a history has an item that {self._folder / ITEM_TOKENS} does not have",
                got=f"item_index {item_BT.min()} to {item_BT.max()}",
                expected=f"0 to {len(self._tokens_IC) - 1}",
                todo=AGAIN,
            )
        feeds: dict[str, npt.NDArray[Any]] = {
            TOKENS: self._tokens_IC[item_BT],
            TIMES: time_BT,
            LENGTH: length_B,
        }
        if self._with_behaviours:
            feeds[BEHAVIOURS] = behaviour_BT
        for feature in self._features:
            feeds[USER + feature.name] = _cells(feature, rows, user_features)
        return feeds


def _cells(
    feature: UserFeature, rows: Sequence[int] | Ints, user_features: Sequence[Mapping[str, Ints]]
) -> Ints:
    """The tokens of a user feature, [B] or [B, tokens], padded with 0."""
    cells = [user_features[row][feature.name] for row in rows]
    if not feature.multivalued and feature.kind != "embedding":
        return np.asarray([cell[0] for cell in cells], np.int64)
    padded = np.zeros((len(cells), max(1, *map(len, cells))), np.int64)
    for place, cell in enumerate(cells):
        padded[place, : len(cell)] = cell
    return padded


def _session(bundle: Bundle, name: str, threads: int) -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            str(bundle.folder / name), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises many types
        raise BundleError(f"{bundle.folder / name} cannot be loaded: {error}") from None
