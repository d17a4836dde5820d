"""What all models share: seeds, precision, which weights are sparse or spared from decay."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from equality import same_values
from made_up import FEATURES, made_up_batch, made_up_config, made_up_model, made_up_table

from heterrec_model import two_tower
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


@pytest.mark.parametrize("more", [{}, {"repeats": {"enabled": True}, "token_heads": True}])
def test_the_loss_stays_float32_under_bfloat16(more: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = fresh(train={"precision": "bfloat16"}, model=more)
    batch = replace(made_up_batch([4, 3]), earlier=made_up_batch([5, 2], seed=1).all_items())
    output = model(batch, 5)
    output.total.backward()
    assert output.total.dtype == torch.float32
    assert model.user_vectors(batch).dtype == torch.float32
    assert model.item_vectors(model.table.catalogue_N).dtype == torch.float32
    assert all(w.dtype == torch.float32 for w in model.parameters())
    plain = fresh(model=more)
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


@pytest.mark.parametrize("source", ["mixed", "in_batch_same_position"])
def test_a_retired_item_is_a_target_but_no_negative(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    config = made_up_config(negatives={"source": source, "logq": "none"})
    batch, table = made_up_batch([4, 3]), made_up_table()
    gone = int(batch.item_BT[0, 2])
    here_BT = batch.valid_BT() & (batch.item_BT != gone)
    retired = replace(
        table,
        catalogue_N=table.catalogue_N[table.catalogue_N != gone],
        retired_M=torch.tensor([gone]),
    )
    unknown = replace(retired, retired_M=torch.zeros(0, dtype=torch.int64))
    positions = []
    for known in (table, retired, unknown):
        model = HeterRec(config, known, ItemTables(config.model, known, {}))
        negatives: list[Any] = []
        for name in ("SharedNegatives", "SamePositionNegatives"):
            kind = getattr(two_tower, name)
            monkeypatch.setattr(
                two_tower,
                name,
                lambda *given, kind=kind, to=negatives: to.append(given) or kind(*given),
            )
        positions.append(float(model(batch, 5).metrics["positions"]))
        if known is not table and source == "in_batch_same_position":
            rows_BT = negatives[0][0]
            expected_BT = here_BT if known is retired else batch.valid_BT()
            assert torch.equal(rows_BT >= 0, expected_BT)
        monkeypatch.undo()
        if known is retired:
            assert model.sampler.batch_share_I[gone] == 0
            assert gone not in model.sampler.pool_P
    times = int((batch.item_BT[:, 1:] == gone).sum())
    assert times > 0
    # an item without a row is no target
    assert positions == [5, 5, 5 - times]


def test_in_batch_candidates_are_items_of_the_catalogue() -> None:
    config, table = made_up_config(negatives={"source": "in_batch"}), made_up_table()
    batch = made_up_batch([4, 3])
    gone = int(batch.item_BT[0, 2])
    retired = replace(table, retired_M=torch.tensor([gone]))
    model = HeterRec(config, retired, ItemTables(config.model, retired, {}))
    drawn: list[list[int]] = []
    draw = model.sampler.draw

    def recorded(*given: Any) -> Any:
        candidates = draw(*given)
        drawn.append(candidates.item_C.tolist())
        return candidates

    model.sampler.draw = recorded  # type: ignore[method-assign]
    model(batch, 5)
    items = batch.item_BT[batch.valid_BT()]
    assert sorted(drawn[0]) == sorted(items[items != gone].tolist())
