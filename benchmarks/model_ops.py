"""The project's lookups and dropout compared with those of PyTorch: forward and backward, at the sizes of a training step.

    python benchmarks/model_ops.py [--threads 1] [--repeats 41]

Shapes: N items, Z groups, D width, B users, T items, L columns of the time-gap table.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from measure import machine
from model_shared import interleaved, median_ms
from torch import Tensor
from torch.nn import functional as F

from heterrec_model.layers.dropout import dropout
from heterrec_model.layers.narrow_lookup import column_lookup, narrow_lookup

Work = Callable[[], None]


def main() -> None:
    """Time each pair in turn and print milliseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=41)
    call = parser.parse_args()
    torch.set_num_threads(call.threads)
    torch.set_deterministic_debug_mode("error")  # as in training
    pairs: dict[str, tuple[Work, Work]] = {}
    for items, groups, width in ((1000, 16, 4), (1000, 64, 4), (2300, 64, 4), (1000, 8, 8)):
        pairs[f"groups: {items} x {groups} of width {width}"] = _groups(items, groups, width)
    for users, longest, columns in ((20, 50, 1), (20, 50, 2), (20, 50, 4), (102, 10, 2)):
        name = f"time gaps: {users} x {longest} x {longest}, {columns} columns"
        pairs[name] = _time_gaps(users, longest, columns)
    for elements in (65_536, 262_144, 524_288):
        pairs[f"dropout: {elements:,} elements"] = _dropout(elements)
    print(f"PyTorch {torch.__version__}, {call.threads} threads; {machine()}")
    print(f"{'':>40} {'own ms':>8} {'PyTorch ms':>11} {'ratio':>6}")
    for name, pair in pairs.items():
        interleaved(pair, 2)
        own, other = (median_ms(times, "wall") for times in interleaved(pair, call.repeats))
        print(f"{name:>40} {own:8.2f} {other:11.2f} {other / own:6.2f}")


def _groups(items: int, groups: int, width: int, size: int = 258) -> tuple[Work, Work]:
    table = torch.randn(groups * size, width, requires_grad=True)
    row_NZ = torch.randint(0, size, (items, groups)) + torch.arange(groups) * size
    works = [partial(lookup, row_NZ, table) for lookup in (narrow_lookup, F.embedding)]
    return _pair(table, [lambda work=work: [work()] for work in works])


def _time_gaps(users: int, longest: int, columns: int) -> tuple[Work, Work]:
    table = torch.zeros(64, columns, requires_grad=True)
    bucket_BTT = torch.randint(0, 64, (users, longest, longest), dtype=torch.int32)
    own = partial(column_lookup, bucket_BTT, table)
    return _pair(table, [own, lambda: F.embedding(bucket_BTT, table).movedim(-1, 0).contiguous()])


def _dropout(elements: int) -> tuple[Work, Work]:
    x = torch.randn(elements // 64, 64, requires_grad=True)
    return _pair(x, [lambda: [dropout(x, 0.2)], lambda: [F.dropout(x, 0.2)]])


def _pair(leaf: Tensor, forwards: Sequence[Callable[[], Sequence[Tensor]]]) -> tuple[Work, Work]:
    """Forward and backward of both, with the same gradients of the results."""
    gradients = [torch.randn_like(x) for x in forwards[0]()]

    def run(forward: Callable[[], Sequence[Tensor]]) -> None:
        leaf.grad = None
        torch.autograd.backward(list(forward()), gradients)

    return partial(run, forwards[0]), partial(run, forwards[1])


if __name__ == "__main__":
    main()
