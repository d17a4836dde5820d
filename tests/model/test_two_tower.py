"""What all models share: seeds, precision, which weights are sparse or spared from decay."""

from typing import Any

import pytest
import torch
from equality import same_values
from made_up import FEATURES, made_up_batch, made_up_config, made_up_model, made_up_table

from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.heterrec import HeterRec
from heterrec_model.layers.embedding_tables import ItemTables


def fresh(**settings: Any) -> HeterRec:
    """A model as it starts: float32, untouched."""
    config, table = made_up_config(**settings), made_up_table()
    tables = ItemTables(config.model, table, {}, sparse=config.train.sparse_tables)
    return HeterRec(config, table, tables)


def test_the_seed_names_the_steps_negatives() -> None:
    model, batch = made_up_model(made_up_config()), made_up_batch([4, 3])
    same_values(model(batch, 5).total, model(batch, 5).total)
    assert not torch.allclose(model(batch, 5).total, model(batch, 6).total)


def test_terms_and_metrics_are_detached_and_named() -> None:
    output = made_up_model(made_up_config())(made_up_batch([4, 3]), 5)
    assert output.total.requires_grad
    assert not any(x.requires_grad for x in [*output.terms.values(), *output.metrics.values()])
    assert {"item_step1", "item_step2", "token/item_id_step1", "token/look_step2"} <= set(
        output.terms
    )
    assert {"positions", "open_gates/item_step2", "open_gates/token/look_step2"} <= set(
        output.metrics
    )
    assert "open_gates/item_step1" not in output.metrics
    assert output.metrics["positions"] == 3 + 2
    assert all(0 <= v <= 1 for n, v in output.metrics.items() if n.startswith("open_gates"))


def test_the_loss_stays_float32_under_bfloat16() -> None:
    torch.manual_seed(0)
    model = fresh(train={"precision": "bfloat16"})
    batch = made_up_batch([4, 3])
    output = model(batch, 5)
    output.total.backward()
    assert output.total.dtype == torch.float32
    assert model.user_vectors(batch).dtype == torch.float32
    assert model.item_vectors(model.table.catalogue_N).dtype == torch.float32
    assert all(w.dtype == torch.float32 for w in model.parameters())
    plain = fresh()
    plain.load_state_dict(model.state_dict())
    assert plain(batch, 5).total.item() == pytest.approx(output.total.item(), rel=0.05)


def test_vectors_have_length_one_for_the_cosine_only() -> None:
    batch = made_up_batch([4, 3])
    for similarity, one in (("cosine", True), ("dot", False)):
        model = made_up_model(made_up_config(loss={"similarity": similarity}))
        for vectors in (model.user_vectors(batch), model.item_vectors(model.table.catalogue_N)):
            norms = vectors.norm(dim=1)
            assert torch.allclose(norms, torch.ones_like(norms)) == one


def test_sparse_parameters_are_the_id_table_where_it_is_sparse() -> None:
    assert fresh().sparse_parameters() == []
    model = fresh(train={"sparse_tables": True})
    (only,) = model.sparse_parameters()
    assert only is model.tables.item_id.weight


def test_decay_spares_biases_norms_and_time_gaps() -> None:
    # features whose names only sound like these
    names = ("normal", "bias", "time_gap", "norm")
    features = [FeatureInfo(n, "categorical", 6, 0, 1) for n in names]
    table = made_up_table(user_features=features)
    config = made_up_config(model={"norm": "pre"})
    model = HeterRec(config, table, ItemTables(config.model, table, {}))
    spared = {name for name in dict(model.named_parameters()) if model.no_decay(name)}
    norms = {
        f"{module}.{part}"
        for module, found in model.named_modules()
        if isinstance(found, torch.nn.LayerNorm)
        for part in ("weight", "bias")
    }
    assert norms < spared
    assert "time_gap.table" in spared
    biases = {"tower.inner_bias", "tower.outer_bias", "item_lmp.steps.0.bias"}
    assert biases < spared
    assert all(n.endswith("bias") for n in spared - norms - {"time_gap.table"})
    decayed = set(dict(model.named_parameters())) - spared
    assert {f"user_tokens.tables.feature_{n}.weight" for n in names} < decayed
    assert {f"tables.tables.feature_{f.name}.weight" for f in FEATURES} < decayed
