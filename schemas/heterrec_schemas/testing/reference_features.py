"""The reference's features: cells to tokens by vocabularies, boundaries and quantizers."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from heterrec_schemas.testing import reference_reductions
from heterrec_schemas.testing.reference_codebooks import BOOK_SAMPLE, CODES, book_tokens, fit_books
from heterrec_schemas.testing.reference_values import (
    RefusedError,
    Row,
    float32,
    is_integer_column,
    is_plain_integer,
    number_of,
    shown,
    stable_hash,
    text_of,
    vector_of,
)

FIT_SAMPLE = 262_144
VALUES_PER_SHARD = 2**18
Vocabulary = list[list[tuple[int, Any, int]]]
"""Per shard: rows of (id, value, count). A retired value has count 0, an erased one also value None."""


@dataclass
class ReferenceFeature:
    """One feature of all kept items (or users)."""

    tokens: dict[str, Any] = field(default_factory=dict)
    """Key text to token, or list of tokens."""
    absent: Any = 1
    """The tokens of an item (or user) without a row."""
    vocabulary: Vocabulary | None = None
    integral: bool = False
    """Whether the vocabulary's values are int64."""
    edges: list[float] | None = None
    quantizer: dict[tuple[int, int], float] | None = None
    """(dim, edge_index) to edge."""
    books: list[list[list[float]]] | None = None
    """Centroids of each codebook."""
    reduction: reference_reductions.Reduction | None = None
    size: int = 0
    """Largest id + 1."""
    missing: int = 0
    oov: int = 0

    @property
    def fitted_size(self) -> int:
        """The number of edges of a numeric feature, else the largest id + 1."""
        return self.size if self.edges is None else len(self.edges)


# --- cells -----------------------------------------------------------------------------------


def read_cell(feature: Row, cell: Any) -> tuple[Any, str | None, str | None]:
    """A raw cell as its feature uses it, and the reason and shown value if it is bad.

    Returns:
        categorical: a text or None; multivalued: a list of texts; numeric: a float, NaN if missing;
        embedding: a list of float32 or None. Then the reason of its reject, or None, and the value
        that the reject records.
    """
    kind = feature["kind"]
    if kind == "categorical" and feature.get("multivalued"):
        return many_values(feature, cell), None, None
    if kind == "embedding":
        vector, reason = read_vector(feature, cell)
        return vector, reason, None
    text = present_text(feature, cell)
    if kind == "categorical":
        return text, None, None
    if text is None:
        return math.nan, None, None
    number = number_of(cell)
    if number is None:
        return math.nan, "not_a_number", shown(cell)
    return number, None, None


def present_text(feature: Row, cell: Any) -> str | None:
    """The text of a scalar; None if it is missing. Numeric features also compare numbers with `missing_values`."""
    text = text_of(cell, _not_values(feature))
    number = number_of(cell) if text is not None and feature["kind"] == "numeric" else None
    for listed in feature.get("missing_values", []) if number is not None else []:
        other = None if str(listed) in ("true", "false") else number_of(listed)
        if other is not None and (number == other or _same_float32(number, other)):
            return None
    return text


def _same_float32(number: float | None, other: float) -> bool:
    """Whether a number that is a float32 is the float32 next to another one."""
    return number is not None and float32(number) == number == float32(other) != math.inf


def many_values(feature: Row, cell: Any) -> list[str]:
    """The non-missing values of a multivalued cell, in order, with repeats."""
    missing = _not_values(feature)
    if isinstance(cell, str) and "separator" in feature:
        cell = cell.split(feature["separator"])
    if cell is None:
        return []
    if not isinstance(cell, list):
        cell = [cell]
    if not any(isinstance(part, list) for part in cell):
        return _present(cell, missing)
    values: list[str] = []
    for path in cell:
        nodes = _present(path if isinstance(path, list) else [path], missing)
        how = feature.get("nested", "nodes")
        if how == "leaf":
            values += nodes[-1:]
        elif how == "nodes":
            values += nodes
        else:
            paths = [" > ".join(nodes[: k + 1]) for k in range(len(nodes))]
            values += [path for path in paths if path not in feature.get("erased", ())]
    return values


