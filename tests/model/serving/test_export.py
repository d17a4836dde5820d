import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_up import made_up_batch, made_up_config, made_up_table, padded, scrambled

from heterrec_model.bundle.files import GRAPH, BundleInfo, fingerprint
from heterrec_model.bundle.reader import Bundle, open_bundle, read_info
from heterrec_model.config import Config
from heterrec_model.layers.embedding_tables import FrozenTable, ItemTables
from heterrec_model.loss.lmp import for_similarity
from heterrec_model.recommending.bundle_recommender import BundleRecommender
from heterrec_model.recommending.history import History
from heterrec_model.registry import TRAINED
from heterrec_model.runs.load_run import load_run
from heterrec_model.serving import export as export_module
from heterrec_model.serving.export import export
from heterrec_model.serving.user_tower import UserTower, item_tokens, write_programs
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas import Generation
from heterrec_schemas.errors import BundleError, CallError, GenerationError, RunError


def test_a_bundle_has_what_it_says(bundle: Path, served_shop: Generation) -> None:
    opened = open_bundle(bundle)
    info = opened.info
    assert info.fingerprint == fingerprint(info.parts) == info.identity.fingerprint
    assert info.identity.content_sha256 == served_shop.manifest.content_sha256
    assert info.parts["content_sha256"] == served_shop.manifest.content_sha256
    assert info.buckets == [10, 12]
    latest = served_shop.sequences("latest", ["user_id"])
    assert info.users == len(latest) == info.equality.users
    assert 0 < info.equality.largest_difference <= 1e-5
    tokens = 1 + sum(feature.side == "item" for feature in served_shop.manifest.features)
    assert info.width == 8 * (1 + tokens)
    assert opened.item_vectors_ND.shape == (served_shop.manifest.counts.items.kept, info.width)
    assert {"repeat_term.npy", "repeat_term_popularity.npy"} < {file.path for file in info.files}
    assert len(opened.sample_user_vectors_SD) == len(latest)
    card = (bundle / "card.md").read_text()
    for words in ("recall@10", info.fingerprint, "## Limits", "model.width"):
        assert words in card


def test_the_files_of_a_bundle_have_no_pickle(bundle: Path) -> None:
    program = zipfile.ZipFile(bundle / "user.pt2")
    assert [name for name in program.namelist() if name.endswith((".pkl", ".pickle"))] == []
    assert [
        name for name in program.namelist() if name.endswith(".pt") and program.read(name)
    ] == []


