"""The weights of a run as the initial weights of a model on a descendant of the run's generation.

Ids never move, so that a row of a table is copied to its own place. Shapes: I ids of the new vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.embedding_tables import FROZEN, module_name
from heterrec_model.runs.weights import TRAINED, weights_of
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import CallError
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.generation import Generation
from heterrec_schemas.generation.lineage import fitted_at
from heterrec_schemas.tokens import ITEM_VOCABULARY, MISSING, PADDING, feature_stem, oov_ids

Rows = npt.NDArray[np.int64]
"""For each row of a table the row of the run's table that it starts as, [I]."""


@dataclass(frozen=True)
class CarriedOver:
    """What a warm start did not copy.

    Attributes:
        new_items: number of items that the run does not know.
        refitted: features that were fitted again since, with initial weights of their own.
    """

    new_items: int
    refitted: tuple[str, ...]


def trained_items(trained: Tensor, table: TokenTable, generation: Generation) -> Tensor:
    """Whether each item counts as trained after a warm start: for the run, or by its training interactions here, bool [I].

    Args:
        trained: of the run, bool, one value for each id that it knows.
        table: the new table.
        generation: of the table.
    """
    known_I = table.trained_I.clone()
    known_I[: len(trained)] |= trained
    known_I[torch.from_numpy(generation.erased_ids(ITEM_VOCABULARY))] = False
    return known_I


def carry_over(
    model: TwoTowerModel, weights: Mapping[str, Tensor], generation: Generation, place: int
) -> CarriedOver:
    """Overwrite the initial weights of a model by those of a run, except for features that were fitted later.

    Args:
        model: with its initial weights, on the CPU.
        weights: of the run's checkpoint.
        generation: of the model.
        place: of the run's generation in the lineage of `generation`.

    Raises:
        CallError: the weights do not fit.
    """
    later = {
        (entry.side, entry.name): _own_weights(entry.side, entry.name)
        for entry in generation.manifest.features
        if fitted_at(generation.manifest, entry) > place
    }
    fresh = tuple(prefix for prefixes in later.values() for prefix in prefixes)
    rows = _rows_of_tables(model, weights, generation)
    copied = {
        name: tensor
        for name, tensor in weights_of(model).items()
        if name != TRAINED and not name.startswith(fresh) and not name.endswith(FROZEN)
    }
    wrong = [
        name
        for name, tensor in copied.items()
        if name not in weights
        or weights[name].shape[1:] != tensor.shape[1:]
        or (name not in rows and weights[name].shape != tensor.shape)
    ]
    if wrong:
        raise CallError(
            f"the weights of the run do not fit this model: {', '.join(wrong[:3])}",
            todo="They are from another release of heterrec: train a new run without --warm-start.",
        )
    with torch.no_grad():
        for name, tensor in copied.items():
            old = weights[name]
            tensor.copy_(old[torch.from_numpy(rows[name])] if name in rows else old)
        for name, tensor in weights_of(model).items():
            if name.endswith(FROZEN) and name in weights:
                _keep_vectors(tensor, weights[name], generation)
        if model.head_weights is not None:
            # the vectors of a feature that was fitted again are new, so its head starts as in a new run
            refitted = [
                name in {n for side, n in later if side == "item"} for name in model.tables.names
            ]
            model.head_weights[torch.tensor(refitted)] = 0
    table = model.table
    used = {("item", f.name) for f in table.features} | {
        ("user", f.name) for f in table.user_features
    }
    return CarriedOver(
        new_items=int((table.catalogue_N >= len(weights[TRAINED])).sum()),
        refitted=tuple(feature_stem(side, name) for side, name in later if (side, name) in used),
    )


def _keep_vectors(vectors_IF: Tensor, old_IF: Tensor, generation: Generation) -> None:
    """Frozen vectors that the files no longer have, such as those of retired items, remain; erased ones do not."""
    known_IF = vectors_IF[: len(old_IF)]
    absent_I = (known_IF == 0).all(1)
    known_IF[absent_I] = old_IF[absent_I]
    vectors_IF[torch.from_numpy(generation.erased_ids(ITEM_VOCABULARY))] = 0


def _own_weights(side: str, name: str) -> tuple[str, ...]:
    """Prefixes of the names of the weights that belong to one feature alone."""
    module = module_name(name)
    if side == "user":
        return (f"user_tokens.tables.{module}.",)
    return (f"tables.tables.{module}.", f"token_lmp.{module}.")


def _rows_of_tables(
    model: TwoTowerModel, weights: Mapping[str, Tensor], generation: Generation
) -> dict[str, Rows]:
    """By the name of its weights, the rows of each table that grows with the generation."""
    named = weights_of(model)
    rows: dict[str, Rows] = {}
    for side, features, prefix in (
        ("item", model.table.features, "tables.tables."),
        ("user", model.table.user_features, "user_tokens.tables."),
    ):
        for feature in features:
            name = f"{prefix}{module_name(feature.name)}.weight"
            if feature.kind == "categorical" and name in named and name in weights:
                stem = feature_stem(side, feature.name)
                rows[name] = _category_rows(generation, stem, len(weights[name]), feature.size)
    for name in ("htfl.behaviour.weight", "behaviour.weight"):
        if name in named and name in weights:
            # Behaviours are appended; a new one had no token.
            rows[name] = _grown(len(weights[name]), len(named[name]))
    ids = "tables.item_id.weight"
    if ids in named and ids in weights:
        items = _grown(len(weights[ids]), len(named[ids]))
        if model.config.model.share_missing:
            # Such an item had the row for missing, whatever its own row was.
            untrained = ~weights[TRAINED].numpy()
            untrained[PADDING] = False
            items[: len(untrained)][untrained] = MISSING
        items[generation.erased_ids(ITEM_VOCABULARY)] = MISSING
        rows[ids] = items
    return rows


def _category_rows(generation: Generation, stem: str, old: int, size: int) -> Rows:
    """Rows of a categorical table: a new value starts as the bucket that it was in, or as missing."""
    feature = generation.feature(stem)
    assert isinstance(feature, CategoricalFeature)
    rows = _grown(old, size)
    vocabulary = pl.from_arrow(generation.read(generation.vocabulary_shards(stem), ["id", "value"]))
    assert isinstance(vocabulary, pl.DataFrame)
    new = vocabulary.filter((pl.col("id") >= old) & pl.col("value").is_not_null())
    if len(new):
        buckets = oov_ids(new["value"].cast(pl.String), feature.oov_buckets)
        rows[new["id"].to_numpy()] = buckets.to_numpy()
    rows[generation.erased_ids(stem)] = MISSING
    return rows


def _grown(old: int, size: int) -> Rows:
    """Every row in its place, new ones as the row for missing."""
    rows = np.arange(size, dtype=np.int64)
    rows[old:] = MISSING
    return rows
