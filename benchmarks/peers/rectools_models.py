"""Trains and evaluates RecTools' SASRec or BERT4Rec on the split of export_split.py.

    PEERS_ENV/bin/python benchmarks/peers/rectools_models.py SPLIT sasrec --results results/peers [--seed 0] [--dropout 0.2]

RecTools provides the data preparation, networks, optimiser and training loop. After every epoch the validation metrics over
all users are computed; the weights of the epoch with the best nDCG@50 are evaluated on the test targets. Metrics are those of
docs/training.md: Recall and nDCG of one target per user among all items, ties by their mean. RecTools does not know items
without training interactions: as targets they are misses, and it drops them from histories.

Losses and gradients are those of RecTools, but computed in half of the CPU time (`rectools_quick`). Every run first checks
that they are equal on one batch.

Appends a row to rectools.csv, and one row per epoch to rectools_epochs.csv.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is imported

import csv
import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import HitRate
from rectools.models import BERT4RecModel, SASRecModel
from rectools_quick import PackedSoftmax, TrimmedBackbone, check_loss
from torch import Tensor

KS = (10, 50, 100, 200)
METRIC = "ndcg@50"
"""Validation metric that decides the best epoch, as in HeterRec's studies."""
MAX_LENGTH = 50
USERS = 512
"""Number of users ranked at a time."""
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Histories and targets of all users, in the items' numbers of the generation.

    Attributes:
        histories: items before the target, oldest first, at most MAX_LENGTH.
        target_U: one target per user.
    """

    histories: list[list[int]]
    target_U: Indices

    @classmethod
    def of(cls, table: pd.DataFrame, part: str) -> "Part":
        """The validation or test part of the exported table."""
        place_U = table[table["part"] == part].set_index("user_id")["place"]
        before = table[table["place"].to_numpy() < place_U.loc[table["user_id"]].to_numpy()]
        grouped = before.groupby("user_id", sort=True)["item_index"].agg(list)
        targets = table[table["part"] == part].sort_values("user_id")
        assert list(grouped.index) == list(targets["user_id"])
        return cls([items[-MAX_LENGTH:] for items in grouped], targets["item_index"].to_numpy())


def ranks(lightning: Any, part: Part, *, seen: bool) -> tuple[Indices, Indices]:
    """First rank of each target among all items, and the number of items that share it.

    The rank of a target that RecTools does not know is the largest integer. With `seen` false, items of the history other
    than the target are left out of the ranking.
    """
    preparator, net = lightning.data_preparator, lightning.torch_model
    to_internal = preparator.item_id_map.to_internal.to_dict()
    extra = preparator.n_item_extra_tokens
    histories = [[to_internal[i] for i in h if i in to_internal] for h in part.histories]
    target_U = np.array([to_internal.get(i, -1) for i in part.target_U])
    first_U = np.full(len(target_U), np.iinfo(np.int64).max)
    tied_U = np.ones(len(target_U), dtype=np.int64)
    net.eval()
    with torch.no_grad():
        item_embs = net.item_model.get_all_embeddings()
        for start in range(0, len(target_U), USERS):
            rows = slice(start, start + USERS)
            batch = preparator._collate_fn_recommend([(h, None, None) for h in histories[rows]])
            user_embs = net.encode_sessions(batch, item_embs)[:, -1]
            scores = user_embs @ item_embs.T
            scores[:, :extra] = -torch.inf
            target = torch.from_numpy(target_U[rows])
            own = scores.gather(1, target.clamp(min=0)[:, None])
            if not seen:
                lengths = torch.tensor([len(h) for h in histories[rows]])
                users = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
                items = torch.tensor([i for h in histories[rows] for i in h])
                scores[users, items] = -torch.inf
                scores.scatter_(1, target.clamp(min=0)[:, None], own)
            known = (target >= 0).numpy()
            first_U[rows][known] = 1 + (scores > own).sum(1).numpy()[known]
            tied_U[rows][known] = (scores == own).sum(1).numpy()[known]
    return first_U, tied_U


def metrics(first_U: Indices, tied_U: Indices) -> dict[str, float]:
    """Recall and nDCG at every k, averaged over users; ties count by the mean over their orders."""
    gain_K = np.append(0, np.cumsum(1 / np.log2(np.arange(1, max(KS) + 1) + 1)))
    above_U = np.minimum(first_U - 1, max(KS))
    values = {}
    for k in KS:
        low_U, high_U = np.minimum(above_U, k), np.minimum(above_U + tied_U, k)
        values[f"recall@{k}"] = float(((high_U - low_U) / tied_U).mean())
        values[f"ndcg@{k}"] = float(((gain_K[high_U] - gain_K[low_U]) / tied_U).mean())
    return values


class Validation(Callback):
    """Validates after every epoch, keeps the best weights, and stops after `patience` epochs without improvement."""

    def __init__(self, part: Part, patience: int, every: int) -> None:
        self.part, self.patience, self.every = part, patience, every
        self.epochs: list[dict[str, float]] = []
        self.best: dict[str, float] = {}
        self.weights: dict[str, Tensor] = {}
        self.train_s, self.train_cpu_s = 0.0, 0.0

    def on_train_epoch_start(self, trainer: Trainer, lightning: LightningModule) -> None:
        """Start the clocks."""
        self.started = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer: Trainer, lightning: LightningModule) -> None:
        """Stop the clocks and validate."""
        self.train_s += time.perf_counter() - self.started[0]
        self.train_cpu_s += time.process_time() - self.started[1]
        epoch = trainer.current_epoch + 1
        if epoch % self.every and epoch < (trainer.max_epochs or 0):
            return
        row = {"epoch": epoch, "train_loss": float(trainer.callback_metrics["train_loss"])}
        row |= {"train_cpu_seconds": self.train_cpu_s}
        row |= metrics(*ranks(lightning, self.part, seen=True))
        lightning.train()
        self.epochs.append(row)
        if row[METRIC] > self.best.get(METRIC, -1):
            self.best = row
            state = lightning.torch_model.state_dict()
            self.weights = {name: value.clone() for name, value in state.items()}
        print(
            f"epoch {epoch}: loss {row['train_loss']:.4f}, {row['train_cpu_seconds']:.0f} CPU s, "
            + ", ".join(f"{k} {row[k]:.4f}" for k in ("recall@10", "ndcg@10", "recall@50", METRIC)),
            flush=True,
        )
        if epoch - self.best["epoch"] >= self.patience:
            trainer.should_stop = True


def own_hit_rate(model: "SASRecModel | BERT4RecModel", table: pd.DataFrame) -> float:
    """HitRate@10 of RecTools' own `recommend` and metric on the test targets, viewed items left out."""
    names = {"user_id": Columns.User, "item_index": Columns.Item}
    test = table[table["part"] == "test"].rename(columns=names)
    before = Dataset.construct(interactions(table[table["part"] != "test"]))
    recommended = model.recommend(test[Columns.User].to_numpy(), before, k=10, filter_viewed=True)
    return float(HitRate(k=10).calc(recommended, test[[Columns.User, Columns.Item]]))


