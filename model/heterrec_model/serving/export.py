"""Export a run as a bundle, unless the exported user tower differs from the model.

Shapes: B users, N items of the catalogue, I ids of the item vocabulary, D width.
"""

import glob
import importlib.metadata
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import torch

from heterrec_model.bundle.encoder import BundleEncoder
from heterrec_model.bundle.files import (
    CARD,
    EXPORT_VERSION,
    HISTORIES,
    INFO,
    ITEM_TOKENS,
    ITEM_VECTORS,
    ITEMS,
    POPULAR,
    PROGRAM,
    REPEAT_TERM,
    REPEAT_TERM_POPULARITY,
    SAMPLE,
    USER_VALUES,
    BundleFile,
    BundleInfo,
    Equality,
    Identity,
    fingerprint,
)
from heterrec_model.bundle.histories import BEHAVIOUR, ITEM, TIME, USER_FEATURE
from heterrec_model.bundle.reader import Bundle, open_bundle, read_info
from heterrec_model.data.inference_batches import histories_batch
from heterrec_model.evaluation.evaluate import evaluate_model, load_generation
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.scorers import VectorScorer
from heterrec_model.layers.hct import SelfAttention
from heterrec_model.runs.atomic_files import write_text, writing
from heterrec_model.runs.load_run import LoadedRun, load_run
from heterrec_model.serving.model_card import model_card
from heterrec_model.serving.recommender import repeat_scores
from heterrec_model.serving.tables import (
    PopularCounts,
    history_tables,
    items_table,
    segment_feature,
    user_features_of,
    with_shard_rows,
)
from heterrec_model.serving.user_tower import (
    UserTower,
    item_tokens,
    lengths,
    reads_behaviours,
    write_programs,
)
from heterrec_schemas.errors import BundleError, CallError, RunError
from heterrec_schemas.generation import Generation
from heterrec_schemas.hashing import file_sha256
from heterrec_schemas.stores.disk import make_folder, sync

