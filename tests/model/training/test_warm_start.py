"""A run that starts from the run of an earlier generation: what it begins with, what it refuses, how it is resumed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from heterrec_model.config import Config, NegativesConfig, load_config
from heterrec_model.config.settings import RepeatsConfig
from heterrec_model.data.batch import Batch, HistoryItems
from heterrec_model.data.inference_batches import split_batches
from heterrec_model.data.token_table import TokenTable, configured_table
from heterrec_model.evaluation.evaluate import evaluate_run
from heterrec_model.registry import build_model
from heterrec_model.runs.checkpoints import read_checkpoint
from heterrec_model.runs.load_run import load_run
from heterrec_model.runs.run_folder import RunFolder
from heterrec_model.serving.recommend import recommend
from heterrec_model.training.progress import TrainResult
from heterrec_model.training.train import train
from heterrec_model.training.trainer import Trainer
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import CallError, CorruptCheckpointError, GenerationError
from heterrec_schemas.generation import Generation, open_generation
from heterrec_schemas.testing import Changes, Settings, child_generation, shop, small_generation
from heterrec_schemas.tokens import MISSING, oov_ids

REPEATS = {"repeats": RepeatsConfig(enabled=True), "token_heads": True}
FEATURES = ("category", "brand", "path", "price", "look")
MakeConfig = Callable[..., Config]


@dataclass(frozen=True)
class Chain:
    """A build, a run on it, and a child with new, retired and erased items and values."""

    parent: Path
    child: Path
    run: Path
    changes: Changes


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, tiny: MakeConfig) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    goods = shop(0, items=120, users=60, interactions=1200)
    parent = small_generation(folder / "shop", 0, settings=Settings(), goods=goods)
    run = folder / "first"
    config = tiny(
        model={"features": None, "repeats": {"enabled": True}, "token_heads": True},
        train={"epochs": 1},
    )
    train(config, data=parent, run=run, quiet=True)
    changes = changes_of(open_generation(parent))
    return Chain(parent, child_generation(parent, changes), run, changes)


def changes_of(parent: Generation, **more: Any) -> Changes:
    """New, retired and erased items, all of which are in histories; admitted and erased values; a further behaviour."""
    counts = parent.item_counts().sort_by([("train_count", "descending")])["item_index"].to_pylist()
    table = parent.items(["item_index", "item_id"])
    names = dict(zip(table["item_index"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    often = [names[index] for index in counts if index in names]
    values: dict[str, Any] = {
        "new": {"NEW1": often[2], "NEW2": often[3]},
        "retire": [often[0], often[5]],
        "erase": [often[4]],
        "admit": {"brand": ["Fresh"], "user_age": [99]},
        "erase_values": {"category": [parent.vocabulary("category")["value"][1].as_py()]},
        "behaviours": ["gift"],
        "begin": "colour",
        "features": ["look", "colour", *FEATURES[:-1]],
    }
    return Changes(**values | more)


def warm_started(chain: Chain, run: Path, *overrides: str, **options: Any) -> TrainResult:
    config = load_config(options.pop("config", chain.run / "config.yaml"), overrides)
    options = {"data": chain.child, "warm_start": chain.run, "quiet": True, **options}
    return train(config, run=run, **options)


@pytest.fixture(scope="module")
def warm(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the child, started from the run on the parent."""
    run = tmp_path_factory.mktemp("warm") / "run"
    warm_started(chain, run, "train.max_steps=1")
    return run


def before_the_first_step(run: Path, data: Path) -> TwoTowerModel:
    return load_run(run, "step-0", data=open_generation(data)).model


def weights(run: Path, checkpoint: str) -> dict[str, Tensor]:
    return read_checkpoint(RunFolder(run).checkpoints.find(checkpoint)).weights()


