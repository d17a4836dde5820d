"""What a run is told: one YAML file, sections of frozen settings that check themselves when they are made.

Every setting is stated once, here, with its default. `load_config` reads a file or the name of a shipped configuration
(`paper`, `cpu`, `gpu`) and applies `key=value` overrides; past that point a config is trusted.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from heterrec_schemas.errors import CallError, suggest

Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TimeGapConfig(_Section):
    """The time-gap bias P of Eq. 1 and 2."""

    enabled: bool = True
    buckets: Annotated[int, Field(ge=2)] = 64
    """Log-spaced from one second to ten years; a gap of 0 has a bucket of its own."""
    per_head: bool = False
    """One scalar a bucket and head instead of one a bucket."""


class ItemTowerConfig(_Section):
    """The item side: a token-level MLP each, then an MLP over their concatenation."""

    id_skip: bool = True
    """Add the item id's own embedding to the tower's output; false is the paper's letter."""
    token_skip: bool = True
    """Add each token's embedding to its MLP's output, and their sum to the tower's; false is the paper's letter."""


class ModelConfig(_Section):
    """The network. The defaults are what measured best; `paper.yaml` is the paper's letter."""

    name: str = "heterrec"
    """heterrec, or a baseline by its name (see heterrec_model.baselines)."""
    width: Count = 64
    """D: of tokens, users and items."""
    heads: Count = 2
    token_blocks: Size = 2
    """N1."""
    item_blocks: Size = 2
    """N2."""
    ffn_multiplier: Count = 4
    """Inner width of Eq. 6, in multiples of D."""
    dropout: Share = 0.2
    """Of the tokens that enter, of the fused items and of each sublayer's output."""
    attention_dropout: Share = 0.0
    """Of attention weights; FlexAttention knows none, so that a GPU trains by the chunked way above 0."""
    norm: Literal["post", "pre"] = "post"
    """Post-LN is Eq. 7; pre-LN for deep stacks."""
    max_length: Count = 50
    """T: a history's last items that the model sees; longer ones are cut."""
    features: tuple[str, ...] | None = None
    """Item features that become tokens; left out: all of the generation's."""
    item_id: bool = True
    """The item's id is a token too."""
    user_features: tuple[str, ...] | None = None
    """User features that become prefix tokens of the item level; left out: all of the generation's."""
    behaviour: bool = True
    """The behaviour of every interaction is a token of the user's side, where the generation has one."""
    literal: bool = False
    """The paper's letter in HTFL: neither position nor feature-type embeddings."""
    embedding_width: Count = 256
    """d_f of an embedding feature, at least: rounded up to a multiple of its groups Z, then projected to D."""
    embedding_init: Literal["quantizer", "random"] = "quantizer"
    """Group tables start at the mid-points of their bins, or at random as all other tables."""
    table_std: Positive = 0.02
    """Standard deviation of the tables' normal initialisation."""
    id_dropout: Share = 0.1
    """Share of item ids that are replaced by `unknown` in training, in both towers."""
    token_mask: Literal["item", "causal"] = "item"
    """A token sees all tokens of its own item, or only those up to itself (Eq. 3)."""
    time_gap: TimeGapConfig = TimeGapConfig()
    raw_skip: bool = True
    """Past the token blocks: LN(fuse(H) + LN(sum_k e^k + position)); false is the paper's letter."""
    item_tower: ItemTowerConfig = ItemTowerConfig()
    attention: Literal["auto", "chunked", "dense", "flex"] = "auto"
    """auto: chunked on CPUs, flex on CUDA GPUs; dense is the plain reference."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width: {self.width} is not divisible by heads: {self.heads}")
        if not self.item_id and self.features == ():
            raise ValueError("an item needs a token: name features, or set item_id: true")
        if self.attention == "flex" and self.attention_dropout:
            raise ValueError(
                "attention: flex knows no attention_dropout: set it to 0, or take auto"
            )
        return self


class LossConfig(_Section):
    """LMP, Eq. 8 to 12."""

    similarity: Literal["cosine", "dot"] = "cosine"
    temperature: Positive = 0.07
    """tau."""
    steps: Count = 3
    """N_step."""
    step_weights: tuple[Weight, ...] | None = None
    """A weight for each step; left out: 1 for all."""
    gate: bool = True
    """The indicator of Eq. 11; false: plain multi-step prediction."""
    margin: Positive = 1.0
    """lambda_m of Eq. 11."""
    token_weight: Weight | Literal["sum"] = 1.0
    """w: the token-level losses count w / K each; `sum` is the paper's, w = K; 0 leaves them out."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.step_weights is not None and len(self.step_weights) != self.steps:
            raise ValueError(f"step_weights: got {len(self.step_weights)} for steps: {self.steps}")
        return self

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of every step."""
        return self.step_weights if self.step_weights is not None else (1.0,) * self.steps


class NegativesConfig(_Section):
    """Where the other items of a loss's denominator come from."""

    source: Literal["mixed", "in_batch", "uniform", "in_batch_same_position", "catalogue"] = "mixed"
    """in_batch_same_position is Eq. 9; catalogue scores every item that was trained on (full cross-entropy)."""
    in_batch: Count = 512
    """At most this many positions of the batch lend their item."""
    uniform: Count = 512
    """Items drawn from the catalogue, with replacement."""
    token: Count = 256
    """Candidates of the token-level losses: the first of the item-level ones."""
    uniform_from: Literal["trained", "catalogue"] = "trained"
    """Items with an interaction in the training sequences, or all."""
    logq: Literal["mixture", "source", "none"] = "mixture"
    """Subtract from a negative's logit the log of its expected count: under all sources together, or under its own."""
    mask_same_user: bool = False
    """In-batch items of the same user are no negatives."""
    gather: bool = False
    """Share in-batch candidates among the ranks, with gradients."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gather and self.source == "in_batch_same_position":
            raise ValueError(
                "gather: in_batch_same_position knows the positions of its own rank only"
            )
        return self


class DataConfig(_Section):
    """The loader."""

    batch_items: Count = 1024
    """A batch is closed before users times its longest history (both cut to max_length) exceeds this."""
    batch_users: Count = 512
    """... or when it has this many users."""
    shuffle_rows: Count = 65536
    """Rows that are held, shuffled and sorted into batches of like length at a time: bounds memory."""
    length_buckets: bool = True
    """Put histories of like length together; false: batches in shuffled order."""
    workers: Size = 0
    """Processes that read and batch; 0 does it in the training process."""
    prefetch: Count = 4
    """Batches that each worker holds ready."""


class TrainConfig(_Section):
    """The training loop."""

    seed: Size = 0
    epochs: Count = 10
    refit_epochs: Size = 0
    """Epochs after those, which also train on the validation split; then nothing is validated and `best` is the end."""
    max_steps: Count | None = None
    """Stop after this many optimiser steps, however many epochs are left; the schedule ends there too."""
    learning_rate: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.98)
    weight_decay: Weight = 0.01
    """Of AdamW; biases, norms and time-gap tables are spared."""
    warmup_steps: Size = 200
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """After the warm-up, down to 0 at the last step."""
    clip_norm: Weight = 1.0
    """0 does not clip."""
    accumulate: Count = 1
    """Batches whose gradients make one step."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 runs the network under autocast; the loss and the weights stay float32."""
    compile: bool = False
    sparse_tables: bool = False
    """Item-id rows get sparse gradients and SparseAdam: a step touches only the rows it saw. Not on several GPUs."""
    device: str = "auto"
    """auto: a CUDA GPU where there is one, else the CPU."""
    threads: Count | None = None
    """PyTorch's threads; a resumed run is equal bit for bit only with as many."""
    checkpoint_every: Count | None = None
    """Steps; left out: at every epoch's end."""
    validate_every: Count | None = None
    """Steps; left out: at every epoch's end."""
    validate_users: Count | None = None
    """Validate on the first users only; left out: on all."""
    metric: str = "ndcg@50"
    """Of the validation split; decides `best` and early stopping."""
    patience: Count | None = None
    """Stop after this many validations without a better metric; left out: never. Not together with refit_epochs."""
    log_every: Count = 10
    """Steps between lines of metrics.jsonl and TensorBoard."""
    tensorboard: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.patience is not None and self.refit_epochs:
            raise ValueError(
                "patience: an early end would skip the refit_epochs; set one of them only"
            )
        return self