TOLERANCE = 1e-5
"""Largest difference of a number of a user vector."""
SAMPLE_USERS = 2_000
"""Number of user vectors in the bundle, for the recall of an index."""
PROGRAM_USERS = 1_000
"""Number of users that user.pt2 is compared on."""
OnProgress = Callable[[str], None]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        path: folder of the bundle.
        info: its description.
        new: false if the folder already had this bundle.
    """

    path: Path
    info: BundleInfo
    new: bool

    def to_json(self) -> dict[str, Any]:
        """The output of `export --json`."""
        info = self.info
        return {
            "bundle": str(self.path),
            "fingerprint": info.fingerprint,
            "new": self.new,
            **info.identity.model_dump(exclude={"fingerprint"}),
            "items": info.items,
            "users": info.users,
            "equality": info.equality.model_dump(),
            "bytes": sum(file.bytes for file in info.files),
        }


def export(
    run: str | Path,
    data: str | Path | Generation,
    output: str | Path,
    *,
    checkpoint: str = "best",
    histories: bool = True,
    segment_by: str | None = None,
    evaluate: bool = True,
    on_progress: OnProgress = lambda words: None,
) -> Exported:
    """Export a checkpoint of a run as a bundle.

    The folder appears when it is complete. The exported user tower is compared with the model on all users of the split
    `latest` first. An output that already has the same bundle is left as it is.

    Args:
        run: folder of the run.
        data: the generation that it was trained on: an output folder (its latest generation), the folder of a generation, or
            an open generation.
        output: folder of the bundle.
        checkpoint: best, last, or the name of a checkpoint.
        histories: whether the bundle contains the histories of all users, for recommendations by the id of a user.
        segment_by: user feature that popular items are listed by; None: the first categorical one with single values.
        evaluate: whether the model card states metrics on the test split.
        on_progress: called with words about the part at work.

    Raises:
        CallError: the run or checkpoint does not exist, the output exists, or a package is missing.
        GenerationError: the generation does not exist, is damaged, or is not that of the run.
        RunError: the exported tower differs from the model, a vector is not finite, or the output cannot be written.
    """
    folder = Path(output)
    if "://" in str(output):
        raise CallError(
            f"the output of an export must be local, got {output}",
            todo="Copy the folder when it is done.",
        )
    generation = load_generation(data)
    segment_by = segment_feature(generation, segment_by)
    loaded = _in_float32(load_run(run, checkpoint=checkpoint, data=generation, device="cpu"))
    parts = fingerprint_parts(generation, loaded)
    existing = _existing(folder, fingerprint(parts))
    if existing is not None:
        _check_equal_parts(folder, existing, histories, segment_by)
        return Exported(folder, existing, new=False)
    draft = folder.parent / f"{_drafts(folder)}{os.getpid()}"
    with writing(folder):
        remove_drafts(folder)
        make_folder(draft)
    try:
        with writing(draft):
            _write(draft, generation, loaded, parts, histories, segment_by, evaluate, on_progress)
            for file in draft.iterdir():
                sync(file)
            sync(draft)
            draft.rename(folder)
            sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Exported(folder, read_info(folder), new=True)


def remove_drafts(folder: Path) -> None:
    """Remove what exports into the folder that were killed on this machine have left beside it."""
    for draft in folder.parent.glob(f"{glob.escape(_drafts(folder))}*"):
        process = draft.name.removeprefix(_drafts(folder))
        if process.isdecimal() and not _lives(int(process)):
            shutil.rmtree(draft, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # of another user
    return True


def _drafts(folder: Path) -> str:
    """Beginning of the names of unfinished folders, before the id of the process; machines may share a file system."""
    return f".writing-{folder.name}-{socket.gethostname()}-"


def fingerprint_parts(generation: Generation, loaded: LoadedRun) -> dict[str, Any]:
    """What the fingerprint of a bundle is computed from, from the raw input to the weights."""
    manifest = generation.manifest
    config = loaded.config.model_dump(mode="json")
    if config["warm_start"]:
        del config["warm_start"]["run"]  # a path
    return {
        "inputs": [entry.model_dump(exclude_none=True) for entry in manifest.inputs],
        "spec_sha256": manifest.spec_sha256,
        "content_sha256": manifest.content_sha256,
        "config": config,
        "weights_sha256": loaded.weights_sha256,
        "export_version": EXPORT_VERSION,
    }


def _existing(folder: Path, wanted: str) -> BundleInfo | None:
    """The bundle in the folder, if it has the wanted fingerprint; None if there is nothing."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    found = None
    if (folder / INFO).is_file():
        try:
            found = open_bundle(folder, verify="hashes").info
        except BundleError as error:
            raise CallError(
                f"{folder} contains a damaged bundle: {error.message}", todo="Remove the folder."
            ) from None
        if found.fingerprint == wanted:
            return found
    what = (
        "already exists"
        if found is None
        else f"already contains the bundle {found.fingerprint[:12]}"
    )
    raise CallError(
        f"{folder} {what}",
        expected=None if found is None else f"the bundle {wanted[:12]}",
        todo="Choose another --output, or remove the folder.",
    )


def _check_equal_parts(
    folder: Path, found: BundleInfo, histories: bool, segment_by: str | None
) -> None:
    """Refuse to answer with a bundle of the same model that was written with other options."""
    stored = any(file.path == HISTORIES for file in found.files)
    differences = []
    if stored != histories:
        differences.append("with histories" if stored else "without histories")
    if found.segment_by != segment_by:
        differences.append(f"with popular items by {found.segment_by or 'no feature'}")
    if differences:
        raise CallError(
            f"{folder} already contains the bundle of this run, {' and '.join(differences)}",
            todo="Choose another --output, or remove the folder.",
        )


def _in_float32(loaded: LoadedRun) -> LoadedRun:
    """The run with a network in float32 and attention that can be exported: the graphs have no autocast."""
    config = loaded.config
    train = config.train.model_copy(update={"precision": "float32"})
    loaded.model.config = config.model_copy(update={"train": train})
    for module in loaded.model.modules():
        if isinstance(module, SelfAttention):
            module.config = module.config.model_copy(update={"attention": "chunked"})
    return loaded


