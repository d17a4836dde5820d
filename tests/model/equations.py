"""The user's and the item's side, slowly: vectors in lists, loops over users, items, tokens and heads.

Written from the paper's equations and the design's words; shares no code with the package and uses nothing of
torch.nn. Weights come as a dict by name; `below` goes into a part. Histories are treated one by one, each at its own
length, so that there is no padding to get wrong. What is taken over from the package is the layout of its weights:
`qkv` holds the rows of W^Q, W^K and W^V in this order, each head's rows after one another.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Vectors = list[Tensor]
Gaps = Sequence[Sequence[Tensor]]
"""P of one head: a scalar for each pair of items, by the query's and the key's place."""

TEN_YEARS_S = 10 * 365.25 * 24 * 60 * 60


def below(weights: Weights, name: str) -> Weights:
    """The weights of a part, by their names inside it."""
    return {k.removeprefix(f"{name}."): w for k, w in weights.items() if k.startswith(f"{name}.")}


def affine(weights: Weights, name: str, x: Tensor) -> Tensor:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def relu(x: Tensor) -> Tensor:
    return torch.stack([value if value > 0 else value * 0 for value in x])


def layer_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.sum() / len(x)
    spread = torch.sqrt((centred * centred).sum() / len(x) + 1e-5)
    return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def plain_sum(vectors: Sequence[Tensor]) -> Tensor:
    total = vectors[0]
    for vector in vectors[1:]:
        total = total + vector
    return total


# Section 2.3: what an item is


def item_embeddings(tables: Weights, info: Any, trained: Sequence[bool], item: int) -> Vectors:
    """e^1 .. e^K of one item: its id, if that is a token, then its features.

    Args:
        tables: `item_id.weight` if the id is a token, `tables.feature_<name>.weight`, `tables.feature_<name>.project.weight`.
        info: has `features` (name, kind, size, start, columns) and `tokens_IC`.
        trained: whether each item has a row of its own in the id table; the others share row 1.
        item: the item.
    """
    found = []
    if "item_id.weight" in tables:
        found.append(tables["item_id.weight"][item if trained[item] else 1])
    for feature in info.features:
        row = info.tokens_IC[item].tolist()[feature.start : feature.start + feature.columns]
        table = tables[f"tables.feature_{feature.name}.weight"]
        if feature.kind == "embedding":
            # Z tables, below one another, or one
            own = 0 if len(table) == feature.size else feature.size
            found.append(torch.cat([table[z * own + token] for z, token in enumerate(row)]))
            project = f"tables.feature_{feature.name}.project.weight"
            if project in tables:
                found[-1] = tables[project] @ found[-1]
        else:
            values = [table[token] for token in row if token != 0]
            found.append(plain_sum(values) / len(values))
    return found


def flatten(
    weights: Weights, embeddings: Sequence[Vectors], behaviours: Sequence[int] | None
) -> tuple[list[Vectors], Vectors]:
    """HTFL of one history: the K tokens of every item, and every item's raw sum."""
    tokens, raw = [], []
    for t, item in enumerate(embeddings):
        own = list(item)
        if behaviours is not None and "behaviour.weight" in weights:
            own.append(weights["behaviour.weight"][behaviours[t]])
        raw.append(plain_sum(own))
        if "positions" in weights:
            position = weights["positions"][t]
            raw[-1] = raw[-1] + position
            placed = [e + position + weights["types"][k] for k, e in enumerate(own)]
            own = [layer_norm(weights, "norm", e) for e in placed]
        tokens.append(own)
    return tokens, raw


# Section 2.4: attention


def gap_bucket(gap_ms: int, buckets: int) -> int:
    """TGBkt: 0 below a second (and for negative gaps), then log-spaced, the last one from ten years on."""
    seconds = gap_ms / 1000
    if seconds < 1:
        return 0
    steps = buckets - 2
    if steps == 0 or seconds >= TEN_YEARS_S:
        return buckets - 1
    return 1 + math.floor(steps * math.log(seconds) / math.log(TEN_YEARS_S))


def time_gaps(table: Tensor, times_ms: Sequence[int], layers: int) -> list[list[Gaps]]:
    """P by layer and by group of heads: looked up for every pair of items, Eq. 2."""
    groups = table.shape[1] // layers
    pairs = [[gap_bucket(query - key, len(table)) for key in times_ms] for query in times_ms]
    return [
        [[[table[b, layer * groups + g] for b in row] for row in pairs] for g in range(groups)]
        for layer in range(layers)
    ]


