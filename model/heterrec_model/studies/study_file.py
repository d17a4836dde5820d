"""A study file: the data sets, models, seeds and protocols of a study, in YAML. docs/studies.md describes it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from heterrec_model.config import MOST, describe_error
from heterrec_model.evaluation.metrics import metric_names
from heterrec_schemas.documents import parse_settings
from heterrec_schemas.errors import CallError, suggest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def _listed(value: Any) -> Any:
    """A single value as a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError(f"expected one or more distinct values, got {list(values)}")
    return values


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a name: names are parts of file names, of letters, digits and . _ + -, "
            "and begin with a letter or a digit"
        )
    return name


Name = Annotated[str, AfterValidator(_named)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Values = dict[str, Any]
"""Settings by `section.key`."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(_listed), AfterValidator(_distinct)]
Split = Literal["validation", "test"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StudyData(_Part):
    """A data set."""

    path: str
    """A generation, or an output folder; `study --data NAME=PATH` replaces it."""
    config: str | None = None
    """The configuration of its runs: a YAML file or a shipped one; null: that of the study."""
    set: Values = {}
    """Settings of its runs; a model ignores those that it does not read."""
    splits: Annotated[tuple[Split, ...], BeforeValidator(_listed), AfterValidator(_distinct)] = (
        "validation",
        "test",
    )
    """Splits to evaluate. Runs with refit epochs are not evaluated on the validation split."""
    filter_seen: Annotated[
        tuple[bool, ...], BeforeValidator(_listed), AfterValidator(_distinct)
    ] = (False,)
    """Whether items of the history are left out of the ranking; both values evaluate twice."""
    candidates: Annotated[
        tuple[Literal["known", "all"], ...], BeforeValidator(_listed), AfterValidator(_distinct)
    ] = ("known",)
    """Items that are ranked: see `evaluation.candidates`."""


class StudyModel(_Part):
    """A trained model."""

    title: str | None = None
    """Its name in tables and figures."""
    like: str | None = None
    """Another model, whose config, settings, ablations, data sets and seeds it has unless it has its own; `set` and `ablate`
    add to them."""
    config: str | None = None
    """The configuration: a YAML file or a shipped one; null: that of the data set."""
    set: Values = {}
    """Settings, which the model must read."""
    ablate: Names = ()
    """Ablations by name, as in `train --ablate`."""
    data: Names | None = None
    """Data sets that it is trained on; null: all."""
    seeds: Seeds | None = None
    """Its seeds; null: those of the study. A model that costs much more than the others may have fewer."""
    curve: str | None = None
    """The line of the scaling figure that it is a point of; its number of blocks is N1 + N2."""


class Space(_Part):
    """A range of a setting."""

    low: float | int
    high: float | int
    log: bool = False
    """Whether values are drawn uniformly on a logarithmic scale."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"low: {self.low} must be below high: {self.high}, and above 0 if log")
        return self


class TuneSettings(_Part):
    """The search of `heterrec-model tune`, equal for all models."""

    trials: Annotated[int, Field(ge=1, le=MOST)] = 20
    """Number of trials per model and data set."""
    seed: Seed = 0
    """Of the sampler, and of the runs."""
    space: dict[str, Space | list[Any]] = {}
    """Values by setting: a range (low, high, log) or a list. A model ignores settings that it does not read."""


class Study(_Part):
    """A study."""

    name: Name
    config: str = "cpu"
    """The configuration of all runs: a YAML file or a shipped one."""
    set: Values = {}
    """Settings of all runs; a model ignores those that it does not read."""
    ks: Annotated[tuple[Annotated[int, Field(ge=1, le=MOST)], ...], AfterValidator(_distinct)] = (
        10,
        50,
        100,
        200,
    )
    metric: str = "ndcg@50"
    """The metric of figures that show one, and the one that `tune` maximises."""
    seeds: Seeds = (0, 1, 2)
    data: Annotated[dict[Name, StudyData], Field(min_length=1)]
    models: dict[Name, StudyModel] = {}
    counting: Names = ()
    """Baselines without weights: popular, neighbours, ... or `package:Class`."""
    baselines: Names = ()
    """Models and counting baselines that the lift is relative to: for each metric the best of them."""
    tune: TuneSettings = TuneSettings()

    @model_validator(mode="before")
    @classmethod
    def _empty_entries(cls, body: Any) -> Any:
        """A model without settings, `heterrec:`, is None in YAML."""
        if isinstance(body, dict) and isinstance(body.get("models"), dict):
            models = {name: {} if m is None else m for name, m in body["models"].items()}
            return {**body, "models": models}
        return body

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        known_metrics = metric_names(self.ks)
        if self.metric not in known_metrics:
            problems.append(
                f"metric: there is no {self.metric!r}. {suggest(self.metric, known_metrics)}"
            )
        for name, model in self.models.items():
            chain = [name]
            while (other := self.models[chain[-1]].like) is not None:
                if other not in self.models:
                    problems.append(
                        f"models.{name}.like: there is no model {other!r}. {suggest(other, self.models)}"
                    )
                    break
                if other in chain:
                    problems.append(f"models.{name}.like: {' is like '.join([*chain, other])}")
                    break
                chain.append(other)
            for data in model.data or ():
                if data not in self.data:
                    problems.append(
                        f"models.{name}.data: there is no data set {data!r}. {suggest(data, self.data)}"
                    )
        known = [*self.models, *self.counting]
        for name in sorted({*self.models} & {*self.counting}):
            problems.append(f"{name!r} is a model and a counting baseline: rename the model")
        for name in self.baselines:
            if name not in known:
                problems.append(f"baselines: there is no model {name!r}. {suggest(name, known)}")
        if problems:
            raise ValueError("\n  ".join(problems))
        return self

    def with_paths(self, paths: Sequence[str]) -> "Study":
        """The study with other paths of its data sets, `NAME=PATH` each.

        Raises:
            CallError: a text is not of this form, or the data set does not exist.
        """
        data = dict(self.data)
        for text in paths:
            name, equals, path = text.partition("=")
            if not equals or not path:
                raise CallError(
                    "--data", got=repr(text), expected="NAME=PATH of a data set of the study"
                )
            if name not in data:
                raise CallError(
                    f"--data {text}: the study has no data set {name!r}", todo=suggest(name, data)
                )
            data[name] = data[name].model_copy(update={"path": path})
        return self.model_copy(update={"data": data})

    def model(self, name: str) -> StudyModel:
        """A model with all that it has from those that it is like."""
        own = self.models[name]
        if own.like is None:
            return own
        base = self.model(own.like)
        return own.model_copy(
            update={
                "config": own.config if own.config is not None else base.config,
                "set": {**base.set, **own.set},
                "ablate": tuple(dict.fromkeys([*base.ablate, *own.ablate])),
                "data": own.data if own.data is not None else base.data,
                "seeds": own.seeds if own.seeds is not None else base.seeds,
            }
        )

    def models_of(self, data: str) -> list[str]:
        """The models that are trained on a data set."""
        chosen = [(name, self.model(name).data) for name in self.models]
        return [name for name, only in chosen if only is None or data in only]

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """The seeds of a model."""
        own = self.model(name).seeds
        return self.seeds if own is None else own

    def title(self, name: str) -> str:
        """The name of a model or a counting baseline in tables."""
        return (self.models[name].title if name in self.models else None) or name


def load_study(path: str | Path) -> Study:
    """Read a study file.

    Raises:
        CallError: the file does not exist or is invalid; all errors are reported together.
    """
    file = Path(path)
    try:
        body = parse_settings(file.read_bytes(), str(path))
    except OSError as error:
        raise CallError(
            f"cannot read the study file {path}: {error.strerror}", todo="Name a YAML file."
        ) from None
    if not isinstance(body, dict):
        raise CallError(str(path), got=type(body).__name__, expected="the settings of a study")
    try:
        return Study.model_validate(body)
    except ValidationError as error:
        errors = list(dict.fromkeys(describe_error(detail, Study) for detail in error.errors()))
        raise CallError("\n  ".join([f"{path}: {len(errors)} error(s)", *errors])) from None