def _not_values(feature: Row) -> list[Any]:
    """The texts that count as missing: listed ones, and erased ones."""
    return [*feature.get("missing_values", []), *sorted(feature.get("erased", ()))]


def _present(values: list[Any], missing: list[Any]) -> list[str]:
    texts = [text_of(v, missing) for v in values]
    return [t for t in texts if t is not None]


def read_vector(feature: Row, cell: Any) -> tuple[list[float] | None, str | None]:
    """A vector as float32, or None and the reason (no reason if it is only missing)."""
    cell = vector_of(cell)
    if cell is None or cell == [] or (isinstance(cell, float) and math.isnan(cell)):
        return None, None
    if isinstance(cell, str) and text_of(cell) is None:
        return None, None
    if not isinstance(cell, list):
        return None, "wrong_type"
    if any(isinstance(x, str | list | dict | bool) for x in cell):
        return None, "wrong_type"
    if len(cell) != feature["dim"]:
        return None, "wrong_width"
    if any(x is None or not math.isfinite(x) for x in cell):
        return None, "non_finite"
    vector = [float32(x) for x in cell]
    if not all(math.isfinite(x) for x in vector):
        return None, "non_finite"
    return vector, None


def scalars(cells: list[Any]) -> list[Any]:
    """The values of a column, lists flattened; they decide between int64 and string."""
    out: list[Any] = []
    for cell in cells:
        if isinstance(cell, list):
            out += scalars(cell)
        elif not isinstance(cell, dict):
            out.append(cell)
    return out


# --- fits ------------------------------------------------------------------------------------


def number_values(
    counts: dict[str, int],
    *,
    integral: bool,
    oov_buckets: int,
    shards: int | None,
    min_count: int = 1,
    max_size: int | None = None,
    parent: Vocabulary | None = None,
    imported: Sequence[str] = (),
    erased: Collection[str] = (),
) -> Vocabulary:
    """Values to ids: by shard of the hash, descending count, then value.

    With the vocabulary of a parent, its values keep their ids and shards, and the new ones come after the largest id.
    Without, the `imported` values take the first ids, in their order. `erased` values lose their text.
    """

    def rank(value: str) -> tuple[int, Any]:
        return -counts[value], typed(value) if integral else value.encode("utf-8")

    def typed(value: str) -> Any:
        return int(value) if integral else value

    def row(number: int, value: Any) -> tuple[int, Any, int]:
        if value is None or str(value) in erased:
            return number, None, 0
        return number, typed(str(value)), counts.get(str(value), 0)

    begins = imported if parent is None else [value for rows in parent for _, value, _ in rows]
    known = {str(value) for value in begins if value is not None and str(value) not in erased}
    kept = sorted((v for v in counts if counts[v] >= min_count and v not in known), key=rank)
    if max_size is not None:
        kept = kept[: max(0, max_size - len(begins))]
    if parent is not None:
        shards = len(parent)
        vocabulary = [[row(number, value) for number, value, _ in rows] for rows in parent]
    else:
        if shards is None:
            shards = 1
            while shards * VALUES_PER_SHARD < len(imported) + len(kept):
                shards *= 2
        vocabulary = [[] for _ in range(shards)]
        for k, text in enumerate(imported):
            vocabulary[stable_hash(text) % shards].append(row(2 + oov_buckets + k, text))
    next_id = max((n for rows in vocabulary for n, _, _ in rows), default=1 + oov_buckets) + 1
    for shard in range(shards):
        for value in kept:
            if stable_hash(value) % shards == shard:
                vocabulary[shard].append((next_id, typed(value), counts[value]))
                next_id += 1
    return vocabulary


