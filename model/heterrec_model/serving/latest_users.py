"""The pass of an export over all users: their histories, popular items, and the comparison of the two user towers.

Shapes: B users, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import torch

from heterrec_model.bundle.encoder import BundleEncoder
from heterrec_model.bundle.files import HISTORIES, POPULAR, PROGRAM, SAMPLE, BundleInfo
from heterrec_model.bundle.histories import BEHAVIOUR, ITEM, TIME, USER_FEATURE
from heterrec_model.bundle.reader import Bundle
from heterrec_model.data.inference_batches import histories_batch
from heterrec_model.runs.atomic_files import save_array
from heterrec_model.runs.load_run import LoadedRun
from heterrec_model.serving.tables import PopularCounts, history_tables, with_shard_rows
from heterrec_model.serving.user_tower import UserTower
from heterrec_schemas.errors import RunError
from heterrec_schemas.generation import Generation

TOLERANCE = 1e-5
"""Largest difference of a number of a user vector."""
SAMPLE_USERS = 2_000
"""Number of user vectors in the bundle, for the recall of an index."""
PROGRAM_USERS = 1_000
"""Number of users that user.pt2 is compared on."""
OnProgress = Callable[[str], None]
Floats = npt.NDArray[np.float32]


class LatestUsers:
    """One pass over the users of the split `latest`: histories, popular items, and the comparison of the towers.

    Attributes:
        count: number of users so far.
        largest: largest difference of a number of a user vector so far.
        id_type: type of the user ids, `int64` or `string`.
    """

    def __init__(
        self,
        draft: Path,
        info: BundleInfo,
        loaded: LoadedRun,
        generation: Generation,
        segment_by: str | None,
        histories: bool,
    ) -> None:
        self._draft, self._info, self._loaded = draft, info, loaded
        self._generation, self._segment_by, self._histories = generation, segment_by, histories
        self._tower = UserTower(loaded.model)
        self.count, self.largest, self.id_type = 0, 0.0, "int64"

    def write(self, on_progress: OnProgress) -> None:
        """Write the histories (if wanted), popular.parquet and the sample of user vectors.

        Raises:
            RunError: the exported tower differs from the model.
        """
        rows = self._generation.manifest.counts.sequences["latest"]
        encoder = BundleEncoder(Bundle(self._draft, self._info), threads=torch.get_num_threads())
        program = torch.export.load(self._draft / PROGRAM).module()
        sampled = np.zeros(rows, np.bool_)
        chosen = np.random.default_rng(0).choice(rows, min(rows, SAMPLE_USERS), replace=False)
        sampled[chosen] = True
        popular, sample = PopularCounts(), [np.zeros((0, self._info.width), np.float32)]
        for table in self._stored(
            history_tables(
                self._generation, self._loaded.model.table.user_features, self._segment_by
            )
        ):
            popular.add(table)
            self.id_type = type_name(table["user_id"].type)
            for start in range(0, len(table), _AT_ONCE):
                part = table.slice(start, _AT_ONCE)
                expected_BD = self._compare(encoder, program, part)
                here = sampled[self.count : self.count + len(part)]
                sample.append(expected_BD[here])
                self.count += len(part)
                on_progress(f"user vectors: {self.count:,} of {rows:,} users compared")
        pq.write_table(popular.table(), self._draft / POPULAR)
        save_array(self._draft / SAMPLE, np.concatenate(sample))

    def _stored(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """The tables, which are written to the file of histories on the way if it is wanted."""
        writer: Any = None
        try:
            for table in tables:
                if self._histories:
                    if writer is None:
                        schema = with_shard_rows(table.schema, self._generation)
                        writer = pa.ipc.new_file(str(self._draft / HISTORIES), schema)
                    writer.write_table(table)
                yield table
        finally:
            if writer is not None:
                writer.close()

    def _compare(self, encoder: BundleEncoder, program: Any, rows: pa.Table) -> Floats:
        """The model's vectors of some users, after a comparison with those of the exported towers."""
        columns = _columns(rows, [f.name for f in self._info.user_features])
        order = np.argsort([len(item) for item in columns["items"]], kind="stable")
        found = encoder.encode(**columns)
        expected = np.empty_like(found)
        for start in range(0, len(order), _EAGER):
            chosen = order[start : start + _EAGER]
            batch = histories_batch(
                {name: [cells[row] for row in chosen] for name, cells in columns.items()},
                self._loaded.model.table.user_features,
                self._info.max_length,
                with_behaviours=self._info.reads_behaviours,
            )
            with torch.no_grad():
                expected[chosen] = self._loaded.model.user_vectors(batch).numpy()
        self._check("user.onnx", found, expected)
        if self.count < PROGRAM_USERS:
            longest = self._info.max_length
            few = list(range(min(len(rows), PROGRAM_USERS - self.count)))
            feeds = encoder.feeds(few, longest, **columns)
            with torch.no_grad():
                output = program(*(torch.from_numpy(feeds[name]) for name in self._tower.inputs))
            self._check(PROGRAM, output.numpy(), expected[few])
        return expected

    def _check(self, name: str, found: Floats, expected: Floats) -> None:
        difference = float(np.abs(found - expected).max(initial=0.0))
        self.largest = max(self.largest, difference)
        if not difference <= TOLERANCE:  # NaN too
            raise RunError(
                f"the exported user tower {name} differs from the model",
                got=f"a difference of {difference:.2e} in a user vector",
                expected=f"at most {TOLERANCE:.0e}",
                todo="No bundle was written. A run that has diverged has such vectors; otherwise report it with the run's "
                "config.yaml.",
            )


_AT_ONCE = 4096
"""Number of users compared at a time."""
_EAGER = 128
"""Number of users encoded at a time by the model."""


def _columns(rows: pa.Table, features: Sequence[str]) -> dict[str, list[Any]]:
    """Rows of histories as arguments of `BundleEncoder.encode`."""

    def cells(name: str) -> list[Any]:
        lists = pa.concat_arrays(rows[name].chunks)
        flat = lists.flatten().to_numpy().astype(np.int64, copy=False)
        return np.split(flat, np.cumsum(lists.value_lengths().to_numpy())[:-1])

    users = {name: cells(USER_FEATURE + name) for name in features}
    return {
        "items": cells(ITEM),
        "times": cells(TIME),
        "behaviours": cells(BEHAVIOUR) if BEHAVIOUR in rows.column_names else [None] * len(rows),
        "user_features": [{n: users[n][row] for n in features} for row in range(len(rows))],
    }


def type_name(kind: pa.DataType) -> str:
    """The type of ids, as bundle.json states it."""
    return "int64" if pa.types.is_integer(kind) else "string"
