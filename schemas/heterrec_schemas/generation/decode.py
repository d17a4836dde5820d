"""Decode tokens to values, as far as the encoding can be inverted.

A decoded cell is a plain dict with `kind`, its token or tokens, their values, and `words`, a text
for a person.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    QuantileEmbedding,
)
from heterrec_schemas.generation.reader import Generation
from heterrec_schemas.tokens import FIRST_FREE, MISSING, decode_embedding_tokens, feature_stem
from heterrec_schemas.values import value_text

MISSING_WORDS = "(missing)"
ERASED_WORDS = "(erased)"
PADDING_WORDS = "(padding)"


def decode_cells(
    generation: Generation, name: str, cells: Sequence[Any], *, side: str = "item"
) -> list[dict[str, Any]]:
    """Decode the cells of one feature; its vocabulary or edges are read once.

    Args:
        generation: the source of the cells.
        name: the feature's name.
        cells: one token, or a list of tokens, per row.
        side: `item` or `user`.

    Raises:
        CallError: there is no such feature.
    """
    stem = feature_stem(side, name)
    feature = generation.feature(stem)
    if isinstance(feature, EmbeddingFeature):
        return [decode_embedding(cell, feature) for cell in cells]
    if not isinstance(feature, CategoricalFeature):
        edges = generation.boundaries(stem)
        return [decode_number(cell, edges) for cell in cells]
    lists = cells if feature.multivalued else [[cell] for cell in cells]
    values = vocabulary_values(generation, stem, {token for cell in lists for token in cell})
    return [
        decode_category(cell, values, feature.oov_buckets, multivalued=feature.multivalued)
        for cell in lists
    ]


def vocabulary_values(
    generation: Generation, stem: str, ids: Iterable[int]
) -> dict[int, int | str | None]:
    """The values of some ids of a vocabulary, None for an erased one; ids that the vocabulary lacks are left out."""
    wanted: list[int | str] = sorted(i for i in set(ids) if i >= FIRST_FREE)
    if not wanted:
        return {}
    table = generation.rows(generation.vocabulary_shards(stem), "id", wanted, ["id", "value"])
    return dict(zip(table["id"].to_pylist(), table["value"].to_pylist(), strict=True))


def decode_category(
    tokens: Sequence[int],
    values: dict[int, int | str | None],
    oov_buckets: int,
    *,
    multivalued: bool,
) -> dict[str, Any]:
    """A categorical cell; the value is None for padding, missing, OOV and erased tokens.

    Args:
        tokens: of one cell.
        values: the vocabulary, or the needed part of it.
        oov_buckets: of the feature.
        multivalued: whether the cell is a list; otherwise it has one token.
    """
    words = [_category_words(token, values, oov_buckets) for token in tokens]
    found = [values.get(token) for token in tokens]
    if not multivalued:
        return {
            "kind": "categorical",
            "token": tokens[0],
            "value": found[0],
            "words": words[0],
        }
    return {
        "kind": "categorical",
        "tokens": list(tokens),
        "values": found,
        "words": ", ".join(words),
    }


def _category_words(token: int, values: dict[int, int | str | None], oov_buckets: int) -> str:
    if token in values:
        value = values[token]
        return ERASED_WORDS if value is None else str(value)
    if token < FIRST_FREE:
        return MISSING_WORDS if token == MISSING else PADDING_WORDS
    if token < FIRST_FREE + oov_buckets:
        return bucket_words(token, oov_buckets)
    return f"(id {token}, which the vocabulary lacks)"


def bucket_words(token: int, oov_buckets: int) -> str:
    """An out-of-vocabulary token in words; buckets count from 0."""
    return f"(out of vocabulary, bucket {token - FIRST_FREE} of {oov_buckets})"


def decode_number(token: int, edges: npt.NDArray[np.float64]) -> dict[str, Any]:
    """A numeric cell: the half-open interval of its bin; an unbounded end is None.

    Args:
        token: of one cell.
        edges: ascending bin edges.
    """
    cell: dict[str, Any] = {"kind": "numeric", "token": token, "low": None, "high": None}
    if token < FIRST_FREE:
        return {**cell, "words": MISSING_WORDS if token == MISSING else PADDING_WORDS}
    position = token - FIRST_FREE
    if position > len(edges):
        return {**cell, "words": f"(bin {position}, of which there are {len(edges) + 1})"}
    low = float(edges[position - 1]) if position > 0 else None
    high = float(edges[position]) if position < len(edges) else None
    start = f"[{value_text(low)}" if low is not None else "[-inf"
    stop = f"{value_text(high)})" if high is not None else "inf]"
    return {**cell, "low": low, "high": high, "words": f"{start}, {stop}"}


def decode_embedding(tokens: Sequence[int], feature: EmbeddingFeature) -> dict[str, Any]:
    """An embedding cell: its codes; of quantile tokens also one bin per dimension, and the number of dimensions per bin.

    Args:
        tokens: of one cell.
        feature: the feature.
    """
    cell: dict[str, Any] = {"kind": "embedding", "tokens": list(tokens), "codes": None}
    quantile = isinstance(feature, QuantileEmbedding)
    if any(token < FIRST_FREE for token in tokens):
        bins_of_none = {"bins": None, "bin_counts": None} if quantile else {}
        return {**cell, **bins_of_none, "words": MISSING_WORDS}
    codes = [token - FIRST_FREE for token in tokens]
    shown = " ".join(map(str, codes[:8])) + (" ..." if len(codes) > 8 else "")
    if not isinstance(feature, QuantileEmbedding):
        return {**cell, "codes": codes, "words": f"{len(codes)} codes ({shown})"}
    bins = decode_embedding_tokens(np.asarray(tokens, np.int32), feature.width, feature.quantiles)
    counts = np.bincount(bins, minlength=feature.quantiles).tolist()
    return {
        **cell,
        "codes": codes,
        "bins": bins.tolist(),
        "bin_counts": counts,
        "words": f"{len(codes)} codes ({shown}); dimensions per bin: {' '.join(map(str, counts))}",
    }