def fit_keys(keys: list[str], sample: int) -> list[str]:
    """The keys that a fit uses, by (hash, key): all, or the first ones."""
    return sorted(keys, key=lambda key: (stable_hash(key), key.encode("utf-8")))[:sample]


def quantile_edges(values: list[float], parts: int) -> list[float]:
    """edge_i = x[ceil((n - 1) * i / parts)], i = 1 .. parts - 1, of the sorted values."""
    x = sorted(values)
    return [x[((len(x) - 1) * i + parts - 1) // parts] for i in range(1, parts)]


# --- features --------------------------------------------------------------------------------


def encode(
    feature: Row,
    values: dict[str, Any],
    raw_column: list[Any],
    parent: ReferenceFeature | None = None,
) -> ReferenceFeature:
    """Tokens of all kept items.

    Args:
        feature: its entry in the spec.
        values: key text to the result of `read_cell`.
        raw_column: every raw cell of the source's column.
        parent: the feature in the parent, whose ids and edges it keeps.
    """
    if feature["kind"] == "numeric":
        return _encode_numbers(feature, values, parent)
    if feature["kind"] == "embedding":
        if "reduce" in feature:
            return _encode_reduced(feature, values, raw_column, parent)
        if feature.get("quantizer", "quantile") != "quantile":
            return _encode_by_books(feature, values, parent)
        return _encode_vectors(feature, values, parent)
    return _encode_categories(feature, values, raw_column, parent)


def _encode_categories(
    feature: Row, values: dict[str, Any], raw_column: list[Any], parent: ReferenceFeature | None
) -> ReferenceFeature:
    many = feature.get("multivalued", False)
    lists = {
        key: value if many else [] if value is None else [value] for key, value in values.items()
    }
    counts = Counter(value for found in lists.values() for value in set(found))
    if not counts and parent is None:
        raise RefusedError(f"every value of {feature['name']} is missing")
    buckets = feature.get("oov_buckets", 0)
    paths = feature.get("nested") == "prefixes" and any(
        isinstance(part, list) for cell in raw_column if isinstance(cell, list) for part in cell
    )
    integral = not paths and is_integer_column(scalars(raw_column))
    imported = feature.get("imported", ())
    integral = integral and all(is_plain_integer(text) for text in imported)
    integral = integral and (parent is None or parent.integral)
    vocabulary = number_values(
        counts,
        integral=integral,
        oov_buckets=buckets,
        shards=feature.get("shards"),
        min_count=feature.get("min_count", 1),
        max_size=feature.get("max_size"),
        parent=None if parent is None else parent.vocabulary,
        imported=imported,
        erased=feature.get("erased", ()),
    )
    rows = [row for shard in vocabulary for row in shard]
    ids = {str(value): number for number, value, _ in rows if value is not None}
    out = ReferenceFeature(vocabulary=vocabulary, integral=integral, size=2 + buckets + len(rows))
    out.absent = [1] if many else 1
    for key, found in lists.items():
        tokens = []
        for value in found:
            if value in ids:
                tokens.append(ids[value])
            elif buckets:
                tokens.append(2 + stable_hash(value) % buckets)
        tokens = list(dict.fromkeys(tokens))[: feature.get("max_values")] or [1]
        out.tokens[key] = tokens if many else tokens[0]
        out.missing += tokens == [1]
        out.oov += any(value not in ids for value in found)
    return out


def _encode_numbers(
    feature: Row, values: dict[str, float], parent: ReferenceFeature | None
) -> ReferenceFeature:
    if parent is not None and parent.edges is not None:
        edges = parent.edges
    else:
        edges = _fit_numbers(feature, values)
    out = ReferenceFeature(edges=edges, size=2 + len(edges) + 1)
    for key, x in values.items():
        out.tokens[key] = 1 if math.isnan(x) else 2 + bisect_right(edges, x)
        out.missing += math.isnan(x)
    return out


def _fit_numbers(feature: Row, values: dict[str, float]) -> list[float]:
    if all(math.isnan(x) for x in values.values()):
        raise RefusedError(f"every value of {feature['name']} is missing")
    if "boundaries" in feature:
        return [float(e) for e in feature["boundaries"]]
    finite = [key for key, x in values.items() if math.isfinite(x)]
    if not finite:
        raise RefusedError(f"no value of {feature['name']} is finite")
    sample = fit_keys(finite, feature.get("fit_sample", FIT_SAMPLE))
    return sorted(set(quantile_edges([values[key] for key in sample], feature["bins"])))


def _encode_vectors(
    feature: Row, values: dict[str, list[float] | None], parent: ReferenceFeature | None
) -> ReferenceFeature:
    dim, groups, quantiles = feature["dim"], feature["groups"], feature["quantiles"]
    width = dim // groups
    if parent is not None and parent.quantizer is not None:
        fitted = parent.quantizer
    else:
        fitted = _fit_vectors(feature, values)
    edges = [[fitted[d, k] for k in range(quantiles - 1)] for d in range(dim)]
    out = ReferenceFeature(absent=[1] * groups, size=2 + quantiles**width, quantizer=fitted)
    for key, vector in values.items():
        if vector is None:
            out.tokens[key] = [1] * groups
            out.missing += 1
            continue
        tokens = []
        for g in range(groups):
            bins = [bisect_right(edges[d], vector[d]) for d in range(g * width, (g + 1) * width)]
            tokens.append(2 + sum(b * quantiles**j for j, b in enumerate(bins)))
        out.tokens[key] = tokens
    return out


def _fit_vectors(
    feature: Row, values: dict[str, list[float] | None]
) -> dict[tuple[int, int], float]:
    vectors = _sample_of_vectors(feature, values, FIT_SAMPLE)
    edges = [
        quantile_edges([vector[d] for vector in vectors], feature["quantiles"])
        for d in range(feature["dim"])
    ]
    return {(d, k): edge for d, its in enumerate(edges) for k, edge in enumerate(its)}


def _sample_of_vectors(
    feature: Row, values: dict[str, list[float] | None], most: int
) -> list[list[float]]:
    """The vectors of a fit, in the order of the sample."""
    present = [key for key, vector in values.items() if vector is not None]
    if not present:
        raise RefusedError(f"every value of {feature['name']} is missing")
    sample = fit_keys(present, feature.get("fit_sample", most))
    return [vector for key in sample if (vector := values[key])]


def _encode_reduced(
    feature: Row,
    values: dict[str, list[float] | None],
    raw_column: list[Any],
    parent: ReferenceFeature | None,
) -> ReferenceFeature:
    """As of a feature of the reduced vectors."""
    if parent is not None and parent.reduction is not None:
        reduction = parent.reduction
    else:
        most = reference_reductions.sample_size(
            feature["dim"], feature.get("fit_sample", FIT_SAMPLE)
        )
        sample = _sample_of_vectors(feature | {"fit_sample": most}, values, most)
        reduction = reference_reductions.fit(feature, sample)
    plain = {k: v for k, v in feature.items() if k != "reduce"} | {"dim": len(reduction[2])}
    lower = {
        key: None if vector is None else reference_reductions.reduced(vector, reduction)
        for key, vector in values.items()
    }
    out = encode(plain, lower, raw_column, parent)
    out.reduction = reduction
    return out


def _encode_by_books(
    feature: Row, values: dict[str, list[float] | None], parent: ReferenceFeature | None
) -> ReferenceFeature:
    if parent is not None and parent.books is not None:
        books = parent.books
    else:
        books = fit_books(feature, _sample_of_vectors(feature, values, BOOK_SAMPLE))
    absent = [1] * len(books)
    out = ReferenceFeature(absent=absent, size=2 + feature.get("codes", CODES), books=books)
    for key, vector in values.items():
        out.tokens[key] = absent if vector is None else book_tokens(feature, vector, books)
        out.missing += vector is None
    return out
