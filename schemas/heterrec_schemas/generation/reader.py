"""Open a generation, unless it is unfinished, unknown or damaged, and read its tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_schemas.codebooks import Book, books_of
from heterrec_schemas.documents import parse_json
from heterrec_schemas.drift import DRIFT_NAME, DriftReport
from heterrec_schemas.errors import CallError, CorruptGenerationError, suggest
from heterrec_schemas.feature_spec import (
    CodebookEmbedding,
    EmbeddingFeature,
    Feature,
    QuantileEmbedding,
)
from heterrec_schemas.generation.find_generation import find_generation, unfinished
from heterrec_schemas.generation.shard_reader import ShardReader
from heterrec_schemas.generation.verify import (
    Verify,
    check_features,
    check_files,
    read_manifest,
    read_spec,
)
from heterrec_schemas.manifest import MANIFEST_NAME, SPLITS, FileEntry, table_stem
from heterrec_schemas.reductions import SUFFIX, Reduction, reduction_of
from heterrec_schemas.tables import ERASED, ITEM_TIMES


def open_generation(path: str | Path, *, verify: Verify = "hashes") -> "Generation":
    """Open a published generation.

    Args:
        path: an output folder (its `latest.json` is followed) or a generation's own folder;
            a local path or a URI (gs://, s3://).
        verify: `hashes` reads every file and compares its SHA-256; `sizes` compares sizes only,
            which suffices for a generation that was verified before.

    Raises:
        CallError: `verify` or the URI's scheme is unknown, or the store refuses.
        GenerationError: there is no generation at the path.
        UnfinishedGenerationError: the generation has no manifest.
        FormatVersionError: its format version is unknown to this release.
        CorruptGenerationError: the manifest cannot be read, or a file differs from it.
        RunError: the store does not answer.
    """
    if verify not in ("hashes", "sizes"):
        raise CallError("verify", got=repr(verify), expected="'hashes' or 'sizes'")
    folder = find_generation(path)
    try:
        manifest = read_manifest(folder)
        check_files(folder, manifest, verify)
        spec = read_spec(folder, manifest)
    except (CorruptGenerationError, FileNotFoundError):
        if not folder.has_file(MANIFEST_NAME):  # a purge deletes it before anything else
            raise unfinished(folder) from None
        raise
    check_features(folder, manifest, spec)
    return Generation(folder, manifest, spec)


@dataclass(frozen=True, eq=False)
class Generation(ShardReader):
    """One published output of the pipeline, open for reading: its tables by name.

    Paths of files are relative to the generation's folder, as in its manifest; `locate` gives full paths.

    Attributes:
        folder: its own folder.
        manifest: its manifest.
        spec: the feature spec of its build.
    """

    def files(self, folder: str) -> list[FileEntry]:
        """The entries of one folder, such as `items`, sorted by path."""
        inside = [f for f in self.manifest.files if f.path.startswith(f"{folder}/")]
        return sorted(inside, key=lambda f: f.path)

    def vocabulary_shards(self, name: str) -> list[str]:
        """The paths of one vocabulary: `item`, an item feature, or `user_<feature>`.

        Raises:
            CallError: there is no such vocabulary.
        """
        return self._named("vocabularies", name, "vocabulary")

    def vocabulary(self, name: str) -> pa.Table:
        """One vocabulary: id, value (null if erased), count, status; all shards, sorted by id.

        Raises:
            CallError: there is no such vocabulary.
        """
        return self.read(self.vocabulary_shards(name)).sort_by("id")

    def erased_ids(self, name: str) -> npt.NDArray[np.int64]:
        """The ids of the erased values of a vocabulary, which keep their ids.

        Raises:
            CallError: there is no such vocabulary.
        """
        table = self.read(self.vocabulary_shards(name), ["id", "status"])
        ids = table.filter(pc.equal(table["status"], ERASED))["id"]
        return np.array(ids.to_numpy(), np.int64)

    def boundaries(self, name: str) -> npt.NDArray[np.float64]:
        """The bin edges of a numeric feature (`user_<feature>` on the users' side), ascending.

        Raises:
            CallError: there is no such numeric feature.
        """
        edges = self.read(self._named("boundaries", name, "boundaries"))["edge"]
        return np.asarray(edges.to_numpy(), np.float64)

    def quantizers(self, name: str) -> npt.NDArray[np.float32]:
        """The quantile edges of an embedding feature: [q - 1, D] float32, with `reduce` of the D dimensions that it leaves.

        Raises:
            CallError: there is no such embedding feature, or it has another quantizer.
            CorruptGenerationError: the table is not a full grid of edges and dimensions.
        """
        path = self._named("quantizers", name, "quantizers")[0]
        feature = self.feature(name)
        if not isinstance(feature, QuantileEmbedding):
            raise CallError(f"{name!r} has codebooks, not quantile edges", todo="Read `codebooks`.")
        table = self.read([path]).sort_by([("edge_index", "ascending"), ("dim", "ascending")])
        shape = (feature.quantiles - 1, feature.width)
        grid = np.indices(shape).reshape(2, -1)
        got = [table[column].to_numpy() for column in ("edge_index", "dim")]
        if not np.array_equal(got, grid):
            raise CorruptGenerationError(
                f"{self.locate(path)} is not a full grid",
                got=f"{len(table)} rows",
                expected=f"one for each of {shape[0]} edges of {shape[1]} dimensions",
            )
        return np.asarray(table["edge"].to_numpy(), np.float32).reshape(shape)

    def reduction(self, name: str) -> Reduction:
        """What is done to the vectors of an embedding feature with `reduce` before they are quantized.

        Raises:
            CallError: there is no such embedding feature, or its vectors are not reduced.
            CorruptGenerationError: the table does not list all dimensions in order.
        """
        feature = self.feature(name)
        if not isinstance(feature, EmbeddingFeature) or feature.reduce is None:
            raise CallError(f"the vectors of {name!r} are not reduced", todo="Read `quantizers`.")
        path = self._named("quantizers", name + SUFFIX, "reduction")[0]
        table = self.read([path])
        if not np.array_equal(table["dim"].to_numpy(), np.arange(feature.dim)):
            raise CorruptGenerationError(
                f"{self.locate(path)} does not list all dimensions in order",
                got=f"{len(table)} rows",
                expected=f"one for each of {feature.dim} dimensions, from 0",
            )
        return reduction_of(table)

    def codebooks(self, name: str) -> list[Book]:
        """The codebooks of an embedding feature with quantizer pq or rq: [at most `codes`, W] float32 each.

        W is the number of dimensions of a group (pq) or of a vector (rq). A codebook is shorter than `codes` if it was
        fitted to fewer distinct vectors.

        Raises:
            CallError: there is no such embedding feature, or its quantizer is quantile.
            CorruptGenerationError: a codebook is absent, or its codes are not 0, 1, ... in this order.
        """
        path = self._named("quantizers", name, "quantizers")[0]
        feature = self.feature(name)
        if not isinstance(feature, CodebookEmbedding):
            raise CallError(f"{name!r} has quantile edges, no codebooks", todo="Read `quantizers`.")
        table = self.read([path])
        books = books_of(table)
        sizes = list(map(len, books))
        number, code = (table[column].to_numpy() for column in ("codebook", "code"))
        if len(books) != feature.token_count or not (
            len(table)
            and np.array_equal(number, np.repeat(np.arange(len(books)), sizes))
            and np.array_equal(code, np.concatenate([np.arange(n) for n in sizes]))
        ):
            raise CorruptGenerationError(
                f"{self.locate(path)} does not list the codes of all codebooks in order",
                got=f"{len(table)} rows of {len(books)} codebooks",
                expected=f"{feature.token_count} codebooks, each with its codes from 0",
            )
        return books

    def feature(self, name: str) -> Feature:
        """A feature of the spec by the name of its files: `<feature>` or `user_<feature>`.

        Raises:
            CallError: there is no such feature.
        """
        named = self.spec.named_features
        if name not in named:
            raise CallError(f"there is no feature {name!r}", todo=suggest(name, named))
        return named[name]

    def item_shards(self) -> list[str]:
        """The paths of the item shards, in the order of item_index."""
        return self._paths("items")

    def items(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The token table of the items, sorted by item_index; all columns, or the given ones.

        Raises:
            CallError: there is no such column.
        """
        return self.read(self.item_shards(), columns)

    def retired_shards(self) -> list[str]:
        """The paths of the shards of retired items, in the order of item_index; empty if there are none.

        A retired item has left the catalogue but is still in histories. Its rows have the columns of the item shards; it is
        no candidate.
        """
        return [f.path for f in self.files("retired")]

    def known_item_shards(self) -> list[str]:
        """The paths of the shards of all items with a row: of the catalogue, then of retired items."""
        return [*self.item_shards(), *self.retired_shards()]

    def retired(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of retired items, like `items`; empty if there are none.

        Raises:
            CallError: there is no such column.
        """
        paths = self.retired_shards()
        if paths:
            return self.read(paths, columns)
        return self.read(self.item_shards()[:1], columns).slice(0, 0)

    def sequence_shards(self, split: str) -> list[str]:
        """The paths of one split's shards: train, validation, test or latest.

        Raises:
            CallError: there is no such split.
        """
        if split not in SPLITS:
            raise CallError(f"there is no split {split!r}", todo=suggest(split, SPLITS))
        return self._named("sequences", split, "split")

    def sequences(self, split: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The sequences of one split; all columns, or the given ones.

        Raises:
            CallError: there is no such split or column.
        """
        return self.read(self.sequence_shards(split), columns)

    def item_counts(self) -> pa.Table:
        """item_index, train_count: number of training interactions of each item that has any."""
        return self.read(self._paths("item_counts"))

    def first_interactions(self) -> pa.Table:
        """item_index, first_ms: time of the first kept interaction of each item that has any, whatever its split.

        Raises:
            CallError: the generation has none: its split is not temporal, or it was built by an earlier version.
        """
        return self.read(self._named(ITEM_TIMES, "first_interaction", "table of times"))

    def available_from(self) -> pa.Table | None:
        """item_index, available_from_ms of each item that has it; None if the spec declares no `items.available_from`."""
        if self.spec.items.available_from is None:
            return None
        return self.read(self._named(ITEM_TIMES, "available_from", "table of times"))

    def rejects(self) -> pa.Table:
        """The rejected rows and cells with their reasons."""
        return self.read(self._paths("rejects"))

    def statistics(self) -> dict[str, Any]:
        """The statistics of the build; empty if the generation has none."""
        if not any(f.path == "statistics.json" for f in self.manifest.files):
            return {}
        try:
            return cast(dict[str, Any], parse_json(self.folder.read_bytes("statistics.json")))
        except ValueError as error:
            shown = self.locate("statistics.json")
            raise CorruptGenerationError(f"{shown} is not JSON: {error}") from None

    def drift(self) -> DriftReport | None:
        """How the generation differs from its parent; None after a build.

        Raises:
            CorruptGenerationError: the report cannot be read.
        """
        if not any(f.path == DRIFT_NAME for f in self.manifest.files):
            return None
        try:
            return DriftReport.model_validate(parse_json(self.folder.read_bytes(DRIFT_NAME)))
        except ValueError as error:
            shown = self.locate(DRIFT_NAME)
            raise CorruptGenerationError(f"{shown} is not a drift report: {error}") from None

    def _paths(self, folder: str) -> list[str]:
        """The paths of a folder that holds one table."""
        paths = [f.path for f in self.files(folder)]
        if not paths:
            raise CorruptGenerationError(f"the manifest of {self.root} lists no file of {folder}/")
        return paths

    def _named(self, folder: str, name: str, what: str) -> list[str]:
        """The paths of one table in a folder that holds several."""
        named: dict[str, list[str]] = {}
        for entry in self.files(folder):
            named.setdefault(table_stem(entry.path).removeprefix(f"{folder}/"), []).append(
                entry.path
            )
        if name not in named:
            raise CallError(
                f"there is no {what} {name!r} in {self.root}", todo=suggest(name, named)
            )
        return named[name]
