"""What the tests of the model share: a made-up token table, batches, settings, weights that are all in use."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from heterrec_model.config import Config, ModelConfig
from heterrec_model.data.batch import Batch
from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.data.token_table import TokenTable
from heterrec_model.heterrec import HeterRec
from heterrec_model.layers.embedding_tables import ItemTables
from heterrec_model.registry import TRAINED
from heterrec_model.two_tower import TwoTowerModel, UserStates
from heterrec_schemas import Generation

# Always the same examples, unless HETERREC_EXAMPLES asks for a soak.
SOAK = int(os.environ.get("HETERREC_EXAMPLES", "0"))
QUICK = settings(deadline=None, derandomize=not SOAK, database=None, max_examples=SOAK or 25)
FEW = settings(QUICK, max_examples=SOAK or 8)
MANY = settings(QUICK, max_examples=SOAK or 60)

FEATURES = (
    FeatureInfo("colour", "categorical", size=6, start=0, columns=1),
    FeatureInfo("path", "categorical", size=7, start=1, columns=3, multivalued=True),
    FeatureInfo("price", "numeric", size=5, start=4, columns=1),
    FeatureInfo("look", "embedding", size=6, start=5, columns=2, quantizer="quantile", dim=4),
)
USER_FEATURES = (
    FeatureInfo("age", "numeric", size=5, start=0, columns=1),
    FeatureInfo("hobby", "categorical", size=6, start=0, columns=3, multivalued=True),
)
OOV, FIRST_ITEM, ITEMS = 2, 3, 14
"""item_index: 0 padding, 1 missing, 2 out of vocabulary, then so many items."""
UNTRAINED = (FIRST_ITEM + 4, FIRST_ITEM + 9)


def made_up_table(
    *,
    features: Sequence[FeatureInfo] = FEATURES,
    user_features: Sequence[FeatureInfo] = USER_FEATURES,
    behaviours: int = 4,
    seed: int = 0,
) -> TokenTable:
    """A small catalogue. Two items were never trained on; colours are few, so that many items share one."""
    random = torch.Generator().manual_seed(seed)
    size = FIRST_ITEM + ITEMS
    columns = sum(f.columns for f in FEATURES)
    tokens = torch.zeros((size, columns), dtype=torch.int32)
    for feature in FEATURES:
        place = slice(feature.start, feature.start + feature.columns)
        drawn = torch.randint(1, feature.size, (size, feature.columns), generator=random)
        if feature.multivalued:
            lengths = torch.randint(1, feature.columns + 1, (size, 1), generator=random)
            # distinct tokens: 1 .. size - 1 in some order
            order = torch.rand((size, feature.size - 1), generator=random).argsort(1) + 1
            drawn = order[:, : feature.columns]
            drawn = drawn.where(torch.arange(feature.columns) < lengths, 0)
        drawn[1:FIRST_ITEM] = 0 if feature.multivalued else 1
        drawn[1:FIRST_ITEM, 0] = 1
        drawn[0] = 0
        tokens[:, place] = drawn.int()
    counts = torch.randint(1, 9, (size,), generator=random)
    counts[:FIRST_ITEM] = 0
    counts[list(UNTRAINED)] = 0
    chosen = {f.name for f in features}
    return TokenTable(
        features=tuple(f for f in FEATURES if f.name in chosen),
        tokens_IC=tokens,
        value_IK=equal_cells(tokens, [f for f in FEATURES if f.name in chosen]),
        catalogue_N=torch.arange(FIRST_ITEM, size),
        retired_M=torch.zeros(0, dtype=torch.int64),
        train_count_I=counts,
        trained_I=counts > 0,
        generation_id="made-up",
        content_sha256="0" * 64,
        user_features=tuple(user_features),
        behaviours=behaviours,
        _generation=cast(Generation, None),
    )


def equal_cells(tokens: Tensor, features: Sequence[FeatureInfo]) -> Tensor:
    """A number for each distinct cell of a feature; lists are compared as sets."""
    columns = []
    for feature in features:
        cells = tokens[:, feature.start : feature.start + feature.columns].tolist()
        keys = [tuple(sorted(c)) if feature.multivalued else tuple(c) for c in cells]
        numbers = {key: n for n, key in enumerate(dict.fromkeys(keys))}
        columns.append(torch.tensor([numbers[key] for key in keys]))
    return torch.stack(columns, 1) if columns else torch.zeros((len(tokens), 0), dtype=torch.int64)


MODEL = {
    "width": 4,
    "heads": 2,
    "token_blocks": 1,
    "item_blocks": 1,
    "ffn_multiplier": 2,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "norm": "post",
    "max_length": 9,
    "item_id": True,
    "behaviour": True,
    "literal": False,
    "embedding_width": 6,
    "embedding_init": "random",
    "group_tables": "each",
    "share_missing": True,
    "table_std": 0.5,
    "id_dropout": 0.0,
    "token_mask": "item",
    "raw_skip": True,
    "attention": "auto",
    "time_gap": {"enabled": True, "buckets": 8, "per_head": False},
    "item_tower": {"id_skip": True, "token_skip": True},
    "cloze": {"mask_share": 0.4, "last_only": 0.3},
}
LOSS = {
    "similarity": "cosine",
    "temperature": 0.5,
    "steps": 2,
    "step_weights": None,
    "gate": True,
    "margin": 0.2,
    "token_weight": 1.0,
    "normalise": "possible",
    "dense": {"window_days": 300.0, "positions": 3},
}
NEGATIVES = {
    "source": "mixed",
    "in_batch": 6,
    "uniform": 5,
    "token": 7,
    "uniform_from": "trained",
    "logq": "mixture",
    "mask_same_user": False,
    "gather": False,
}


MODELS = st.fixed_dictionaries(
    {
        "token_blocks": st.integers(0, 2),
        "item_blocks": st.integers(0, 2),
        "norm": st.sampled_from(["post", "pre"]),
        "literal": st.booleans(),
        "raw_skip": st.booleans(),
        "token_mask": st.sampled_from(["item", "causal"]),
        "item_id": st.booleans(),
        "behaviour": st.booleans(),
        "share_missing": st.booleans(),
        "group_tables": st.sampled_from(["each", "shared"]),
        "embedding_width": st.sampled_from([6, "width"]),
        "time_gap": st.fixed_dictionaries(
            {"enabled": st.booleans(), "buckets": st.just(8), "per_head": st.booleans()}
        ),
        "item_tower": st.fixed_dictionaries(
            {"id_skip": st.booleans(), "token_skip": st.booleans()}
        ),
    }
)
"""Settings of the network, whatever they are together."""


def made_up_config(
    model: Mapping[str, Any] | None = None,
    loss: Mapping[str, Any] | None = None,
    negatives: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
) -> Config:
    """Settings that state all that matters to the model; what is given here goes before."""
    return Config.model_validate(
        {
            "model": MODEL | dict(model or {}),
            "loss": LOSS | dict(loss or {}),
            "negatives": NEGATIVES | dict(negatives or {}),
            "train": {"seed": 0, "precision": "float32", **(train or {})},
        }
    )


def model_config(**model: Any) -> ModelConfig:
    return made_up_config(model).model


def scrambled(module: nn.Module, seed: int = 0, spread: float = 0.4) -> nn.Module:
    """The module in float64 with weights by the seed alone: none is still 0 or 1 and so without effect."""
    module = module.double()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            constant = weight.numel() > 1 and bool((weight == weight.flatten()[0]).all())
            start = weight.flatten()[0].clone() if constant else 0.0
            noise = torch.randn(weight.shape, generator=random, dtype=torch.float64)
            weight.copy_(start + spread * noise)
    return module


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """The module's own parameters by name: what is computed from them has gradients to compare."""
    return dict(module.named_parameters())


