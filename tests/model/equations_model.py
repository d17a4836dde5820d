"""HeterRec and SASRec as wholes, slowly: from a batch and a step's candidates to the loss, by the equations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equations as eq
import torch
from equations_loss import Candidate, level_terms, settled, similarity
from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """By user and item: H_N1 (a vector a token) and U."""

    tokens: list[list[eq.Vectors]]
    users: list[eq.Vectors]


class Model:
    """A model by the equations.

    Args:
        weights: of the package's model, by their names there.
        config: the whole run's.
        table: the made-up items.
    """

    def __init__(self, weights: eq.Weights, config: Any, table: Any) -> None:
        self.weights, self.config, self.table = weights, config, table
        self.trained = (table.train_count_I > 0).tolist()
        if not config.model.share_missing:
            self.trained = [True] * len(self.trained)
        self.names = ["item_id"] * config.model.item_id + [f.name for f in table.features]

    def embeddings(self, item: int) -> eq.Vectors:
        return eq.item_embeddings(eq.below(self.weights, "tables"), self.table, self.trained, item)

    def item(self, item: int) -> tuple[eq.Vectors, Tensor]:
        """v and V. A SASRec of ids alone has no tower."""
        tower = eq.below(self.weights, "tower")
        e = self.embeddings(item)
        return eq.item_tower(tower, e, self.config.model) if tower else (e, e[0])

    def encode(self, batch: Any) -> Encoded:
        """Every user by itself, without padding."""
        encode_one = self.heterrec if self.config.model.name == "heterrec" else self.sasrec
        pairs = [encode_one(batch, b) for b in range(batch.users)]
        return Encoded([tokens for tokens, _ in pairs], [users for _, users in pairs])

    def heterrec(self, batch: Any, b: int) -> tuple[list[eq.Vectors], eq.Vectors]:
        weights, settings = self.weights, self.config.model
        length = int(batch.length_B[b])
        e = [self.embeddings(item) for item in batch.item_BT[b, :length].tolist()]
        tokens, raw = eq.flatten(eq.below(weights, "htfl"), e, self.behaviours(batch, b))
        gaps = self.gaps(batch, b, settings.token_blocks + settings.item_blocks)
        return eq.hierarchical(
            eq.below(weights, "hct"), tokens, raw, self.prefix(batch, b), gaps, settings
        )

    def sasrec(self, batch: Any, b: int) -> tuple[list[eq.Vectors], eq.Vectors]:
        weights, settings = self.weights, self.config.model
        behaviours = self.behaviours(batch, b)
        x = []
        for t, item in enumerate(batch.item_BT[b, : int(batch.length_B[b])].tolist()):
            placed = eq.plain_sum(self.embeddings(item)) + weights["positions"][t]
            if behaviours is not None:
                placed = placed + weights["behaviour.weight"][behaviours[t]]
            x.append(eq.layer_norm(weights, "norm", placed))
        gaps, prefix = self.gaps(batch, b, settings.item_blocks), self.prefix(batch, b)
        if gaps is not None:
            gaps = [[eq.behind(p, len(prefix)) for p in layer] for layer in gaps]
        outputs = eq.stack(eq.below(weights, "blocks"), [*prefix, *x], gaps, 1, settings)
        return [], outputs[len(prefix) :]

    def behaviours(self, batch: Any, b: int) -> list[int] | None:
        if batch.behaviour_BT is None or not self.config.model.behaviour:
            return None
        found: list[int] = batch.behaviour_BT[b, : int(batch.length_B[b])].tolist()
        return found

    def gaps(self, batch: Any, b: int, layers: int) -> list[list[eq.Gaps]] | None:
        settings = self.config.model
        if not (settings.time_gap.enabled and layers) or settings.name == "sasrec":
            return None
        times = batch.timestamp_BT[b, : int(batch.length_B[b])].tolist()
        return eq.time_gaps(self.weights["time_gap.table"], times, layers)

    def prefix(self, batch: Any, b: int) -> eq.Vectors:
        """The user's tokens, which enter at the item level, if there is one."""
        if not self.config.model.item_blocks:
            return []
        own = {}
        for feature in self.table.user_features:
            cell = batch.user_features[feature.name][b].reshape(-1).tolist()
            own[feature.name] = [token for token in cell if token] or cell[:1]
        return eq.user_tokens(eq.below(self.weights, "user_tokens"), own)

    def loss(
        self, batch: Any, candidates: Sequence[Candidate], fewer: Sequence[Candidate]
    ) -> Tensor:
        """Eq. 12: the items' losses on `candidates`, those of every token on `fewer`."""
        loss, negatives = self.config.loss, self.config.negatives
        encoded = self.encode(batch)
        lengths = batch.length_B.tolist()
        histories = [row[:n].tolist() for row, n in zip(batch.item_BT, lengths, strict=True)]
        involved = {i for h in histories for i in h if i} | {c.item for c in [*candidates, *fewer]}
        items = {item: self.item(item) for item in involved}
        same_position = negatives.source == "in_batch_same_position"

        def total(
            name: str, outputs: list[eq.Vectors], vectors: Any, value: Any, shared: Any
        ) -> Tensor:
            heads = [
                (self.weights[f"{name}.steps.{i}.weight"], self.weights[f"{name}.steps.{i}.bias"])
                for i in range(loss.steps)
            ]
            terms = level_terms(
                loss,
                heads,
                outputs,
                histories,
                vectors,
                value,
                None if same_position else shared,
                mask_same_user=negatives.mask_same_user,
            )
            return settled(terms, loss.step_weights or [1.0] * loss.steps, loss.normalise)

        whole = {item: vectors[1] for item, vectors in items.items()}
        found = total("item_lmp", encoded.users, whole, lambda item: item, candidates)
        if self.config.model.name != "heterrec" or loss.token_weight == 0:
            return found
        for s, name in enumerate(self.names):
            outputs = [[tokens[s] for tokens in user] for user in encoded.tokens]
            vectors = {item: pair[0][s] for item, pair in items.items()}
            part = total(f"token_lmp.feature_{name}", outputs, vectors, self.value_of(name), fewer)
            weight = len(self.names) if loss.token_weight == "sum" else loss.token_weight
            found = found + weight / len(self.names) * part
        return found

    def value_of(self, name: str) -> Any:
        """What an item is at the level of a token: itself, or its cell."""
        if name == "item_id":
            return lambda item: item
        (feature,) = (f for f in self.table.features if f.name == name)
        rows = self.table.tokens_IC.tolist()

        def cell(item: int) -> Any:
            tokens = rows[item][feature.start : feature.start + feature.columns]
            return frozenset(tokens) - {0} if feature.multivalued else tuple(tokens)

        return cell


def as_candidates(drawn: Any) -> list[Candidate]:
    """The package's candidates, for the equations."""
    return [
        Candidate(item, log_q, None if user < 0 else user)
        for item, log_q, user in zip(
            drawn.item_C.tolist(), drawn.log_q_C.tolist(), drawn.user_C.tolist(), strict=True
        )
    ]


def scores(model: Model, batch: Any, items: Sequence[int]) -> Tensor:
    """[users, items]: the similarity of W_1 u at each user's last item with V."""
    weights, loss = model.weights, model.config.loss
    rows = []
    for user in model.encode(batch).users:
        query = weights["item_lmp.steps.0.weight"] @ user[-1] + weights["item_lmp.steps.0.bias"]
        rows.append(torch.stack([similarity(loss, query, model.item(i)[1]) for i in items]))
    return torch.stack(rows)
