"""Open a bundle: its description and its tables, with hashes checked."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from heterrec_model.bundle.files import (
    EXPORT_VERSION,
    INFO,
    ITEM_TOKENS,
    ITEM_VECTORS,
    ITEMS,
    POPULAR,
    SAMPLE,
    BundleInfo,
)
from heterrec_schemas.errors import BundleError
from heterrec_schemas.hashing import file_sha256


@dataclass(frozen=True, eq=False)
class Bundle:
    """An open bundle; its arrays are memory-mapped.

    Attributes:
        folder: its own folder.
        info: its description.
    """

    folder: Path
    info: BundleInfo

    @property
    def fingerprint(self) -> str:
        """The fingerprint from the raw input to the weights."""
        return self.info.fingerprint

    @cached_property
    def item_vectors_ND(self) -> npt.NDArray[np.float32]:
        """The vectors of the catalogue, float32 [N, D]."""
        return self.array(ITEM_VECTORS)

    @cached_property
    def item_tokens_IC(self) -> npt.NDArray[np.int32]:
        """The model input of every item_index, int32 [I, C]."""
        return self.array(ITEM_TOKENS)

    @cached_property
    def sample_user_vectors_SD(self) -> npt.NDArray[np.float32]:
        """Vectors of real users, float32 [S, D]."""
        return self.array(SAMPLE)

    def items(self) -> pa.Table:
        """The items of the catalogue in the order of the vectors, then the retired ones: item_ids.parquet."""
        return self.table(ITEMS)

    def popular(self) -> pa.Table:
        """Popular items: segment (null: all users), item_index, count."""
        return self.table(POPULAR)

    def array(self, name: str) -> npt.NDArray[Any]:
        """A memory-mapped array.

        Raises:
            BundleError: it cannot be read.
        """
        try:
            found: npt.NDArray[Any] = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BundleError(f"{self.folder / name} cannot be read: {error}") from None
        return found

    def table(self, name: str) -> pa.Table:
        """A Parquet table.

        Raises:
            BundleError: it cannot be read.
        """
        try:
            found = pq.read_table(self.folder / name)
            found.validate(full=True)  # texts may be no UTF-8
            return found
        except (OSError, pa.ArrowException) as error:
            raise BundleError(f"{self.folder / name} cannot be read: {error}") from None


def open_bundle(path: str | Path, *, verify: Literal["hashes", "sizes"] = "hashes") -> Bundle:
    """Open a bundle that `heterrec-model export` wrote.

    Args:
        path: its folder.
        verify: compare the hashes of all files, or their sizes only.

    Raises:
        BundleError: the folder has no finished bundle, its layout is unknown, or a file differs from bundle.json.
    """
    folder = Path(path)
    info = read_info(folder)
    for file in info.files:
        found = folder / file.path
        size = found.stat().st_size if found.is_file() else None
        if size != file.bytes:
            got = "no such file" if size is None else f"{size:,} bytes"
            raise BundleError(
                f"{found} differs from {INFO}",
                got=got,
                expected=f"{file.bytes:,} bytes",
                todo=AGAIN,
            )
        if verify == "hashes" and (got := file_sha256(found)) != file.sha256:
            raise BundleError(
                f"{found} differs from {INFO}",
                got=f"SHA-256 {got}",
                expected=file.sha256,
                todo=AGAIN,
            )
    return Bundle(folder, info)


AGAIN = "Copy or export the bundle again."


def read_info(folder: Path) -> BundleInfo:
    """The description of a bundle.

    Raises:
        BundleError: the folder has no finished bundle, or its layout is unknown.
    """
    file = folder / INFO
    if not file.is_file():
        what = "is not finished" if folder.is_dir() and any(folder.iterdir()) else "is no bundle"
        raise BundleError(
            f"{folder} {what}: it has no {INFO}",
            todo="Use a folder that `heterrec-model export` wrote.",
        )
    try:
        info = BundleInfo.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{file} cannot be read: {where}: {first['msg']}", todo=AGAIN) from None
    if info.export_version != EXPORT_VERSION:
        raise BundleError(
            f"{file} has an unknown layout",
            got=f"export version {info.export_version}",
            expected=f"{EXPORT_VERSION}",
            todo="Export the run again with this release.",
        )
    return info