def attend(q: Vectors, k: Vectors, v: Vectors, p: Gaps | None, tokens: int, mask: str) -> Vectors:
    """Eq. 1 and 3 of one head. Tokens stand item by item, `tokens` each."""
    outputs = []
    for a in range(len(q)):
        seen = [
            b for b in range(len(k)) if (b <= a if mask == "causal" else b // tokens <= a // tokens)
        ]
        scores = []
        for b in seen:
            score = (q[a] * k[b]).sum()
            if p is not None:
                score = score + p[a // tokens][b // tokens]
            scores.append(score / math.sqrt(len(k[b])))
        shares = [torch.exp(s) for s in scores]
        whole = plain_sum(shares)
        outputs.append(plain_sum([s / whole * v[b] for s, b in zip(shares, seen, strict=True)]))
    return outputs


def multi_head(
    weights: Weights, x: Vectors, gaps: list[Gaps] | None, tokens: int, settings: Any
) -> Vectors:
    """Eq. 4 and 5."""
    width, heads = settings.width, settings.heads
    each = width // heads
    projected = [affine(weights, "qkv", token) for token in x]
    by_head = []
    for h in range(heads):
        q, k, v = (
            [token[part * width + h * each : part * width + (h + 1) * each] for token in projected]
            for part in range(3)
        )
        p = None if gaps is None else gaps[h if len(gaps) > 1 else 0]
        by_head.append(attend(q, k, v, p, tokens, settings.token_mask))
    joined = [torch.cat([head[s] for head in by_head]) for s in range(len(x))]
    return [affine(weights, "out", token) for token in joined]


def feed_forward(weights: Weights, x: Tensor) -> Tensor:
    """Eq. 6."""
    return affine(weights, "outer", relu(affine(weights, "inner", x)))


def causal_block(
    weights: Weights, x: Vectors, gaps: list[Gaps] | None, tokens: int, settings: Any
) -> Vectors:
    """Eq. 7, or pre-LN."""
    attention, ffn = below(weights, "attention"), below(weights, "feed_forward")
    if settings.norm == "pre":
        normed = [layer_norm(weights, "norms.0", token) for token in x]
        seen = multi_head(attention, normed, gaps, tokens, settings)
        x = [token + s for token, s in zip(x, seen, strict=True)]
        return [t + feed_forward(ffn, layer_norm(weights, "norms.1", t)) for t in x]
    seen = multi_head(attention, x, gaps, tokens, settings)
    x = [layer_norm(weights, "norms.0", t + s) for t, s in zip(x, seen, strict=True)]
    return [layer_norm(weights, "norms.1", t + feed_forward(ffn, t)) for t in x]


def stack(
    weights: Weights, x: Vectors, gaps: list[list[Gaps]] | None, tokens: int, settings: Any
) -> Vectors:
    """N blocks; pre-LN ends in a norm of its own."""
    layers = 1 + max((int(name.split(".")[1]) for name in weights if "blocks." in name), default=-1)
    for n in range(layers):
        own = None if gaps is None else gaps[n]
        x = causal_block(below(weights, f"blocks.{n}"), x, own, tokens, settings)
    if layers and settings.norm == "pre":
        x = [layer_norm(weights, "last_norm", token) for token in x]
    return x


def fuse(weights: Weights, tokens: Vectors, raw: Tensor, settings: Any) -> Tensor:
    """K * D -> 2 D -> D over one item's tokens, and the raw skip."""
    fused = affine(weights, "outer", relu(affine(weights, "inner", torch.cat(tokens))))
    if not settings.raw_skip:
        return fused
    return layer_norm(weights, "norms.1", fused + layer_norm(weights, "norms.0", raw))


def hierarchical(
    weights: Weights,
    tokens: list[Vectors],
    raw: Vectors,
    prefix: Vectors,
    gaps: list[list[Gaps]] | None,
    settings: Any,
) -> tuple[list[Vectors], Vectors]:
    """HCT of one history: H_N1 by item and token, and U by item. `gaps` has the token level's layers first."""
    count = len(tokens[0])
    flat = [token for item in tokens for token in item]
    first = settings.token_blocks
    lower = None if gaps is None else gaps[:first]
    flat = stack(below(weights, "token_level"), flat, lower, count, settings)
    seen = [flat[t * count : (t + 1) * count] for t in range(len(tokens))]
    items = [
        fuse(below(weights, "fuse"), own, r, settings) for own, r in zip(seen, raw, strict=True)
    ]
    upper = None
    if gaps is not None:
        upper = [[behind(p, len(prefix)) for p in layer] for layer in gaps[first:]]
    users = stack(below(weights, "item_level"), [*prefix, *items], upper, 1, settings)
    return seen, users[len(prefix) :]


def behind(p: Gaps, prefix: int) -> Gaps:
    """P where tokens without a time stand before the items: they have no bias, as queries or as keys."""
    none = torch.zeros((), dtype=torch.float64)
    wide = [none] * (prefix + len(p))
    return [wide] * prefix + [[none] * prefix + list(row) for row in p]


def user_tokens(weights: Weights, features: Mapping[str, Sequence[int]]) -> Vectors:
    """A prefix token for each feature of one user: the mean of its values' embeddings, then LN."""
    found = []
    for name, tokens in features.items():
        values = [weights[f"tables.feature_{name}.weight"][token] for token in tokens]
        found.append(layer_norm(weights, "norm", plain_sum(values) / len(values)))
    return found


# Section 2.2: the item's side


def item_tower(weights: Weights, e: Vectors, settings: Any) -> tuple[Vectors, Tensor]:
    """v^s = MLP_s(e^s) and V = MLP(concat), with the skips that are switched on."""
    v = []
    for s, token in enumerate(e):
        hidden = relu(token @ weights["inner"][s] + weights["inner_bias"][s, 0])
        v.append(hidden @ weights["outer"][s] + weights["outer_bias"][s, 0])
        if settings.item_tower.token_skip:
            v[-1] = v[-1] + token
    whole = affine(weights, "fuse_outer", relu(affine(weights, "fuse_inner", torch.cat(v))))
    if settings.item_tower.token_skip:
        whole = whole + plain_sum(e)
    if settings.item_tower.id_skip and settings.item_id:
        whole = whole + e[0]
    return v, whole
