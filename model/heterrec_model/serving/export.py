"""Export a run as a bundle, unless the exported user tower differs from the model.

Shapes: B users, N items of the catalogue, I ids of the item vocabulary, D width.
"""

import importlib.metadata
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from heterrec_model.bundle.files import (
    CARD,
    EXPORT_VERSION,
    HISTORIES,
    INFO,
    ITEM_TOKENS,
    ITEM_VECTORS,
    ITEMS,
    REPEAT_TERM,
    REPEAT_TERM_POPULARITY,
    USER_VALUES,
    BundleFile,
    BundleInfo,
    Equality,
    Identity,
    UserFeature,
    fingerprint,
)
from heterrec_model.bundle.reader import open_bundle, read_info
from heterrec_model.evaluation.evaluate import evaluate_model, load_generation
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.scorers import VectorScorer
from heterrec_model.layers.hct import SelfAttention
from heterrec_model.runs.atomic_files import (
    draft_of,
    remove_drafts,
    save_array,
    write_text,
    writing,
)
from heterrec_model.runs.load_run import LoadedRun, load_run
from heterrec_model.serving.latest_users import TOLERANCE, LatestUsers, OnProgress, type_name
from heterrec_model.serving.model_card import model_card
from heterrec_model.serving.recommender import repeat_scores
from heterrec_model.serving.tables import (
    items_table,
    segment_feature,
    user_features_of,
)
from heterrec_model.serving.user_tower import (
    item_tokens,
    lengths,
    reads_behaviours,
    write_programs,
)
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import BundleError, CallError
from heterrec_schemas.generation import Generation
from heterrec_schemas.hashing import file_sha256
from heterrec_schemas.stores.disk import make_folder, sync


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
    draft = draft_of(folder)
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
    stored |= histories and not found.equality.users  # without users there is no such file
    if (stored, found.segment_by) != (histories, segment_by):
        raise CallError(
            f"{folder} already contains the bundle of this run with other options",
            got=f"histories: {stored}, popular items by: {found.segment_by}",
            expected=f"histories: {histories}, popular items by: {segment_by}",
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
    model = loaded.model
    on_progress("item vectors")
    items = items_table(generation)
    pq.write_table(items, draft / ITEMS)
    save_array(draft / ITEM_VECTORS, VectorScorer(model).items_ND.numpy())
    save_array(draft / ITEM_TOKENS, item_tokens(model).numpy())
    repeats = _write_repeat_term(draft, model)
    features, values = user_features_of(generation, model.table.user_features)
    pq.write_table(values, draft / USER_VALUES)
    on_progress("the user tower")
    write_programs(model, draft)
    ids = type_name(items["item_id"].type)
    info = _description(generation, loaded, parts, ids, features, repeats, segment_by)
    users = LatestUsers(draft, info, loaded, generation, segment_by, histories)
    users.write(on_progress)
    tested: Evaluation | None = None
    if evaluate:
        on_progress("metrics of the test split")
        tested = evaluate_model(model, generation, "test", loaded.config, checkpoint=loaded.name)
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


def _write_repeat_term(draft: Path, model: TwoTowerModel) -> dict[str, list[int]]:
    """Write the repeat term; returns the shapes of its weights by name, none for a model without it."""
    repeats = repeat_scores(model)
    if repeats is None:
        return {}
    flat = [np.asarray(x, np.float32).ravel() for x in repeats.weights.values()]
    save_array(draft / REPEAT_TERM, np.concatenate(flat))
    save_array(draft / REPEAT_TERM_POPULARITY, repeats.popularity_N)
    return {name: list(np.shape(x)) for name, x in repeats.weights.items()}


def _description(
    generation: Generation,
    loaded: LoadedRun,
    parts: dict[str, Any],
    item_id_type: str,
    features: list[UserFeature],
    repeats: dict[str, list[int]],
    segment_by: str | None,
) -> BundleInfo:
    """The description of a bundle, before its users and files are known."""
    model, config = loaded.model, loaded.config
    behaviour = generation.spec.interactions.behaviour
    return BundleInfo(
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
        item_id_type=item_id_type,
        user_id_type="int64",
        users=0,
        behaviours=[] if behaviour is None else list(behaviour.values),
        reads_behaviours=reads_behaviours(model),
        user_features=features,
        repeats=repeats,
        segment_by=segment_by,
        equality=Equality(users=0, largest_difference=0.0, tolerance=TOLERANCE),
        versions=_versions(),
        files=[],
    )


def _versions() -> dict[str, str]:
    names = ("heterrec", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")
    return {name: importlib.metadata.version(name) for name in names}
