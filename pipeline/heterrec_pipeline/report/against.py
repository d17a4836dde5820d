"""Two generations side by side, where one is not the other's parent."""

from collections.abc import Iterator
from typing import Any

from heterrec_pipeline.drift.bins import psi
from heterrec_schemas.feature_spec import CategoricalFeature, EmbeddingFeature
from heterrec_schemas.generation import Generation
from heterrec_schemas.generation.decode import vocabulary_values
from heterrec_schemas.pages import html
from heterrec_schemas.tokens import feature_stem


def differences(generation: Generation, other: Generation) -> Iterator[str]:
    """Sizes and features of both, the features with the largest population stability index first.

    The index compares the 30 most frequent values of the other generation and all the rest, or the bins of equal edges. It
    is not known for embeddings, whose codes are compared by their use, and for features whose edges differ.
    """
    now, before = generation.statistics(), other.statistics()
    yield html.paragraph(
        f"Compared with {other.manifest.generation}, which is not the parent: ids can differ, so values are compared."
    )
    sizes = ("items", "users", "interactions", "interactions_per_user")
    yield html.table(
        "Sizes",
        ("of", "other", "this"),
        [(n.replace("_", " "), before[n], now[n]) for n in sizes],
    )
    known = {(f["side"], f["name"], f["kind"]): f for f in before["features"]}
    rows = []
    for found in now["features"]:
        then = known.get((found["side"], found["name"], found["kind"]))
        if then is not None:
            index = _index(generation, other, found, then)
            rows.append((found, then, index))
    rows.sort(key=lambda r: (r[2] is None, -(r[2] or 0.0), r[0]["name"]))
    yield html.table(
        "Features of both, the worst first",
        ("feature", "psi", "missing in other", "in this", "OOV in other", "in this"),
        [
            (
                *(feature_stem(f["side"], f["name"]), index),
                *(f"{s[share]:.1%}" for share in ("missing_share", "oov_share") for s in (t, f)),
            )
            for f, t, index in rows
        ],
    )


def _index(
    generation: Generation, other: Generation, now: dict[str, Any], before: dict[str, Any]
) -> float | None:
    stem = feature_stem(now["side"], now["name"])
    features = generation.feature(stem), other.feature(stem)
    if any(isinstance(f, EmbeddingFeature) for f in features) or "tokens" not in before:
        return None
    if not isinstance(features[0], CategoricalFeature):
        edges = generation.boundaries(stem), other.boundaries(stem)
        if edges[0].tolist() != edges[1].tolist():
            return None
        both = [s["tokens"] + [0] * (len(edges[0]) + 1 - len(s["tokens"])) for s in (before, now)]
        return psi(both[0], both[1])
    then, present = (_by_value(g, stem, s) for g, s in ((other, before), (generation, now)))
    counts = [[f.get(v, 0) for v in then] for f in (then, present)]
    wholes = [s["tokens"] - sum(c) for s, c in zip((before, now), counts, strict=True)]
    return psi([*counts[0], wholes[0]], [*counts[1], wholes[1]])


def _by_value(
    generation: Generation, stem: str, found: dict[str, Any]
) -> dict[int | str | None, int]:
    values = vocabulary_values(generation, stem, [i for i, _ in found["top"]])
    return {values.get(i): count for i, count in found["top"]}