class EvaluationConfig(_Section):
    """Ranking over the full catalogue."""

    ks: tuple[Count, ...] = (10, 50, 100, 200)
    filter_seen: bool = False
    """Leave a history's items out of the ranking, unless they are targets."""
    batch_users: Count = 256
    """Users scored at a time."""
    chunk_items: Count = 65536
    """Items scored at a time: memory is batch_users x chunk_items floats."""


class Config(_Section):
    """A whole run."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    negatives: NegativesConfig = NegativesConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def to_yaml(self) -> str:
        """The config as YAML text, every setting written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def shipped_configs() -> list[str]:
    """The names of the configurations that come with the package."""
    folder = resources.files("heterrec_model") / "configs"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration and apply overrides.

    Args:
        path: a YAML file, or the name of a shipped configuration, such as `cpu`.
        overrides: `section.key=value`, the value in YAML.

    Raises:
        CallError: there is no such file or setting, or a value does not fit; all mistakes are named.
    """
    settings = _read(path)
    for override in overrides:
        _apply(settings, override)
    return parse_config(settings, where=str(path))


def parse_config(settings: dict[str, Any], where: str) -> Config:
    """A config from plain settings; `where` names their source in messages.

    Raises:
        CallError: a setting is unknown or does not fit; all mistakes are named.
    """
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        mistakes = list(dict.fromkeys(_describe(mistake) for mistake in error.errors()))
        raise CallError("\n  ".join([f"{where}: {len(mistakes)} mistake(s)", *mistakes])) from None


def _read(path: str | Path) -> dict[str, Any]:
    file = Path(path)
    shipped = (
        resources.files("heterrec_model") / "configs" / f"{str(path).removesuffix('.yaml')}.yaml"
    )
    if file.is_file():
        text = file.read_text(encoding="utf-8")
    elif file.parent == Path() and shipped.is_file():
        text = shipped.read_text(encoding="utf-8")
    else:
        raise CallError(
            f"there is no configuration {path}",
            expected=f"a YAML file, or one of {', '.join(shipped_configs())}",
        )
    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CallError(f"{path} is no YAML: {error}") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise CallError(str(path), got=type(settings).__name__, expected="sections with settings")
    # a section whose every line is commented out is None
    return {name: section for name, section in settings.items() if section is not None}


def _apply(settings: dict[str, Any], override: str) -> None:
    """Put `section.key=value` into the settings."""
    name, found, text = override.partition("=")
    if not found or not name.strip():
        raise CallError("--set", got=repr(override), expected="key=value, such as train.seed=1")
    *sections, key = name.strip().split(".")
    for section in sections:
        inner = settings.setdefault(section, {})
        if not isinstance(inner, dict):
            raise CallError(f"--set {override}", got=f"{section} is no section")
        settings = inner
    try:
        settings[key] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CallError(f"--set {override}: the value is no YAML: {error}") from None


def _describe(mistake: Any) -> str:
    """One of pydantic's findings in words, with suggest names for a misspelt setting."""
    section: Any = Config
    known: list[str] = []
    for part in mistake["loc"]:
        fields = getattr(section, "model_fields", {})
        if part in fields:
            section = fields[part].annotation
        elif not isinstance(part, int):
            break  # misspelt, or one of several types that a setting may have
        known.append(str(part))
    if mistake["type"] == "extra_forbidden":
        place, fields = ".".join(map(str, mistake["loc"])), section.model_fields
        return f"{place}: there is no such setting. {suggest(mistake['loc'][-1], fields)}"
    got = "" if mistake["type"] == "value_error" else f" (got {mistake['input']!r})"
    place = ".".join(known) or "the whole"
    return f"{place}: {mistake['msg'].removeprefix('Value error, ')}{got}"