def made_up_model(config: Config, table: TokenTable | None = None, seed: int = 0) -> HeterRec:
    """A HeterRec in float64 whose every weight is in use, in training mode."""
    return cast(HeterRec, made_up_baseline(config, table, seed))


def made_up_baseline(
    config: Config, table: TokenTable | None = None, seed: int = 0
) -> TwoTowerModel:
    """The model that a configuration names, like `made_up_model`."""
    table = table or made_up_table()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tables = ItemTables(config.model, table, {}, sparse=config.train.sparse_tables)
        model = TRAINED[config.model.name](config, table, tables)
    return cast(TwoTowerModel, scrambled(model, seed))


def made_up_batch(
    lengths: Sequence[int],
    *,
    padding: int = 0,
    table: TokenTable | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
) -> Batch:
    """Random histories of the given lengths, padded to `padding` more than the longest.

    Args:
        lengths: of the histories.
        padding: further columns of padding.
        table: whose user features and behaviours the batch has.
        seed: of the random numbers.
        items: which items occur; all of the catalogue if left out.
    """
    table = table or made_up_table()
    random = torch.Generator().manual_seed(seed)
    users, longest = len(lengths), max(lengths)
    known = torch.tensor(items if items is not None else table.catalogue_N.tolist())
    item = known[torch.randint(len(known), (users, longest), generator=random)]
    # gaps from none to years
    gaps = 10 ** (torch.rand((users, longest), generator=random) * 11) - 1
    times = 1_600_000_000_000 + gaps.long().cumsum(1)
    behaviour = torch.randint(1, max(table.behaviours, 2), (users, longest), generator=random)
    features: dict[str, Tensor] = {}
    for feature in table.user_features:
        shape = (users, feature.columns) if feature.multivalued else (users,)
        features[feature.name] = torch.randint(1, feature.size, shape, generator=random)
        if feature.multivalued:
            kept = torch.randint(1, feature.columns + 1, (users, 1), generator=random)
            features[feature.name] *= torch.arange(feature.columns) < kept
    batch = Batch(
        item_BT=item,
        timestamp_BT=times,
        length_B=torch.tensor(lengths),
        behaviour_BT=behaviour if table.behaviours else None,
        user_features=features,
        user_ids=[f"u{n}" for n in range(users)],
    )
    return padded(batch, longest + padding)


def padded(batch: Batch, columns: int) -> Batch:
    """The batch with so many columns, padded as the loader does."""
    longest = batch.item_BT.shape[1]
    last = (batch.length_B - 1)[:, None]
    places = torch.minimum(torch.arange(columns)[None], last)
    real = torch.arange(columns)[None] <= last
    assert int(batch.length_B.max()) <= min(columns, longest)
    return Batch(
        item_BT=batch.item_BT.gather(1, places) * real,
        timestamp_BT=batch.timestamp_BT.gather(1, places),
        length_B=batch.length_B,
        behaviour_BT=None
        if batch.behaviour_BT is None
        else batch.behaviour_BT.gather(1, places) * real,
        user_features=batch.user_features,
        user_ids=batch.user_ids,
    )


def histories_of(batch: Batch) -> list[list[int]]:
    """The items of every user, without padding."""
    return [row[:n].tolist() for row, n in zip(batch.item_BT, batch.length_B, strict=True)]


def encoded(model: TwoTowerModel, batch: Batch) -> UserStates:
    """The user's side of a batch."""
    e = model.tables(batch.item_BT.flatten()).unflatten(0, batch.item_BT.shape)
    return model.encode(e, batch)
