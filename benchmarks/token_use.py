"""Which tokens of an item does a trained model use? Norms of the embeddings, and metrics without the information of a token.

    python benchmarks/token_use.py RUN DATA [--csv results/token_use/beauty.csv]

For each token the table has the root mean square of its embedding over the items, weighted by their training interactions,
and the metrics of the validation split when its embedding is replaced by that mean embedding for all items: the model is not
trained again, so the loss is that of the information that the model has come to rely on.
"""

import argparse
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from heterrec_model.evaluation.evaluate import evaluate_model, load_generation
from heterrec_model.runs.load_run import load_run

METRICS = ("recall@50", "ndcg@50", "recall@200", "ndcg@200")
BLOCK = 4096


def embeddings(tables: nn.Module, item_N: Tensor) -> Tensor:
    """The embeddings of all tokens of some items, [N, K, D]."""
    with torch.no_grad():
        return torch.cat([tables(block) for block in torch.split(item_N, BLOCK)])


@contextmanager
def without(tables: nn.Module, token: int, mean_D: Tensor) -> Iterator[None]:
    """All items have the same embedding of a token."""

    def replaced(_module: nn.Module, _inputs: object, e_NKD: Tensor) -> Tensor:
        e_NKD = e_NKD.clone()
        e_NKD[:, token] = mean_D
        return e_NKD

    hook = tables.register_forward_hook(replaced)
    try:
        yield
    finally:
        hook.remove()


def rows(run: str, data: str) -> Iterator[dict[str, str]]:
    """A row for the whole model, then one for each token."""
    generation = load_generation(data)
    loaded = load_run(run, data=generation)
    model, tables = loaded.model.eval(), loaded.model.tables
    catalogue_N = model.table.catalogue_N
    weight_N = model.table.train_count_I[catalogue_N].float()
    weight_N = weight_N / weight_N.sum()
    e_NKD = embeddings(tables, catalogue_N)
    mean_KD = torch.einsum("n,nkd->kd", weight_N, e_NKD)
    size_K = torch.einsum("n,nk->k", weight_N, e_NKD.square().mean(-1)).sqrt()

    def row(token: str, size: str) -> dict[str, str]:
        found = evaluate_model(model, generation, "validation", loaded.config).to_json()["metrics"]
        return {"without": token, "rms": size, **{m: f"{found[m]:.6f}" for m in METRICS}}

    yield row("", "")
    for k, name in enumerate(tables.names):
        with without(tables, k, mean_KD[k]):
            yield row(name, f"{size_K[k].item():.4f}")


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for row in rows(given.run, given.data):
        print(*row.values(), flush=True)
        found.append(row)
    if given.csv:
        given.csv.parent.mkdir(parents=True, exist_ok=True)
        with given.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)


if __name__ == "__main__":
    main()