def test_a_bundle_needs_neither_torch_nor_beam(bundle: Path) -> None:
    code = f"""
import sys
for name in ("torch", "apache_beam"):
    sys.modules[name] = None
from heterrec_model import BundleRecommender, History
found = BundleRecommender.open({str(bundle)!r})
item = found.item_vectors()[0][0]
(answer,) = found.recommend(histories=[History(items=[item])], k=3)
assert len(answer.item_ids) == 3 and answer.fallback is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_program_of_torch_export_loads_by_itself(
    bundle: Path, served_run: Path, served_shop: Generation
) -> None:
    program = torch.export.load(bundle / "user.pt2").module()
    model = load_run(served_run, data=served_shop).model
    tower = UserTower(model)
    assert tower.inputs[:4] == ["tokens", "timestamp_ms", "length", "behaviour"]
    given = [
        torch.ones((3, 12, item_tokens(model).shape[1]), dtype=torch.int32),
        torch.arange(36).view(3, 12) * 86_400_000,
        torch.tensor([12, 1, 5]),
        torch.full((3, 12), 2),
        *(torch.ones(3, dtype=torch.int64) for _ in tower.features),
    ]
    with torch.no_grad():
        assert torch.allclose(program(*given), tower(*given), atol=1e-6)


VARIANTS = {
    "post, no prefix": {"norm": "post"},
    "no item blocks": {"item_blocks": 0},
    "no token blocks": {"token_blocks": 0},
    "literal": {"literal": True, "raw_skip": False},
    "no ids": {"item_id": False},
    "no time": {"time_gap": {"enabled": False}},
    "causal tokens": {"token_mask": "causal", "attention": "dense"},
    "shared groups": {"group_tables": "shared", "embedding_init": "random"},
    "no behaviours": {"behaviour": False},
    "bert4rec": {"name": "bert4rec", "item_blocks": 2, "max_length": 5},
    "frozen": {"frozen": {"look": {"files": "not read here"}}},
    "hstu": {"name": "hstu", "item_blocks": 2, "time_gap": {"per_head": True}},
    "hstu, no blocks": {"name": "hstu", "item_blocks": 0},
    "sasrec": {"name": "sasrec"},
    "sasrec_time": {"name": "sasrec_time", "norm": "pre"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_tower_takes_tensors_and_computes_the_last_item_only(variant: str) -> None:
    """The vectors are those of the whole output at the last item of every history."""
    config: Config = made_up_config(VARIANTS[variant])
    table = made_up_table()
    tables = ItemTables(config.model, table, {})
    model = scrambled(TRAINED[config.model.name](config, table, tables)).eval()
    if config.model.frozen:
        frozen = model.tables.tables["feature_look"]
        assert isinstance(frozen, FrozenTable)
        frozen.fill(torch.randn_like(frozen.vectors_IF))
    batch = made_up_batch([5, 1, 3], table=table)
    tower = UserTower(model)
    tokens_IC = item_tokens(model)
    named = {
        "tokens": tokens_IC[batch.item_BT],
        "timestamp_ms": batch.timestamp_BT,
        "length": batch.length_B,
        "behaviour": batch.behaviour_BT,
        **{f"user_{name}": x for name, x in batch.user_features.items()},
    }
    with torch.no_grad():
        found = tower(*(named[name] for name in tower.inputs))
        e = model.tables(batch.item_BT.flatten()).unflatten(0, batch.item_BT.shape)
        whole = model.encode(e, batch).u_BTD
        last = whole[torch.arange(batch.users), batch.length_B - 1]
        vectors = for_similarity(model.item_lmp.steps[0](last), config.loss)
        assert torch.allclose(found, vectors, atol=1e-12)
        assert torch.equal(found, model.user_vectors(batch))


def test_an_output_is_left_as_it_is(
    bundle: Path, served_run: Path, served_shop: Generation, tmp_path: Path
) -> None:
    before = {file: file.stat().st_mtime_ns for file in bundle.iterdir()}
    again = export(served_run, served_shop, bundle)
    assert not again.new
    assert {file: file.stat().st_mtime_ns for file in bundle.iterdir()} == before
    with pytest.raises(
        CallError, match=r"got histories: True, popular items by: .*expected histories: F"
    ):
        export(served_run, served_shop, bundle, histories=False)
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    info = read_info(other)
    (other / "bundle.json").write_text(info.model_copy(update={"fingerprint": "0" * 64}).to_json())
    with pytest.raises(CallError, match="already contains the bundle 000000000000: expected"):
        export(served_run, served_shop, other)


def test_a_tower_that_differs_is_no_bundle(
    bundle: Path,
    served_run: Path,
    served_shop: Generation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The programs of the right weights, with a model whose weights have changed."""

    def copied(model: TwoTowerModel, folder: Path) -> None:
        for file in bundle.glob("user*"):
            shutil.copy(file, folder / file.name)
        with torch.no_grad():
            next(model.item_lmp.parameters())[0, 0] += 0.01

    monkeypatch.setattr(export_module, "write_programs", copied)
    with pytest.raises(RunError, match=r"user\.onnx differs from the model: got a difference of"):
        export(served_run, served_shop, tmp_path / "wrong", evaluate=False)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_of_an_export(
    served_run: Path, served_shop: Generation, shop_data: Path, tmp_path: Path
) -> None:
    calls: dict[str, Callable[[], object]] = {
        "must be local": lambda: export(served_run, served_shop, "gs://bucket/bundle"),
        "no checkpoint": lambda: export(
            served_run, served_shop, tmp_path / "b", checkpoint="beste"
        ),
        "no categorical user feature 'agee'": lambda: export(
            served_run, served_shop, tmp_path / "b", segment_by="agee"
        ),
    }
    for words, call in calls.items():
        with pytest.raises(CallError, match=words):
            call()
    with pytest.raises(GenerationError, match="was trained on another generation"):
        export(served_run, shop_data, tmp_path / "b")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(CallError, match="already exists"):
        export(served_run, served_shop, tmp_path / "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no description": (lambda b: (b / "bundle.json").unlink(), "is not finished"),
    "half a description": (
        lambda b: (b / "bundle.json").write_text((b / "bundle.json").read_text()[:500]),
        "cannot be read",
    ),
    "another layout": (
        lambda b: (b / "bundle.json").write_text(
            json.dumps({**json.loads((b / "bundle.json").read_text()), "export_version": 99})
        ),
        "got export version 99, expected 1",
    ),
    "an absent file": (lambda b: (b / "item_vectors.npy").unlink(), "got no such file"),
    "a short file": (lambda b: os.truncate(b / "popular.parquet", 10), "got 10 bytes"),
    "a flipped bit": (lambda b: _flip(b / "item_vectors.npy"), "got SHA-256"),
}


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path, damage: str) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    break_it, words = DAMAGES[damage]
    break_it(copy)
    with pytest.raises(BundleError, match=words):
        open_bundle(copy)