def interactions(table: pd.DataFrame) -> pd.DataFrame:
    """RecTools' table of interactions; the place in the sequence replaces the time, which is equal within a day."""
    day = pd.Timestamp("2000-01-01")
    return pd.DataFrame(
        {
            Columns.User: table["user_id"],
            Columns.Item: table["item_index"],
            Columns.Weight: 1.0,
            Columns.Datetime: day + pd.to_timedelta(table["place"], unit="s"),
        }
    ).reset_index(drop=True)


def build(arguments: argparse.Namespace, validation: Validation) -> "SASRecModel | BERT4RecModel":
    """The model with the settings of the command line; all others are RecTools' defaults."""

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=arguments.epochs,
            accelerator="cpu",
            deterministic=True,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[validation],
        )

    settings: dict[str, Any] = {
        "n_blocks": arguments.blocks,
        "n_heads": arguments.heads,
        "n_factors": arguments.width,
        "dropout_rate": arguments.dropout,
        "session_max_len": MAX_LENGTH,
        "loss": "softmax",
        "lr": arguments.lr,
        "batch_size": arguments.batch_size,
        "lightning_module_type": PackedSoftmax,
        "backbone_type": TrimmedBackbone,
        "get_trainer_func": trainer,
        "recommend_torch_device": "cpu",
    }
    if arguments.model == "bert4rec":
        return BERT4RecModel(mask_prob=arguments.mask_prob, **settings)
    return SASRecModel(use_key_padding_mask=arguments.key_padding_mask, **settings)


