"""Checks the content of a checkpoint's state.json before a run is resumed from it: hashes do not say that it makes sense."""

import json
from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heterrec_model.runs.checkpoints import Checkpoint
from heterrec_model.training.progress import Progress
from heterrec_schemas.errors import CorruptCheckpointError

Size = Annotated[int, Field(ge=0, lt=2**53)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Sum = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Loader(_Part):
    generation: str
    content_sha256: str
    settings: dict[str, Any]
    epoch: Size
    # The loader checks its position in the epoch.


class _Meter(_Part):
    sums: dict[str, Sum]


class _Rank(_Part):
    loader: _Loader
    meter: _Meter


class _State(_Part):
    """What `Trainer` saves."""

    step: Size
    epoch: Size
    generation: dict[str, str]
    progress: Progress
    optimizer: dict[str, Any]
    world: Count
    ranks: list[_Rank]
    device: str
    threads: Count
    torch: str


def check_state(checkpoint: Checkpoint) -> None:
    """Check that a run can be resumed from the state of a checkpoint.

    Raises:
        CorruptCheckpointError: a value is absent, has another type, or contradicts another one.
    """
    where = f"the state of {checkpoint.path} is damaged"
    try:
        # The JSON mode also reads dataclasses strictly.
        state = _State.model_validate_json(json.dumps(checkpoint.state))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise CorruptCheckpointError(f"{where}: {name}: {first['msg']}") from None
    for name in checkpoint.state["progress"]:
        if name not in {field.name for field in fields(Progress)}:
            raise CorruptCheckpointError(f"{where}: progress.{name}: unknown")
    for name, value in vars(state.progress).items():
        if isinstance(value, int) and not 0 <= value < 2**53:
            raise CorruptCheckpointError(f"{where}: progress.{name}", got=value)
    for name, got, expected in (
        ("progress.step", state.progress.step, state.step),
        ("the number of ranks", len(state.ranks), state.world),
    ):
        if got != expected:
            raise CorruptCheckpointError(f"{where}: {name}", got=got, expected=expected)
