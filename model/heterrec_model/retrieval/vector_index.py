"""An approximate index of item vectors (faiss), stored in the folder `index` of a bundle.

The effort of a search is the number of lists that are read (IVF) or of candidates that are kept (HNSW). It depends on the
depth: how many of the best items of the whole catalogue the answer may come from. With k answers, h hidden items and a share
s of allowed items it is (k + h) / s. `build_index` measures the effort at several depths.

Shapes: B users, N items, D width, K number of answers, L lists, P probed lists.
"""

import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from heterrec_model.bundle.files import INDEX, INDEX_FILE, INDEX_INFO, IndexInfo
from heterrec_model.bundle.reader import Bundle
from heterrec_model.retrieval.exact import Floats, Ints, TopItems, best_first
from heterrec_schemas.errors import BundleError, CallError, with_extra
from heterrec_schemas.hashing import file_sha256

FLAT, IVF, HNSW = "flat", "ivf", "hnsw"
EFFORT = {IVF: "probes", HNSW: "ef"}
"""Name of the effort in `IndexInfo.settings`; the depth follows, as in probes_100."""
_AGAIN = "Run `heterrec-model index` again."


def faiss_module() -> Any:
    """The module faiss.

    Raises:
        CallError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise CallError(f"the index needs faiss: {error}", todo=with_extra("serve")) from None
    return faiss


class VectorIndex:
    """An open index.

    Args:
        info: its description.
        index: of faiss; None for the kind `flat`, which is searched in the item vectors of the bundle.
    """

    def __init__(self, info: IndexInfo, index: Any) -> None:
        self.info = info
        self._index = index
        self._effort_at = efforts(info.kind, info.settings)

    @property
    def kind(self) -> str:
        """Its kind: flat, ivf or hnsw."""
        return self.info.kind

    def effort(self, depth: float) -> int | None:
        """The effort for a depth, between those measured; None beyond the largest one: search exactly."""
        return effort_between(self._effort_at, depth)

    @cached_property
    def centroids_LD(self) -> Floats:
        """The centres of the lists of an IVF."""
        quantizer = faiss_module().downcast_index(self._index.quantizer)
        centroids_LD: Floats = quantizer.reconstruct_n(0, quantizer.ntotal)
        return centroids_LD

    @cached_property
    def list_of_N(self) -> Ints:
        """The list of every item of an IVF."""
        lists = self._index.invlists
        list_of_N: Ints = np.zeros(self._index.ntotal, np.int64)
        for number in range(lists.nlist):
            size = lists.list_size(number)
            if size:
                ids = faiss_module().rev_swig_ptr(lists.get_ids(number), size)
                list_of_N[ids] = number
        return list_of_N

    def search(self, users_BD: Floats, k: int, effort: int) -> TopItems:
        """The k best items that a search of some effort finds; NONE where it finds fewer."""
        users_BD = np.ascontiguousarray(users_BD, np.float32)
        parameters = search_parameters(self.kind, max(effort, 1 if self.kind == IVF else k))
        score_BK, position_BK = self._index.search(users_BD, k, params=parameters)
        return best_first(position_BK, score_BK, k)

    def search_lists(
        self, users_BD: Floats, k: int, lists_BP: Ints, selector: Any
    ) -> tuple[Ints, Floats]:
        """Positions and scores of the k best selected items in some lists of an IVF, unordered; a list of -1 is none."""
        faiss = faiss_module()
        users_BD = np.ascontiguousarray(users_BD, np.float32)
        lists_BP = np.ascontiguousarray(lists_BP, np.int64)
        position_BK: Ints = np.empty((len(users_BD), k), np.int64)
        score_BK: Floats = np.empty((len(users_BD), k), np.float32)
        near_BP: Floats = np.zeros(lists_BP.shape, np.float32)
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=lists_BP.shape[1])
        arrays = [faiss.swig_ptr(a) for a in (lists_BP, near_BP, score_BK, position_BK)]
        self._index.search_preassigned_c(
            len(users_BD), faiss.swig_ptr(users_BD), k, *arrays, False, parameters
        )
        return position_BK, score_BK


def search_parameters(kind: str, effort: int) -> Any:
    """The parameters of faiss for an effort."""
    faiss = faiss_module()
    if kind == IVF:
        return faiss.SearchParametersIVF(nprobe=effort)
    return faiss.SearchParametersHNSW(efSearch=effort)


def bitmap_selector(allowed_N: npt.NDArray[np.bool_]) -> Any:
    """A selector of faiss for the items of a mask."""
    return faiss_module().IDSelectorBitmap(np.packbits(allowed_N, bitorder="little"))


def efforts(kind: str, settings: Mapping[str, int]) -> dict[int, int]:
    """The measured effort by depth."""
    prefix = f"{EFFORT.get(kind, '')}_"
    found = {
        int(name.removeprefix(prefix)): value
        for name, value in settings.items()
        if name.startswith(prefix) and name.removeprefix(prefix).isdecimal()
    }
    return dict(sorted(found.items()))


def effort_between(effort_at: Mapping[int, int], depth: float) -> int | None:
    """The effort for a depth: a straight line between the logarithms of depth and effort."""
    depths = list(effort_at)
    if not depths or depth > depths[-1]:
        return None
    logs = [math.log(effort_at[d]) for d in depths]
    return math.ceil(math.exp(np.interp(math.log(depth), np.log(depths), logs)) - 1e-9)


def open_index(bundle: Bundle) -> VectorIndex | None:
    """The index of a bundle; None if it has none.

    Raises:
        BundleError: the index belongs to another bundle, or a file is absent or damaged.
    """
    folder = bundle.folder / INDEX
    if not folder.exists():
        return None
    info = read_index_info(folder)
    try:
        return _opened(bundle, folder, info)
    except BundleError:
        if (newer := read_index_info(folder)) != info:  # replaced meanwhile
            return _opened(bundle, folder, newer)
        raise


def read_index_info(folder: Path) -> IndexInfo:
    """The description of an index.

    Raises:
        BundleError: it is absent or cannot be read.
    """
    file = folder / INDEX_INFO
    try:
        return IndexInfo.model_validate(json.loads(file.read_bytes()))
    except OSError as error:
        text = f"{folder} is not finished: it has no {INDEX_INFO} ({error.strerror})"
        raise BundleError(text, todo=_AGAIN) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{file} cannot be read: {where}: {first['msg']}", todo=_AGAIN) from None
    except ValueError as error:
        raise BundleError(f"{file} is not JSON: {error}", todo=_AGAIN) from None


def _opened(bundle: Bundle, folder: Path, info: IndexInfo) -> VectorIndex:
    file = folder / INDEX_FILE

    def differs(got: object, expected: object) -> BundleError:
        text = f"{file} differs from {INDEX_INFO}"
        return BundleError(text, got=got, expected=expected, todo=_AGAIN)

    if info.fingerprint != bundle.fingerprint:
        raise BundleError(
            f"{folder} belongs to another bundle",
            got=f"fingerprint {info.fingerprint}",
            expected=f"{bundle.fingerprint}, that of {bundle.folder}",
            todo=_AGAIN,
        )
    if info.kind not in (FLAT, IVF, HNSW):
        raise BundleError(
            f"{folder} is of an unknown kind",
            got=info.kind,
            expected="flat, ivf or hnsw",
            todo=_AGAIN,
        )
    size = file.stat().st_size if file.is_file() else None
    if size != info.bytes:
        got = "no such file" if size is None else f"{size:,} bytes"
        raise differs(got, f"{info.bytes:,} bytes")
    if (found := file_sha256(file)) != info.sha256:
        raise differs(f"SHA-256 {found}", info.sha256)
    faiss = faiss_module()
    try:
        index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise BundleError(f"{file} cannot be read: {error}", todo=_AGAIN) from None
    shape = (index.ntotal, index.d)
    if shape != bundle.item_vectors_ND.shape:
        raise differs(
            f"{shape[0]:,} vectors of width {shape[1]}",
            "{:,} of width {}".format(*bundle.item_vectors_ND.shape),
        )
    return VectorIndex(info, None if info.kind == FLAT else index)
