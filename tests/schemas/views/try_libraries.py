"""Reads views of a generation with the real libraries, and compares them with the reader: see test_real_libraries.py.

python try_libraries.py LIBRARY OUTPUT FOLDER: a generation in OUTPUT, and its view in FOLDER (RecTools needs none).
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np


def try_huggingface(output: str, folder: str) -> None:
    """`datasets.load_dataset` on the shards and on the folder, and `to_huggingface`."""
    import datasets

    from heterrec_schemas import open_generation
    from heterrec_schemas.views import to_huggingface

    generation = open_generation(output)
    found = to_huggingface(generation)
    for config, split in (
        ("train", "train"),
        ("evaluation", "validation"),
        ("evaluation", "test"),
        ("latest", "latest"),
    ):
        expected = generation.sequences(split).to_pylist()
        assert list(found[split]) == expected, split
        assert list(datasets.load_dataset(folder, config, split=split)) == expected, split
        assert list(to_huggingface(generation, streaming=True)[split]) == expected, split
    assert list(found["items"]) == generation.items().to_pylist()
    assert list(datasets.load_dataset(folder, "items", split="items")) == list(found["items"])
    assert datasets.load_dataset(folder)["train"].num_rows == found["train"].num_rows  # the default
    shards = f"{folder}/items/*.parquet"
    loaded = datasets.load_dataset("parquet", data_files=shards, split="train")
    assert loaded.num_rows == found["items"].num_rows


def try_rectools(output: str, folder: str) -> None:
    """`to_rectools`, and a model fitted to it."""
    from rectools import Columns
    from rectools.models import PopularModel

    from heterrec_schemas import open_generation
    from heterrec_schemas.views import to_rectools
    from heterrec_schemas.views.events import events

    generation = open_generation(output)
    dataset = to_rectools(generation)
    log: list[Any] = [row for frame in events(generation) for row in frame.rows()]
    # RecTools keeps repeated interactions apart.
    assert len(dataset.get_raw_interactions()) == len(log)
    assert dataset.item_features is not None
    users = dataset.user_id_map.external_ids
    top = PopularModel().fit(dataset).recommend(users, dataset, k=5, filter_viewed=False)
    assert set(top[Columns.Item]) <= set(generation.items()["item_id"].to_pylist())


def try_recbole(output: str, folder: str) -> None:
    """RecBole's `create_dataset` and `data_preparation` on the files."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    from heterrec_schemas import open_generation
    from heterrec_schemas.views.events import events

    generation = open_generation(output)
    path = Path(folder)
    settings = {"data_path": str(path.parent), "use_gpu": False, "show_progress": False}
    config = Config(
        model="BPR", config_file_list=[str(path / "recbole.yaml")], config_dict=settings
    )
    dataset = create_dataset(config)
    items = generation.items()
    keys = [str(key) for key in items["item_id"].to_pylist()]
    numbers = dataset.token2id("item_id", np.array(keys))
    features = dataset.item_feat
    place = {int(n): k for k, n in enumerate(features["item_id"])}
    for name in ("brand", "price"):
        got = [dataset.id2token(name, int(features[name][place[int(n)]])) for n in numbers]
        assert got == [str(v) for v in items[name].to_pylist()], name
    for name in ("path", "look"):
        cells = [features[name][place[int(n)]] for n in numbers]
        got = [" ".join(dataset.id2token(name, np.asarray(cell))) for cell in cells]
        groups = name == "look"
        expected = [
            " ".join(f"{k}.{v}" if groups else str(v) for k, v in enumerate(cell))
            for cell in items[name].to_pylist()
        ]
        assert [text.replace(" [PAD]", "") for text in got] == expected, name
    rows = [row for frame in events(generation) for row in frame.rows(named=True)]
    loaders = data_preparation(config, dataset)
    for split, loader in zip(("train", "validation", "test"), loaders, strict=True):
        inter = (loader.dataset if split != "train" else loader._dataset).inter_feat
        got = set(
            zip(
                dataset.id2token("user_id", np.asarray(inter["user_id"])),
                dataset.id2token("item_id", np.asarray(inter["item_id"])),
                strict=True,
            )
        )
        mine = {(str(r["user_id"]), str(r["item_id"])) for r in rows if r["split"] == split}
        assert got == mine, (split, len(got - mine), len(mine - got))


if __name__ == "__main__":
    library, *paths = sys.argv[1:]
    {"huggingface": try_huggingface, "rectools": try_rectools, "recbole": try_recbole}[library](
        *paths
    )
    print(f"{library}: the view is read as it was written")