def _write(
    draft: Path,
    generation: Generation,
    loaded: LoadedRun,
    parts: dict[str, Any],
    histories: bool,
    segment_by: str | None,
    evaluate: bool,
    on_progress: OnProgress,
) -> None:
    model, config = loaded.model, loaded.config
    on_progress("item vectors")
    items = items_table(generation)
    pq.write_table(items, draft / ITEMS)
    np.save(draft / ITEM_VECTORS, VectorScorer(model).items_ND.numpy())
    np.save(draft / ITEM_TOKENS, item_tokens(model).numpy())
    repeats = repeat_scores(model)
    if repeats is not None:
        flat = [np.asarray(x, np.float32).ravel() for x in repeats.weights.values()]
        np.save(draft / REPEAT_TERM, np.concatenate(flat))
        np.save(draft / REPEAT_TERM_POPULARITY, repeats.popularity_N)
    features, values = user_features_of(generation, model.table.user_features)
    pq.write_table(values, draft / USER_VALUES)
    on_progress("the user tower")
    write_programs(model, draft)
    behaviour = generation.spec.interactions.behaviour
    info = BundleInfo(
        export_version=EXPORT_VERSION,
        fingerprint=fingerprint(parts),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        identity=Identity(
            generation=generation.manifest.generation,
            content_sha256=generation.manifest.content_sha256,
            model=config.model.name,
            checkpoint=loaded.name,
            fingerprint=fingerprint(parts),
        ),
        parts=parts,
        width=model.vector_width,
        max_length=config.model.max_length,
        buckets=lengths(config.model.max_length),
        items=len(model.table.catalogue_N),
        item_id_type=_type_name(items["item_id"].type),
        user_id_type="int64",
        users=0,
        behaviours=[] if behaviour is None else list(behaviour.values),
        reads_behaviours=reads_behaviours(model),
        user_features=features,
        repeats={}
        if repeats is None
        else {name: list(np.shape(x)) for name, x in repeats.weights.items()},
        segment_by=segment_by,
        equality=Equality(users=0, largest_difference=0.0, tolerance=TOLERANCE),
        versions=_versions(),
        files=[],
    )
    users = _Users(draft, info, loaded, generation, segment_by, histories)
    users.write(on_progress)
    tested: Evaluation | None = None
    if evaluate:
        on_progress("metrics of the test split")
        tested = evaluate_model(model, generation, "test", config, checkpoint=loaded.name)
    info = info.model_copy(
        update={
            "users": users.count if histories else 0,
            "user_id_type": users.id_type,
            "equality": Equality(
                users=users.count, largest_difference=users.largest, tolerance=TOLERANCE
            ),
        }
    )
    (draft / CARD).write_text(model_card(info, generation, loaded, tested), encoding="utf-8")
    files = [
        BundleFile(path=path.name, bytes=path.stat().st_size, sha256=file_sha256(path))
        for path in sorted(draft.iterdir())
    ]
    write_text(draft / INFO, info.model_copy(update={"files": files}).to_json())


class _Users:
    """One pass over the users of the split `latest`: histories, popular items, and the comparison of the towers."""

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
            self.id_type = _type_name(table["user_id"].type)
            for start in range(0, len(table), _AT_ONCE):
                part = table.slice(start, _AT_ONCE)
                expected_BD = self._compare(encoder, program, part)
                here = sampled[self.count : self.count + len(part)]
                sample.append(expected_BD[here])
                self.count += len(part)
                on_progress(f"user vectors: {self.count:,} of {rows:,} users compared")
        pq.write_table(popular.table(), self._draft / POPULAR)
        np.save(self._draft / SAMPLE, np.concatenate(sample))

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


def _versions() -> dict[str, str]:
    names = ("heterrec", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


def _type_name(kind: pa.DataType) -> str:
    return "int64" if pa.types.is_integer(kind) else "string"
