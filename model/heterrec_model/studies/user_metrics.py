"""Metrics of every user of a row, as a small Parquet file: intervals over users need neither the run nor the data.

The file has one float32 column per metric, over all targets. Rows are sorted by user id; the ids themselves are omitted, and
a hash of them says which files can be paired.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.runs.atomic_files import writing
from heterrec_model.studies.rows import DIGEST
from heterrec_schemas.errors import CallError
from heterrec_schemas.stores.disk import make_folder, sync

_USERS_SHA256 = "users_sha256"


def write_user_metrics(path: Path, evaluation: Evaluation) -> str:
    """Write the metrics of every user.

    Returns:
        Digest of the sorted user ids.

    Raises:
        RunError: the file cannot be written.
    """
    ids = evaluation.per_user.user_ids
    order = np.argsort(ids)
    text = "\n".join(map(str, ids[order]))
    users = hashlib.sha256(text.encode("utf-8")).hexdigest()[:DIGEST]
    columns = {
        name: pa.array(values_U[order].astype(np.float32))
        for name, values_U in evaluation.user_metrics().items()
    }
    table = pa.table(columns)
    draft = path.with_name(f".{path.name}")
    with writing(path):
        make_folder(path.parent)
        with pq.ParquetWriter(
            draft,
            table.schema,
            compression="zstd",
            compression_level=19,
            use_dictionary=True,  # few distinct values: half the size of byte_stream_split
            write_statistics=False,
            store_schema=False,
        ) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({_USERS_SHA256: users})
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    return users


def read_user_metrics(
    path: Path, names: Sequence[str], users_sha256: str
) -> npt.NDArray[np.float32] | None:
    """Metrics of every user, [U, M]; None if the file does not exist.

    Raises:
        CallError: the file is damaged, lacks a metric, or is of other users than its row.
    """
    try:
        with pq.ParquetFile(path) as file:
            table, metadata = file.read(), file.metadata.metadata or {}
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise CallError(f"{path} cannot be read: {error}", todo="Restore it from git.") from None
    found = metadata.get(_USERS_SHA256.encode("ascii"), b"").decode("ascii")
    missing = [name for name in names if name not in table.column_names]
    if found != users_sha256 or missing:
        raise CallError(
            f"{path} does not belong to its row of rows.csv",
            got=f"no column {missing[0]}" if missing else f"users {found[:12]}",
            expected=None if missing else f"users {users_sha256[:12]}",
            todo="Restore both from the same commit, or delete the row to evaluate the run again.",
        )
    return np.stack([table[name].to_numpy() for name in names], axis=1)
