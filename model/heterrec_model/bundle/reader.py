"""Open a bundle: its description and its tables, with hashes checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
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
    USER_VALUES,
    BundleInfo,
)
from heterrec_schemas.errors import BundleError
from heterrec_schemas.hashing import file_sha256
from heterrec_schemas.tables import check_columns

AGAIN = "Copy or export the bundle again."
ITEM_COLUMNS = {
    "item_index": (pa.int64(), pa.int32()),
    "item_id": (pa.int64(), pa.string()),
    "retired": (pa.bool_(),),
}
POPULAR_COLUMNS = {"segment": (pa.string(),), "item_index": (pa.int64(),), "count": (pa.int64(),)}
USER_VALUE_COLUMNS = {"feature": (pa.string(),), "value": (pa.string(),), "token": (pa.int64(),)}
MAY_BE_NULL = ("segment",)


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
        return self.array(ITEM_VECTORS, np.float32, (self.info.items, self.info.width))

    @cached_property
    def item_tokens_IC(self) -> npt.NDArray[np.int32]:
        """The model input of every item_index, int32 [I, C]."""
        return self.array(ITEM_TOKENS, np.int32, (None, None))

    @cached_property
    def sample_user_vectors_SD(self) -> npt.NDArray[np.float32]:
        """Vectors of real users, float32 [S, D]."""
        return self.array(SAMPLE, np.float32, (None, self.info.width))

    def items(self) -> pa.Table:
        """The items of the catalogue in the order of the vectors, then the retired ones: item_ids.parquet."""
        table = self.table(ITEMS, ITEM_COLUMNS)
        listed = table["retired"].to_numpy()[: self.info.items]
        if len(listed) < self.info.items or listed.any():
            raise BundleError(
                f"{self.folder / ITEMS} does not begin with the catalogue",
                got=f"{np.argmax(np.append(listed, True)):,} items before retired ones",
                expected=f"{self.info.items:,}",
                todo=AGAIN,
            )
        return table

    def popular(self) -> pa.Table:
        """Popular items: segment (null: all users), item_index, count."""
        return self.table(POPULAR, POPULAR_COLUMNS)

    def user_values(self) -> pa.Table:
        """Values of the categorical user features: feature, value, token."""
        return self.table(USER_VALUES, USER_VALUE_COLUMNS)

    def array(
        self, name: str, dtype: npt.DTypeLike, shape: tuple[int | None, ...]
    ) -> npt.NDArray[Any]:
        """A memory-mapped array.

        Args:
            name: of the file.
            dtype: of the array.
            shape: with None for sizes that nothing is known of.

        Raises:
            BundleError: it cannot be read, or is another array.
        """
        file = self.folder / name
        try:
            found: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # numpy parses the header as Python: errors of many types
            raise BundleError(f"{file} cannot be read: {error}", todo=AGAIN) from None
        kind, sizes = getattr(found, "dtype", "an archive"), getattr(found, "shape", ())
        fits = len(sizes) == len(shape) and all(
            wanted in (None, size) for size, wanted in zip(sizes, shape, strict=True)
        )
        if kind != np.dtype(dtype) or not fits:
            words = ", ".join("any" if size is None else str(size) for size in shape)
            raise BundleError(
                f"{file} is another array",
                got=f"{kind} of the shape {list(sizes)}",
                expected=f"{np.dtype(dtype)} of the shape [{words}]",
                todo=AGAIN,
            )
        array: npt.NDArray[Any] = found
        return array

    def table(self, name: str, columns: Mapping[str, tuple[pa.DataType, ...]]) -> pa.Table:
        """A Parquet table.

        Args:
            name: of the file.
            columns: the allowed types of the columns that it must have; there may be others.

        Raises:
            BundleError: it cannot be read, or a column is absent, has another type, or nulls where it may have none.
        """
        file = self.folder / name
        try:
            found = pq.read_table(file)
            found.validate(full=True)  # texts may be no UTF-8
        except (OSError, pa.ArrowException) as error:
            raise BundleError(f"{file} cannot be read: {error}", todo=AGAIN) from None
        check_columns(str(file), found.schema, columns, partial(BundleError, todo=AGAIN))
        for column in columns:
            if column not in MAY_BE_NULL and found[column].null_count:
                raise BundleError(f"{file}: column {column!r} has nulls", todo=AGAIN)
        return found


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
        try:
            size = found.stat().st_size if found.is_file() else None
        except (OSError, ValueError) as error:  # a name that is too long, or has a null
            raise BundleError(
                f"{folder / INFO} lists a file that cannot exist: {error}", todo=AGAIN
            ) from None
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