def unchanged(before: TokenTable, after: TokenTable) -> Tensor:
    """item_index of the items that have rows and equal tokens in both tables."""
    both = sorted(
        {*before.catalogue_N.tolist()} & {*after.catalogue_N.tolist(), *after.retired_M.tolist()}
    )
    named = {feature.name: feature for feature in after.features}
    return torch.tensor(
        [
            index
            for index in both
            if all(
                _cell(before, old, index) == _cell(after, named[old.name], index)
                for old in before.features
            )
        ]
    )


def _cell(table: TokenTable, feature: Any, index: int) -> list[int]:
    cells = table.tokens_IC[index, feature.start : feature.start + feature.columns].tolist()
    return [token for token in cells if token]


def part_of(batch: Batch, rows: Tensor) -> Batch:
    """Some users of a batch."""
    return replace(
        batch,
        item_BT=batch.item_BT[rows],
        timestamp_BT=batch.timestamp_BT[rows],
        length_B=batch.length_B[rows],
        behaviour_BT=None if batch.behaviour_BT is None else batch.behaviour_BT[rows],
        earlier=HistoryItems(*torch.zeros((3, 0), dtype=torch.int64)),
        user_features={name: cells[rows] for name, cells in batch.user_features.items()},
    )


def write_vectors(data: Path, new: float) -> None:
    """Vectors of a generation's items, in a file here: those of new items have this length."""
    ids = open_generation(data).items(["item_id"])["item_id"].to_pylist()
    lengths = [new if text.startswith("NEW") else 1.0 for text in ids]
    rows = [{"item_id": text, "vector": [x] * 16} for text, x in zip(ids, lengths, strict=True)]
    pq.write_table(pa.Table.from_pylist(rows), "vectors.parquet")


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"share_missing": False},
        {"name": "sasrec"},
        {"frozen": {"look": {"files": "vectors.parquet"}}, **REPEATS},
    ],
    ids=["heterrec", "own ids", "sasrec", "frozen, repeats, token heads"],
)
def test_vectors_are_those_of_the_run_bit_for_bit(
    chain: Chain,
    tiny: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny(model={"frozen": model.get("frozen", {})}, train={"max_steps": 3})
    changed = {"features": None} | {name: x for name, x in model.items() if name != "frozen"}
    if "name" in model:
        changed["token_blocks"] = Config().model.token_blocks  # which sasrec does not read
        config = config.model_copy(update={"negatives": NegativesConfig(in_batch=32, uniform=16)})
    config = config.model_copy(update={"model": config.model.model_copy(update=changed)})
    old_run, new_run = tmp_path / "old", tmp_path / "new"
    write_vectors(chain.parent, 1.0)
    train(config, data=chain.parent, run=old_run, quiet=True)
    # new items have longer ones
    write_vectors(chain.child, 9.0)
    train(config, data=chain.child, run=new_run, warm_start=old_run, quiet=True)
    before = load_run(old_run, data=open_generation(chain.parent)).model
    after = before_the_first_step(new_run, chain.child)
    for name, weight in before.named_parameters():
        if name.startswith("repeats.") or name == "head_weights":
            assert torch.equal(weight, after.get_parameter(name))
            assert weight.any()
    items_N = unchanged(before.table, after.table)
    assert 40 < len(items_N) < len(before.table.catalogue_N)
    assert {*items_N.tolist()} & {*after.table.retired_M.tolist()}
    same, users = {*items_N.tolist(), 0}, 0
    with torch.no_grad():
        assert torch.equal(before.item_vectors(items_N), after.item_vectors(items_N))
        for batch in split_batches(open_generation(chain.child), "latest", after.config):
            rows = torch.tensor([set(row) <= same for row in batch.item_BT.tolist()])
            users += int(rows.sum())
            if rows.any():
                part = part_of(batch, rows)
                assert torch.equal(before.user_vectors(part), after.user_vectors(part))
    assert users > 0


def test_each_row_starts_as_its_token_was(chain: Chain, warm: Path) -> None:
    old, new = weights(chain.run, "best"), weights(warm, "step-0")
    generation = open_generation(chain.child)
    assert generation.manifest.item_vocabulary_size == len(new["tables.item_id.weight"])
    ids = {row["value"]: row["id"] for row in generation.vocabulary("item").to_pylist()}
    gone = [r["id"] for r in generation.vocabulary("item").to_pylist() if r["status"] == "erased"]
    trained = old["tables.trained_I"]
    assert 0 < (~trained[MISSING + 1 :]).sum() < len(trained) - 2
    expected = old["tables.item_id.weight"].clone()
    expected[MISSING + 1 :][~trained[MISSING + 1 :]] = expected[MISSING].clone()
    expected[gone] = expected[MISSING].clone()
    rows = new["tables.item_id.weight"]
    assert len(gone) == 1
    assert torch.equal(rows[: len(expected)], expected)
    assert torch.equal(rows[[ids["NEW1"], ids["NEW2"]]], expected[[MISSING, MISSING]])
    known = new["tables.trained_I"]
    assert known[ids["NEW1"]]
    assert torch.equal(known[: len(trained)] | torch.zeros_like(trained), known[: len(trained)])
    assert not known[gone].any()

    brand = "tables.tables.feature_brand.weight"
    (bucket,) = oov_ids(pl.Series(["Fresh"]), 4)
    assert len(new[brand]) == len(old[brand]) + 1
    assert torch.equal(new[brand][-1], old[brand][bucket])
    assert torch.equal(new[brand][:-1], old[brand])
    age = "user_tokens.tables.feature_age.weight"
    assert len(new[age]) == len(old[age]) + 1
    assert torch.equal(new[age][-1], old[age][MISSING])
    category = "tables.tables.feature_category.weight"
    (erased,) = (
        r["id"] for r in generation.vocabulary("category").to_pylist() if r["value"] is None
    )
    assert torch.equal(new[category][erased], old[category][MISSING])
    behaviour = "htfl.behaviour.weight"
    assert len(new[behaviour]) == len(old[behaviour]) + 1
    assert torch.equal(new[behaviour][-1], old[behaviour][MISSING])
    touched = {"tables.item_id.weight", "tables.trained_I", brand, age, category, behaviour}
    assert set(old) == set(new)
    assert all(torch.equal(old[name], new[name]) for name in set(old) - touched)


def test_features_fitted_later_have_the_weights_of_a_fresh_run(
    chain: Chain, tmp_path: Path
) -> None:
    parent, _ = copied(chain, tmp_path)
    child = child_generation(parent, Changes(refit=["price"], admit={"brand": ["Fresh"]}))
    warm_started(chain, tmp_path / "run", "train.max_steps=1", "train.seed=7", data=child)
    old, new = weights(chain.run, "best"), weights(tmp_path / "run", "step-0")
    generation, config = open_generation(child), RunFolder(tmp_path / "run").config()
    fresh = build_model(config, configured_table(config, generation), generation).state_dict()
    own = [name for name in new if "feature_price." in name]
    assert {"tables.tables.feature_price.weight"} < {*own}
    for name in own:
        assert torch.equal(new[name], fresh[name])
    path = "tables.tables.feature_path.weight"
    assert torch.equal(new[path], old[path])
    heads = old["head_weights"].clone()
    assert heads.all()
    heads[1 + config.model.features.index("price")] = 0
    assert torch.equal(new["head_weights"], heads)
    assert torch.equal(new["repeats.inner.weight"], old["repeats.inner.weight"])


def copied(chain: Chain, folder: Path) -> tuple[Path, Path]:
    """The parent and the child in a folder of their own."""
    shutil.copytree(chain.parent.parents[1], folder / "shop")
    names = [root.name for root in (chain.parent, chain.child)]
    parent, child = (folder / "shop/generations" / name for name in names)
    return parent, child


def test_retired_items_are_positives_but_neither_negatives_nor_ranked(
    chain: Chain, warm: Path
) -> None:
    model = load_run(warm, data=open_generation(chain.child)).model
    table = model.table
    retired = {*table.retired_M.tolist()}
    assert len(retired) == 2
    assert not retired & {*table.catalogue_N.tolist()}
    assert not retired & {*model.sampler.pool_P.tolist()}
    assert all(model.listed_I[[*retired]])
    assert all(table.train_count_I[[*retired]] > 0)
    assert all(table.trained_I[[*retired]])
    item_N = torch.cat([table.retired_M, table.catalogue_N[:40]])
    drawn: list[Tensor] = []
    draw = model.sampler.draw
    model.sampler.draw = lambda *given: drawn.append(given[0]) or draw(*given)  # type: ignore
    histories = item_N.unflatten(0, (6, 7))
    batch = next(split_batches(open_generation(chain.child), "latest", model.config))
    first = part_of(batch, torch.arange(6))
    features = {name: cells[:6] for name, cells in first.user_features.items()}
    batch = replace(
        first,
        item_BT=histories,
        timestamp_BT=torch.zeros_like(histories),
        length_B=torch.full((6,), 7),
        behaviour_BT=torch.full_like(histories, 2),
        user_features=features,
    )
    loss = model.train()(batch, 0)
    assert not retired & {*drawn[0].tolist()}
    assert len(drawn[0]) == 40
    assert loss.metrics["positions"] == 6 * 6  # every item that is not the first is a target
    result = evaluate_run(warm, chain.child, "test")
    assert result.catalogue == len(table.catalogue_N)
    assert result.generation == chain.child.name


def test_recommendations_show_retired_items_in_histories_alone(chain: Chain, warm: Path) -> None:
    generation = open_generation(chain.child)
    gone = {*chain.changes.retire}
    index = {
        r["value"]: r["id"] for r in generation.vocabulary("item").to_pylist() if r["value"] in gone
    }
    user = next(
        row["user_id"]
        for row in generation.sequences("latest").to_pylist()
        if {*row["item_index"]} & {*index.values()}
    )
    (found,) = recommend(warm, generation, users=[user], k=1000)
    shown = [event["item_id"] for event in found.history]
    assert gone & {*shown}
    assert None not in shown
    ranked = {item["item_id"] for item in found.items}
    assert len(ranked) == generation.manifest.counts.items.kept
    assert not ranked & {*gone, *chain.changes.erase}
    assert "NEW1" in ranked
    assert recommend(warm, generation, items=[*gone], k=3)[0].history[0]["features"]


def test_the_run_records_where_it_started(chain: Chain, warm: Path) -> None:
    start = RunFolder(warm).config().warm_start
    assert start is not None
    best = read_checkpoint(RunFolder(chain.run).checkpoints.find("best"))
    manifest = open_generation(chain.parent).manifest
    assert start.model_dump() == {
        "run": str(chain.run),
        "checkpoint": best.name,
        "sha256": best.state["sha256"]["model.safetensors"],
        "generation": manifest.generation,
        "content_sha256": manifest.content_sha256,
        "refit": False,
    }
    assert RunFolder(warm).config().model.features == FEATURES
    state = read_checkpoint(RunFolder(warm).checkpoints.find("step-0")).state
    assert (state["step"], state["progress"]["rows"]) == (0, 0)
    assert state["generation"]["id"] == chain.child.name


def test_a_run_is_carried_over_day_after_day(chain: Chain, warm: Path, tmp_path: Path) -> None:
    _, child = copied(chain, tmp_path)
    changes = Changes(new={"NEW3": "NEW1"}, retire=["NEW2"])
    third = child_generation(child, changes)
    config = warm / "config.yaml"
    run = tmp_path / "third"
    warm_started(chain, run, config=config, data=third, warm_start=warm)
    start = RunFolder(run).config().warm_start
    assert start is not None
    assert start.run == str(warm)
    # over a generation that no run was trained on
    warm_started(chain, tmp_path / "leap", "train.max_steps=1", data=third)
    assert evaluate_run(tmp_path / "leap", third).generation == third.name


def test_validation_after_a_refit_of_the_run_before_is_warned_of(
    chain: Chain, tiny: MakeConfig, tmp_path: Path
) -> None:
    refit = {"epochs": 1, "refit_epochs": 1}
    config = tiny(train=refit)
    train(config, data=chain.parent, run=tmp_path / "first", quiet=True)
    for before, run in (("first", "second"), ("second", "third")):
        config = load_config(tmp_path / before / "config.yaml", ["train.refit_epochs=0"])
        train(
            config,
            data=chain.child,
            run=tmp_path / run,
            warm_start=tmp_path / before,
            quiet=True,
        )
        with pytest.warns(
            UserWarning, match="or the run that it was started from was also trained"
        ):
            evaluate_run(tmp_path / run, chain.child, "validation")


class StoppedError(Exception):
    pass


UNBROKEN = ("train.max_steps=5", "train.checkpoint_every=1")


@pytest.fixture(scope="module")
def whole(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warm-started run left alone."""
    run = tmp_path_factory.mktemp("whole") / "run"
    warm_started(chain, run, *UNBROKEN)
    return run


@pytest.mark.parametrize("at", [0, 3], ids=["before the first checkpoint", "after some steps"])
def test_an_interrupted_run_keeps_its_start(
    chain: Chain, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    cut = tmp_path / "cut"
    parent = tmp_path / "first"
    shutil.copytree(chain.run, parent, symlinks=True)

    def stop(trainer: Trainer, *args: Any) -> Any:
        if trainer.progress.step == at:
            raise StoppedError
        return step(trainer, *args)

    name = "_save" if at == 0 else "_step"
    step = getattr(Trainer, name)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, name, stop)
        with pytest.raises(StoppedError):
            warm_started(chain, cut, *UNBROKEN, warm_start=parent)
    if at:
        shutil.rmtree(parent)  # a checkpoint of its own is enough
    for options in ({"warm_start": parent}, {"warm_start": None, "config": cut / "config.yaml"}):
        warm_started(chain, cut, *UNBROKEN, resume=True, **options)
    ends = [weights(run, "last") for run in (whole, cut)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    with pytest.raises(CallError, match="was not warm-started from"):
        warm_started(chain, cut, *UNBROKEN, resume=True, warm_start=chain.run)


def refused(
    chain: Chain, tmp_path: Path, error: type[Exception], *overrides: str, **options: Any
) -> str:
    """The message of a refused warm start, which leaves nothing behind."""
    with pytest.raises(error) as caught:
        warm_started(chain, tmp_path / "refused", *overrides, **options)
    assert not (tmp_path / "refused").exists()
    return str(caught.value)


def test_a_generation_that_is_no_descendant_is_refused(
    chain: Chain, warm: Path, other_data: Path, tmp_path: Path
) -> None:
    message = refused(chain, tmp_path, GenerationError, data=other_data)
    assert "no descendant" in message
    assert chain.parent.name in message
    message = refused(chain, tmp_path, GenerationError, data=chain.parent, warm_start=warm)
    assert "no descendant" in message
    assert chain.child.name in message


def test_other_settings_of_the_model_are_refused_by_name(chain: Chain, tmp_path: Path) -> None:
    message = refused(
        chain, tmp_path, CallError, "model.width=16", "model.dropout=0.5", "loss.steps=2"
    )
    assert "model.width: got 16, expected 8" in message
    assert "model.dropout: got 0.5, expected 0.2" in message
    assert "loss.steps: got 2, expected 3" in message
    message = refused(chain, tmp_path, CallError, "loss.token_weight=0", "model.token_heads=false")
    assert "model.token_heads: got False, expected True" in message
    assert "loss.token_weight: got 0.0, expected 1.0" in message


def test_other_features_are_refused_by_name(chain: Chain, tmp_path: Path) -> None:
    names = "[category, brand, path, price, look, colour]"
    message = refused(chain, tmp_path, CallError, f"model.features={names}")
    assert f"item feature 'colour': begun in {chain.child.name}, later" in message
    message = refused(chain, tmp_path, CallError, "model.features=[brand]")
    assert "model.features: got ['brand'], expected ['category', 'brand', " in message
    message = refused(chain, tmp_path, CallError, "model.features=[brand, pric]")
    missing = f"item feature 'pric': {chain.child.name} does not have it. Did you mean 'price'?"
    assert missing in message
    order = "[look, price, path, brand, category]"
    warm_started(chain, tmp_path / "run", "train.max_steps=1", f"model.features={order}")
    assert RunFolder(tmp_path / "run").config().model.features == FEATURES


def test_unfinished_damaged_and_absent_runs_are_refused(chain: Chain, tmp_path: Path) -> None:
    run = tmp_path / "first"
    shutil.copytree(chain.run, run, symlinks=True)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("epochs: 1\n", "epochs: 2\n", 1))
    message = refused(chain, tmp_path, CallError, warm_start=run)
    assert "is unfinished: got 1 of 2 epochs" in message
    (run / "config.yaml").write_text(config)
    model = run / "checkpoints/best/model.safetensors"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    assert "is damaged" in refused(chain, tmp_path, CorruptCheckpointError, warm_start=run)
    (run / "checkpoints/best").unlink()
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint yet" in refused(chain, tmp_path, CallError, warm_start=run)
    assert "contains no run" in refused(chain, tmp_path, CallError, warm_start=tmp_path / "none")
    (run / "generation.json").unlink()
    message = refused(chain, tmp_path, CallError, warm_start=run)
    assert "does not state which generation the run was trained on. Restore the file" in message


def test_a_run_of_an_earlier_version_is_refused(chain: Chain, tmp_path: Path) -> None:
    run = tmp_path / "first"
    shutil.copytree(chain.run, run, symlinks=True)
    body = json.loads((run / "generation.json").read_text())
    del body["features"], body["user_features"]
    (run / "generation.json").write_text(json.dumps(body))
    assert "by an earlier version" in refused(chain, tmp_path, CallError, warm_start=run)


def test_the_configuration_of_a_warm_started_run_starts_no_other_by_accident(
    chain: Chain, warm: Path, tmp_path: Path
) -> None:
    config = warm / "config.yaml"
    message = refused(chain, tmp_path, CallError, config=config, warm_start=None)
    assert "--set warm_start=null" in message
    anew = ("warm_start=null", "train.max_steps=1")
    warm_started(chain, tmp_path / "run", *anew, config=config, warm_start=None)
    assert RunFolder(tmp_path / "run").config().warm_start is None


def test_a_run_of_an_ancestor_is_refused_with_the_way_on(
    chain: Chain, other_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(GenerationError) as caught:
        evaluate_run(chain.run, chain.child)
    message = caught.value.message
    assert chain.child.name in message
    assert chain.parent.name in message
    assert f"train --warm-start {chain.run} --data {chain.child}" in message
    with pytest.raises(GenerationError) as caught:
        recommend(chain.run, other_data, users=["u1"])
    assert "warm-start" not in caught.value.message


def test_a_checkpoint_that_has_changed_is_not_used(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", stop)
        with pytest.raises(StoppedError):
            warm_started(chain, tmp_path / "run")
    file = tmp_path / "run/config.yaml"
    start = RunFolder(tmp_path / "run").config().warm_start
    assert start is not None
    file.write_text(file.read_text().replace(start.sha256, "f" * 64))
    with pytest.raises(CallError, match="has other weights than when this run was started"):
        warm_started(chain, tmp_path / "run", config=file, warm_start=None, resume=True)
