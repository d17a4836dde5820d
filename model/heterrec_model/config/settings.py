"""The settings of a run: sections of frozen settings, validated on construction.

Every setting and its default is defined once, here. A config that exists is trusted.
"""

from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from heterrec_model.model_settings import DEFAULT_MODEL

# The bounds are above what any machine can hold or run; a mistyped size is refused instead of tried.
MOST = 2**20
"""Largest value of a count."""
Few = Annotated[int, Field(ge=1, le=1024)]
FewOrNone = Annotated[int, Field(ge=0, le=1024)]
Count = Annotated[int, Field(ge=1, le=MOST)]
Many = Annotated[int, Field(ge=1, lt=2**31)]
Size = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TimeGapConfig(_Section):
    """The time-gap bias P of Eq. 1 and 2."""

    enabled: bool = True
    buckets: Annotated[int, Field(ge=2, le=2**20)] = 64
    """Number of buckets, log-spaced from one second to ten years; gaps below a second have their own bucket."""
    per_head: bool = False
    """One scalar per bucket and head instead of one per bucket."""


class ItemTowerConfig(_Section):
    """The item tower: one MLP per token, then an MLP over their concatenation."""

    id_skip: bool = True
    """Add the embedding of the item id to the tower's output; false as in the paper."""
    token_skip: bool = True
    """Add each token's embedding to its MLP's output, and their sum to the tower's output; false as in the paper."""