def append(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append rows to a CSV file, with a header if it is new."""
    new = not path.exists()
    with path.open("a", newline="") as stream:
        for n, row in enumerate(rows):
            writer = csv.DictWriter(stream, list(row), lineterminator="\n")
            if new and n == 0:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def without_folders(argument: str) -> str:
    """An argument; of an absolute path, its last part."""
    path = Path(argument)
    return path.name if path.is_absolute() else argument


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The columns that identify a run."""
    names = ("seed", "width", "blocks", "heads", "dropout", "lr", "batch_size")
    masked = arguments.model == "bert4rec"
    return {
        "model": arguments.model,
        "library": "rectools",
        "version": version("rectools"),
        **{name: getattr(arguments, name) for name in names},
        "mask_prob": arguments.mask_prob if masked else "",
        "key_padding_mask": masked or arguments.key_padding_mask,
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path, help="folder written by export_split.py")
    parser.add_argument("model", choices=["sasrec", "bert4rec"])
    parser.add_argument("--results", type=Path, default=Path("results/peers"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30, help="maximum number")
    parser.add_argument("--patience", type=int, default=3, help="in epochs")
    parser.add_argument("--validate-every", type=int, default=1, help="in epochs")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--mask-prob", type=float, default=0.15, help="of BERT4Rec")
    parser.add_argument("--key-padding-mask", action="store_true", help="of SASRec")
    return parser.parse_args()


def main() -> None:
    """Train and evaluate one model."""
    arguments = parse()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    about = json.loads((arguments.split / "split.json").read_text())
    table = pd.read_parquet(arguments.split / "interactions.parquet")
    validation, test = (Part.of(table, part) for part in ("validation", "test"))
    seed_everything(arguments.seed)
    model = build(arguments, Validation(validation, arguments.patience, arguments.validate_every))
    data = Dataset.construct(interactions(table[table["part"] == "train"]))
    model._build_model_from_dataset(data)
    check_loss(model)
    seed_everything(arguments.seed)
    started = time.perf_counter(), time.process_time()
    model.fit(data)
    seconds, cpu_seconds = time.perf_counter() - started[0], time.process_time() - started[1]
    (callback,) = (c for c in model.fit_trainer.callbacks if isinstance(c, Validation))
    lightning = model.lightning_model
    lightning.torch_model.load_state_dict(callback.weights)
    kept, left_out = (metrics(*ranks(lightning, test, seen=seen)) for seen in (True, False))
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
    )
    settings = settings_of(arguments)
    row = {
        **settings,
        "max_epochs": arguments.epochs,
        "patience": arguments.patience,
        "epochs": lightning.trainer.current_epoch,
        "best_epoch": callback.best["epoch"],
        "parameters": sum(p.numel() for p in lightning.torch_model.parameters()),
        "train_seconds": callback.train_s,
        "train_cpu_seconds": callback.train_cpu_s,
        "fit_seconds": seconds,
        "fit_cpu_seconds": cpu_seconds,
        "users": about["users"],
        "items": about["items"],
        **{f"validation_seen_kept_{k}": callback.best[k] for k in kept},
        **{f"test_seen_kept_{k}": v for k, v in kept.items()},
        **{f"test_seen_left_out_{k}": v for k, v in left_out.items()},
        "test_seen_left_out_rectools_recall@10": own_hit_rate(model, table),
        "content_sha256": about["content_sha256"],
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit.stdout.strip(),
        "torch": torch.__version__,
        "command": " ".join(["python", *map(without_folders, sys.argv)]),
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    append(arguments.results / "rectools.csv", [row])
    append(
        arguments.results / "rectools_epochs.csv", [settings | epoch for epoch in callback.epochs]
    )
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
