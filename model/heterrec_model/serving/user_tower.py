"""The user tower as a program with named tensors, for torch.export and ONNX.

Shapes: B users, T items, C token columns, D width.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from heterrec_model.bundle.encoder import BEHAVIOURS, LENGTH, OUTPUT, TIMES, TOKENS, USER
from heterrec_model.bundle.files import GRAPH, PROGRAM, WEIGHTS, graph_name
from heterrec_model.data.batch import Batch
from heterrec_model.layers.embedding_tables import ITEM_ID
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import CallError, with_extra

SHORT = (10, 25)
"""Lengths with a graph of their own, where the model reads longer histories."""
LEAST_SHARED = 1024
"""Minimum size in bytes of a weight that the graphs share."""
MOST_USERS = 4096
"""Largest batch of a program."""


class UserTower(nn.Module):
    """A model's user tower. Its inputs are tensors: tokens, times and lengths, then behaviours and user features if read.

    Column 0 of the tokens is the item's row of the id table, if the model has one.
    """

    def __init__(self, model: TwoTowerModel) -> None:
        super().__init__()
        self.model = model
        self.with_ids = model.tables.names[:1] == (ITEM_ID,)
        self.features = model.user_tokens.names if model.user_tokens is not None else []
        self.behaviours = reads_behaviours(model)

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs, in order."""
        names = [TOKENS, TIMES, LENGTH] + [BEHAVIOURS] * self.behaviours
        return names + [USER + name for name in self.features]

    def forward(self, *given: Tensor) -> Tensor:
        """The user vectors, [B, D]."""
        inputs = dict(zip(self.inputs, given, strict=True))
        tokens_BTC, length_B = inputs[TOKENS], inputs[LENGTH]
        tokens_NC = tokens_BTC.flatten(0, 1)
        row_N = tokens_NC[:, 0]
        e_NKD = self.model.tables.embed(row_N, tokens_NC[:, 1:] if self.with_ids else tokens_NC)
        batch = Batch(
            item_BT=tokens_BTC[..., 0],
            timestamp_BT=inputs[TIMES],
            length_B=length_B,
            behaviour_BT=inputs.get(BEHAVIOURS),
            user_features={name: inputs[USER + name] for name in self.features},
            user_ids=(),
        )
        e_BTKD = e_NKD.view(*tokens_BTC.shape[:2], *e_NKD.shape[1:])
        return self.model.vectors_of_last(e_BTKD, batch)


def reads_behaviours(model: TwoTowerModel) -> bool:
    """Whether the behaviours of a history are an input of the model."""
    return bool(model.config.model.behaviour and model.table.behaviours)


@torch.no_grad()
def item_tokens(model: TwoTowerModel) -> Tensor:
    """The model input of every item_index, int32 [I, C]: see `UserTower`."""
    tables = model.tables
    tokens_IC = tables.tokens_IC.int()
    if tables.names[:1] != (ITEM_ID,):
        return tokens_IC
    row_I = tables.known_ids(torch.arange(len(tokens_IC)))
    return torch.cat([row_I.int()[:, None], tokens_IC], dim=1)


def lengths(longest: int) -> list[int]:
    """The lengths with a graph, ascending."""
    return [length for length in SHORT if length < longest] + [longest]


def write_programs(model: TwoTowerModel, folder: Path) -> None:
    """Write user.pt2, and the graphs of all lengths, which share one file of weights.

    Args:
        model: on the CPU, in evaluation mode, with `precision: float32`.
        folder: of the bundle.

    Raises:
        CallError: the packages for ONNX are not installed.
    """
    try:
        import onnx_ir
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise CallError(
            f"export needs the package {error.name}",
            todo=with_extra("export"),
        ) from None
    tower = UserTower(model).eval()
    columns = item_tokens(model).shape[1]
    shared: dict[str, Any] = {}
    longest = model.config.model.max_length
    for length in reversed(lengths(longest)):
        with _quiet(), _without_item_tables(model):
            program = _exported(tower, length, columns)
            made = torch.onnx.export(
                program, input_names=tower.inputs, output_names=[OUTPUT], dynamo=True, verbose=False
            )
        assert made is not None, "with dynamo"
        graph = made.model
        if length == longest:
            onnx_ir.save(
                graph, folder / GRAPH, external_data=WEIGHTS, size_threshold_bytes=LEAST_SHARED
            )
            saved = onnx_ir.load(folder / GRAPH)
            shared = {n: v.const_value for n, v in saved.graph.initializers.items()}
            _save_program(program, folder / PROGRAM)
        else:
            _share(graph, shared)
            onnx_ir.save(graph, folder / graph_name(length, longest))


def _exported(tower: UserTower, length: int, columns: int) -> torch.export.ExportedProgram:
    """The program for a number of items of some columns, and any number of users."""
    users = 2
    batch = torch.export.Dim("users", min=1, max=MOST_USERS)
    given: list[Tensor] = []
    dynamic: list[dict[int, Any]] = []
    sizes: Mapping[str, tuple[tuple[int, ...], torch.dtype]] = {
        TOKENS: ((users, length, columns), torch.int32),
        TIMES: ((users, length), torch.int64),
        LENGTH: ((users,), torch.int64),
        BEHAVIOURS: ((users, length), torch.int64),
    }
    features = {USER + f.name: f for f in tower.model.table.user_features}
    for name in tower.inputs:
        axes: dict[int, Any] = {0: batch}
        if name in sizes:
            shape, dtype = sizes[name]
            given.append(torch.ones(shape, dtype=dtype))
        else:
            feature = features[name]
            # 3: torch.export takes a size of 0 or 1 for a constant
            cell = (3,) if feature.multivalued else (feature.groups,) if feature.groups else ()
            if feature.multivalued:
                axes[1] = torch.export.Dim(f"values_of_{feature.name}", min=1, max=4096)
            given.append(torch.ones((users, *cell), dtype=torch.int64))
        dynamic.append(axes)
    return torch.export.export(tower, tuple(given), dynamic_shapes=(tuple(dynamic),), strict=False)


def _save_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write user.pt2 without example inputs, which PyTorch would pickle."""
    program.example_inputs = None
    torch.export.save(program, path)


def _share(graph: Any, shared: Mapping[str, Any]) -> None:
    """Let the large weights of a graph be those in the file of another one."""
    for name, value in graph.graph.initializers.items():
        known, own = shared.get(name), value.const_value
        if known is None or own is None or own.nbytes < LEAST_SHARED:
            continue
        if known.shape == own.shape and known.dtype == own.dtype and _equal(known, own):
            value.const_value = known


def _equal(one: Any, other: Any) -> bool:
    return bool((one.numpy() == other.numpy()).all())


@contextmanager
def _without_item_tables(model: TwoTowerModel) -> Iterator[None]:
    """Empty the arrays over all items during an export, which would copy them into every program."""
    owners: dict[str, nn.Module] = {
        "tokens_IC": model.tables,
        "trained_I": model.tables,
        "listed_I": model,
        "retired_I": model,
    }
    kept = {name: getattr(owner, name) for name, owner in owners.items()}
    try:
        for name, owner in owners.items():
            setattr(owner, name, kept[name][:1].clone())
        yield
    finally:
        for name, owner in owners.items():
            setattr(owner, name, kept[name])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress and the warnings of the exporter."""
    import logging

    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
