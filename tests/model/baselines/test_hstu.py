"""A block of HSTU, item by item."""

import math

import torch
from equality import same_values
from made_up import made_up_baseline, made_up_batch, made_up_config, model_config, scrambled
from torch import Tensor
from torch.nn import functional as F

from heterrec_model.baselines.hstu import HSTU, HSTUBlock


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


@torch.no_grad()
def test_a_block_is_that_of_the_paper() -> None:
    block = scrambled(HSTUBlock(model_config(heads=2)))
    random = torch.Generator().manual_seed(1)
    x = torch.randn(3, 4, generator=random, dtype=torch.float64)
    bias = torch.randn(3, 3, generator=random, dtype=torch.float64)
    first, second = block.norms
    u, q = F.silu(block.uq(first(x))).chunk(2, dim=-1)
    v, k = F.silu(block.vk(first(x))).chunk(2, dim=-1)
    rows: list[Tensor] = []
    for t in range(3):
        seen = []
        for head in (slice(0, 2), slice(2, 4)):
            scores = [float(q[t, head] @ k[s, head]) + float(bias[t, s]) for s in range(t + 1)]
            seen.append(sum(silu(score) / (t + 1) * v[s, head] for s, score in enumerate(scores)))
        rows.append(x[t] + block.out(u[t] * second(torch.cat(seen))))
    same_values(block(x[None], bias[None, None])[0], torch.stack(rows))
    at = torch.tensor([1])
    same_values(block(x[None], bias[None, None], at)[0, 0], rows[1])


def test_scores_depend_on_positions_and_times() -> None:
    model = made_up_baseline(made_up_config({"name": "hstu", "item_blocks": 2}))
    assert isinstance(model, HSTU)
    assert model.time_gap is not None
    batch = made_up_batch([4])
    first, second = model.biases(batch)
    assert first is not None
    assert second is not None
    bucket = model.time_gap.buckets(batch.timestamp_BT)[0, 3, 1]
    for layer, p in enumerate((first, second)):
        expected = model.time_gap.table[bucket, layer] + model.position_bias[2, layer]
        same_values(p[0, 0, 3, 1], expected)