def test_equal_input_has_an_equal_fingerprint(bundle: Path) -> None:
    info: BundleInfo = read_info(bundle)
    for name in info.parts:
        changed = {**info.parts, name: "other"}
        assert fingerprint(changed) != info.fingerprint
    assert np.all([file.sha256 for file in info.files])


@pytest.mark.parametrize("name", ["bert4rec", "hstu"])
def test_the_graph_of_a_baseline_computes_its_vectors(name: str, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    config = made_up_config({"name": name, "item_blocks": 2, "max_length": 5})
    table = made_up_table()
    tables = ItemTables(config.model, table, {})
    model = scrambled(TRAINED[name](config, table, tables)).float().eval()
    write_programs(model, tmp_path)
    session = ort.InferenceSession(tmp_path / GRAPH)
    for lengths in ([5, 1, 3], [2]):
        batch = padded(made_up_batch(lengths, table=table), 5)
        named = {
            "tokens": item_tokens(model)[batch.item_BT],
            "timestamp_ms": batch.timestamp_BT,
            "length": batch.length_B,
            "behaviour": batch.behaviour_BT,
            **{f"user_{feature}": x for feature, x in batch.user_features.items()},
        }
        given = {i.name: named[i.name].numpy() for i in session.get_inputs()}
        (found,) = session.run(None, given)
        with torch.no_grad():
            wanted = model.user_vectors(batch)
        assert torch.allclose(torch.from_numpy(found), wanted, atol=1e-5)


def _described(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Change the description of a bundle."""

    def write(folder: Path) -> None:
        info = json.loads((folder / "bundle.json").read_text())
        change(info)
        (folder / "bundle.json").write_text(json.dumps(info))

    return write


@pytest.mark.parametrize(
    "change",
    [
        _described(lambda info: info.update(reads_behaviours=not info["reads_behaviours"])),
        _described(lambda info: info["user_features"].clear()),
        _described(lambda info: info["user_features"][0].update(name="x")),
        lambda b: shutil.copy(b / "user.onnx", b / "user-10.onnx"),
        lambda b: np.save(b / "item_tokens.npy", np.load(b / "item_tokens.npy")[:, 1:]),
    ],
)
def test_a_graph_that_does_not_fit_its_description_is_named(
    bundle: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    change(copy)
    opened = Bundle(copy, read_info(copy))  # as if all hashes were those of the files
    with pytest.raises(BundleError, match=r"user.*\.onnx does not fit bundle\.json"):
        BundleRecommender(opened)


def test_a_text_that_is_no_utf8_is_named(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    table = pq.read_table(copy / "popular.parquet")
    texts = pa.array([b"\xff\xfe"] * len(table)).view(pa.string())
    pq.write_table(table.set_column(0, "segment", texts), copy / "popular.parquet")
    opened = Bundle(copy, read_info(copy))
    with pytest.raises(BundleError, match=r"popular\.parquet cannot be read: .*Invalid UTF8"):
        opened.popular()


def _saved(name: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    """Change an array of a bundle."""
    return lambda b: np.save(b / name, change(np.load(b / name)))


def _retyped(name: str, column: str, values: Callable[[int], pa.Array]) -> Callable[[Path], object]:
    """Change a column of a table of a bundle."""

    def write(folder: Path) -> None:
        table = pq.read_table(folder / name)
        at = table.schema.get_field_index(column)
        pq.write_table(table.set_column(at, column, values(len(table))), folder / name)

    return write


def _without(name: str, column: str) -> Callable[[Path], object]:
    return lambda b: pq.write_table(pq.read_table(b / name).drop_columns(column), b / name)


def _archive(folder: Path) -> None:
    with (folder / "item_vectors.npy").open("wb") as file:
        np.savez(file, x=np.zeros(3, np.float32))


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "too few vectors": (_saved("item_vectors.npy", lambda a: a[1:]), r"got float32 of the shape"),
    "wide numbers": (_saved("item_vectors.npy", lambda a: a.astype(float)), "got float64"),
    "an archive": (_archive, "got an archive"),
    "a header that is no Python": (
        lambda b: (b / "item_tokens.npy").write_bytes(b"\x93NUMPY\x01\x00\x05\x00{('a\n"),
        r"item_tokens\.npy cannot be read",
    ),
    "no column retired": (
        _without("item_ids.parquet", "retired"),
        "column 'retired': got none, expected bool",
    ),
    "ids of another type": (
        _retyped("item_ids.parquet", "item_id", lambda n: pa.array([0.5] * n)),
        "column 'item_id': got double, expected int64 or string",
    ),
    "no ids": (
        _retyped("item_ids.parquet", "item_id", lambda n: pa.nulls(n, pa.string())),
        "column 'item_id' has nulls",
    ),
    "all retired": (
        _retyped("item_ids.parquet", "retired", lambda n: pa.array([True] * n)),
        "does not begin with the catalogue: got 0 items before retired ones",
    ),
    "counts as text": (
        _retyped("popular.parquet", "count", lambda n: pa.array(["1"] * n)),
        "column 'count': got string, expected int64",
    ),
    "no tokens of values": (_without("user_values.parquet", "token"), "column 'token': got none"),
    "no lengths": (_described(lambda info: info["buckets"].clear()), r"buckets: got \[\]"),
    "lengths that end early": (_described(lambda info: info["buckets"].pop()), "buckets: got"),
    "a feature of many tokens": (
        _described(lambda info: info["user_features"][0].update(columns=2**62)),
        r"user_features\.0\.columns: Input should be less than or equal to 65536",
    ),
    "a long name": (
        _described(lambda info: info["files"][0].update(path="x" * 5000)),
        "lists a file that cannot exist",
    ),
}


@pytest.mark.parametrize("change", OTHERS)
def test_other_content_with_the_right_hashes_is_named(
    bundle: Path, tmp_path: Path, change: str
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    make, words = OTHERS[change]
    make(copy)
    path = copy / "bundle.json"
    info = json.loads(path.read_text())
    for entry in info["files"]:
        if (file := copy / entry["path"][:200]).is_file():
            data = file.read_bytes()
            entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(info))
    with pytest.raises(BundleError, match=words):
        BundleRecommender.open(copy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tokens: np.full_like(tokens, 2**30), "cannot encode a history"),
        (lambda tokens: tokens[:3], "has an item that .* does not have"),
    ],
)
def test_tokens_beyond_the_tables_are_named(
    bundle: Path, tmp_path: Path, change: Callable[[Any], Any], words: str
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    _saved("item_tokens.npy", change)(copy)
    served = BundleRecommender(Bundle(copy, read_info(copy)))
    item = pq.read_table(copy / "item_ids.parquet")["item_id"][-1].as_py()
    with pytest.raises(BundleError, match=words):
        served.recommend(histories=[History(items=[item])])