class RepeatsConfig(_Section):
    """The repeat term: an item's score for a user who had it before also depends on how often and how long ago."""

    enabled: bool = False
    similarity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of the similarity in the score of items that the user had before."""
    earlier: Annotated[int, Field(ge=0, le=MOST)] = 32
    """Maximum number of items per user that are drawn from the row's items before the history as negatives, weighted to
    represent all of them."""


class ClozeConfig(_Section):
    """The items that the training of BERT4Rec masks."""

    mask_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Probability of each item of a history to be masked; a history without a masked item has its last one masked."""
    last_only: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the histories in which only the last item is masked, as at inference."""


class FrozenConfig(_Section):
    """Files with the vectors of the items for one embedding feature."""

    files: str
    """A Parquet file, or a glob of several."""
    key: str | None = None
    """Column of the item ids; null: `items.key` of the feature spec."""
    column: str | None = None
    """Column of the vectors; null: the column of the feature in the spec."""


class ModelConfig(_Section):
    """The network. The defaults had the best metrics; `paper.yaml` follows the paper."""

    name: str = DEFAULT_MODEL
    """heterrec, the name of a trained baseline (see heterrec_model.registry), or a class such as my_package:MyModel."""
    width: Annotated[int, Field(ge=1, le=2**16)] = 64
    """D: width of token, user and item vectors."""
    heads: Few = 2
    token_blocks: FewOrNone = 2
    """N1: number of token-level blocks."""
    item_blocks: FewOrNone = 2
    """N2: number of item-level blocks."""
    ffn_multiplier: Few = 4
    """Inner width of Eq. 6, in multiples of D."""
    dropout: Share = 0.2
    """Dropout of the input tokens, the fused items and the output of each sublayer."""
    attention_dropout: Share = 0.0
    """Dropout of attention weights. FlexAttention does not support it: above 0, a GPU uses the chunked method."""
    norm: Literal["post", "pre"] = "post"
    """Position of LayerNorm: post is Eq. 7, pre suits deep stacks."""
    max_length: Count = 50
    """T: maximum number of items of a history; longer histories keep their last items. Training on a generation with
    `train_windows: all` cuts its rows into pieces of this length instead."""
    features: tuple[str, ...] | None = None
    """Item features that become tokens; null: all features of the generation."""
    item_id: bool = True
    """Whether the item id is a token too."""
    user_features: tuple[str, ...] | None = None
    """User features that become prefix tokens of the item level; null: all features of the generation."""
    behaviour: bool = True
    """Whether the behaviour of an interaction, if the generation has behaviours, is a token of the user tower."""
    literal: bool = False
    """HTFL as in the paper: neither position nor feature-type embeddings."""
    embedding_width: Count | Literal["width"] = 256
    """Minimum d_f of an embedding feature: rounded up to a multiple of its groups Z, then projected to D. `width` is d_f = D
    without a projection, as in the paper; Z must divide D."""
    group_tables: Literal["each", "shared"] = "each"
    """Whether each group of an embedding feature has its own table, or all share the table E_v, as in the paper."""
    embedding_init: Literal["quantizer", "random"] = "quantizer"
    """Initial group tables: the centres of their bins or their centroids, or random like all other tables."""
    frozen: dict[str, FrozenConfig] = {}
    """Embedding features whose frozen vectors, in one linear projection, replace their tokens: the ablation of MFK. Training
    reads the files; checkpoints contain the vectors."""
    table_std: Positive = 0.02
    """Standard deviation of the tables' normal initialisation."""
    id_dropout: Share = 0.1
    """Share of item ids that training replaces by the id for missing, in both towers."""
    share_missing: bool = True
    """Whether items without training interactions have the embedding of the id for missing; false: their own initial one."""
    token_mask: Literal["item", "causal"] = "item"
    """A token attends to all tokens of its own item, or only up to itself (Eq. 3)."""
    time_gap: TimeGapConfig = TimeGapConfig()
    cloze: ClozeConfig = ClozeConfig()
    raw_skip: bool = True
    """Skip connection past the token blocks: LN(fuse(H) + LN(sum_k e^k + position)); false as in the paper."""
    item_tower: ItemTowerConfig = ItemTowerConfig()
    token_heads: bool = False
    """Whether the score of an item is the sum of its similarity and of those of its tokens, with learned weights."""
    repeats: RepeatsConfig = RepeatsConfig()
    attention: Literal["auto", "chunked", "dense", "flex"] = "auto"
    """Method of attention. auto: chunked on CPUs, flex on CUDA GPUs; dense is the reference."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width: {self.width} is not divisible by heads: {self.heads}")
        if not self.item_id and self.features == ():
            raise ValueError("an item needs a token: name features, or set item_id: true")
        if self.group_tables == "shared" and self.embedding_init == "quantizer":
            raise ValueError(
                "group_tables: shared has no bins of its own to start from: set embedding_init: random"
            )
        if self.attention == "flex" and self.attention_dropout:
            raise ValueError(
                "attention: flex does not support attention_dropout: set it to 0, or use auto"
            )
        return self


Normalise = Literal["possible", "open", "sum"]
"""Values of `loss.normalise`."""


class DenseConfig(_Section):
    """The dense all-action loss of PinnerFormer: a random later item is the target, instead of the next one."""

    weight: Weight = 0.0
    """Weight of the loss beside that of the steps; PinnerFormer has this loss alone and does not read the weight."""

    window_days: Positive | None = 28.0
    """Time after a position from which its target is drawn, in days; null: the whole rest of the history."""
    positions: Count = 32
    """Maximum number of positions of a history that have a target."""


class LossConfig(_Section):
    """LMP, Eq. 8 to 12."""

    similarity: Literal["cosine", "dot"] = "cosine"
    temperature: Positive = 0.07
    """tau: divides the similarities."""
    steps: Few = 3
    """N_step: number of steps ahead that are predicted."""
    step_weights: tuple[Weight, ...] | None = None
    """Weight of each step; null: 1 for all."""
    step_init: Literal["identity", "random"] = "identity"
    """Initial W_i of every step."""
    gate: bool = True
    """Whether the indicator of Eq. 11 is applied; false: plain multi-step prediction."""
    margin: Positive = 1.0
    """lambda_m: margin of Eq. 11."""
    token_weight: Weight | Literal["sum"] = 1.0
    """w: each token-level loss has the weight w / K; `sum` is w = K, as in the paper; 0 disables them."""
    dense: DenseConfig = DenseConfig()
    normalise: Normalise = "possible"
    """Divisor of a step's sum of losses: the number of positions that have a target at this step, the number of those whose
    gate is open, or 1 (the sum of Eq. 10 and 11)."""

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
    """Source of the negatives in the denominator of the loss."""

    source: Literal["mixed", "in_batch", "uniform", "in_batch_same_position", "catalogue"] = "mixed"
    """in_batch_same_position is Eq. 9; catalogue scores every item with training interactions (full cross-entropy)."""
    in_batch: Count = 512
    """Maximum number of in-batch candidates."""
    uniform: Count = 512
    """Number of candidates drawn from the catalogue, with replacement."""
    token: Count = 256
    """Maximum number of candidates of the token-level losses: the first of the item-level candidates."""
    uniform_from: Literal["trained", "catalogue"] = "trained"
    """Drawn from the items with training interactions, or from all items."""
    logq: Literal["mixture", "source", "none"] = "mixture"
    """Correction of negative logits by the log of the expected count: over all sources, or over the candidate's own."""
    mask_same_user: bool = False
    """Whether in-batch items of the same user are excluded from the negatives."""
    gather: bool = False
    """Whether ranks share their in-batch candidates, with gradients."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gather and self.source == "in_batch_same_position":
            raise ValueError(
                "gather: in_batch_same_position uses the positions of its own rank only"
            )
        return self


class DataConfig(_Section):
    """The loader."""

    batch_items: Many = 1024
    """Maximum number of users times the longest history (at most max_length) per batch."""
    batch_users: Count = 512
    """Maximum number of users per batch."""
    shuffle_rows: Many = 65536
    """Number of rows that are shuffled and grouped by length at a time: bounds memory."""
    length_buckets: bool = True
    """Whether batches group histories of similar length; false: shuffled order."""
    workers: FewOrNone = 0
    """Number of loader processes; 0: the training process reads."""
    prefetch: Few = 4
    """Number of batches that each worker prepares in advance."""


class TrainConfig(_Section):
    """The training loop."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    epochs: Many = 10
    refit_epochs: Size = 0
    """Further epochs, which also train on the validation split: without validation; `best` is then the last checkpoint."""
    max_steps: Many | None = None
    """Maximum number of optimiser steps; the schedule ends there too."""
    learning_rate: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.98)
    weight_decay: Weight = 0.01
    """Of AdamW; biases, norms and time-gap tables are excluded."""
    warmup_steps: Size = 200
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay of the learning rate after the warm-up, to 0 at the last step (except constant)."""
    clip_norm: Weight = 1.0
    """Maximum norm of the gradients; 0 disables clipping."""
    accumulate: Count = 1
    """Number of batches per optimiser step."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 runs the network under autocast; loss and weights stay float32."""
    compile: bool = False
    sparse_tables: bool = False
    """Sparse gradients and SparseAdam for the item-id table: a step updates only the rows in use. Not on several GPUs."""
    device: str = "auto"
    """auto: a CUDA GPU if available, else the CPU."""
    threads: Few | None = None
    """Number of PyTorch threads; a resumed run is bit-identical only with the same number."""
    checkpoint_every: Many | None = None
    """Steps between checkpoints; null: at the end of every epoch."""
    validate_every: Many | None = None
    """Steps between validations; null: at the end of every epoch."""
    validate_users: Many | None = None
    """Maximum number of users per validation; null: all."""
    metric: str = "ndcg@50"
    """Validation metric that decides `best` and early stopping."""
    patience: Many | None = None
    """Number of validations without improvement before the run stops; null: never. Excludes refit_epochs."""
    log_every: Many = 10
    """Steps between lines of metrics.jsonl and TensorBoard points."""
    tensorboard: bool = True
    mlflow: bool = False
    """Whether settings and metrics are sent to the MLflow server that MLFLOW_TRACKING_URI names; needs the extra `mlflow`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.patience is not None and self.refit_epochs:
            raise ValueError(
                "patience: early stopping would skip the refit_epochs; set only one of the two"
            )
        return self


class EvaluationConfig(_Section):
    """Ranking of the candidates."""

    ks: tuple[Count, ...] = (10, 50, 100, 200)
    candidates: Literal["known", "all"] = "known"
    """Items that are ranked. known: with a temporal split those known at the cut, by an interaction of any user or by
    `items.available_from`; with leave_one_out all. all: the whole catalogue, which includes items of the future."""
    filter_seen: bool = False
    """Whether items of the history are left out of the ranking, unless they are targets."""
    batch_users: Count = 256
    """Number of users scored at a time."""
    chunk_items: Many = 65536
    """Number of items scored at a time: memory is batch_users x chunk_items floats."""


class WarmStartConfig(_Section):
    """The run whose weights a warm-started run begins with, as `train --warm-start` records it."""

    run: str
    """Its folder."""
    checkpoint: str
    """Name of its checkpoint, such as step-00000120."""
    sha256: str
    """SHA-256 of the weights of the checkpoint."""
    generation: str
    """Id of the generation that the run was trained on."""
    content_sha256: str
    """Hash of the content of that generation."""
    refit: bool
    """Whether the run, or one that it was warm-started from, was also trained on the validation split."""


class Config(_Section):
    """Configuration of a run."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    negatives: NegativesConfig = NegativesConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    warm_start: WarmStartConfig | None = None
    """Recorded by `train --warm-start`, not set by hand. `model.features` and `model.user_features` are then in the order of
    the tokens."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model.repeats.enabled and self.negatives.source == "in_batch_same_position":
            raise ValueError(
                "model.repeats: needs negatives that all positions share; in_batch_same_position has none"
            )
        if self.model.token_heads and not self.loss.token_weight:
            raise ValueError(
                "model.token_heads: needs token-level losses: set loss.token_weight above 0"
            )
        return self

    def to_yaml(self) -> str:
        """The config as YAML text with all settings."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def trained_on_validation(config: Config) -> bool:
    """Whether a run is also trained on the validation split, by itself or by the run that it was warm-started from."""
    before = config.warm_start is not None and config.warm_start.refit
    return before or config.train.refit_epochs > 0
