"""The features in pictures: shares of missing and unknown values, values, bins, codes."""

from collections.abc import Iterator
from typing import Any

from heterrec_schemas.feature_spec import CategoricalFeature, EmbeddingFeature
from heterrec_schemas.generation import Generation
from heterrec_schemas.generation.decode import vocabulary_values
from heterrec_schemas.pages import html
from heterrec_schemas.pages.charts import Chart, bars, histogram, lines
from heterrec_schemas.tokens import feature_stem

TOP = 15
"""Number of values that are shown."""


def feature_blocks(generation: Generation, statistics: dict[str, Any]) -> Iterator[str]:
    """A table of all features, then each with a picture."""
    yield html.table(
        "All features",
        ("feature", "of", "kind", "ids", "missing", "out of vocabulary"),
        [
            (
                *(f["name"], f["side"], f["kind"], f["vocabulary_size"]),
                *(f"{f[share]:.2%}" for share in ("missing_share", "oov_share")),
            )
            for f in statistics["features"]
        ],
    )
    manifest = generation.manifest
    fitted = {(f.side, f.name): f.fitted or manifest.generation for f in manifest.features}
    for found in statistics["features"]:
        stem = feature_stem(found["side"], found["name"])
        feature = generation.feature(stem)
        yield html.heading(f"{stem} ({feature.kind})")
        if isinstance(feature, EmbeddingFeature):
            yield from _embedding(found, fitted[found["side"], found["name"]])
        elif isinstance(feature, CategoricalFeature):
            yield from _categorical(generation, stem, found)
        else:
            yield from _numeric(generation, stem, found)


def _categorical(generation: Generation, stem: str, found: dict[str, Any]) -> Iterator[str]:
    top = found["top"][:TOP]
    if not top:
        yield html.paragraph("No row has a value.")
        return
    values = vocabulary_values(generation, stem, [i for i, _ in top])
    labels = [_label(values.get(i)) for i, _ in top]
    counts = [count for _, count in top]
    share = sum(counts) / found["tokens"]
    picture = bars(
        labels,
        counts,
        "rows",
        f"The {len(top)} most frequent of {found['ids']:,} values of {stem}: {labels[0]} {counts[0]:,} times; together "
        f"{share:.1%} of all values.",
        form="{:,.0f}",
    )
    yield html.charts(
        [(f"The {len(top)} most frequent of {found['ids']:,} values: {share:.1%} of all.", picture)]
    )


def _label(value: int | str | None) -> str:
    return "(erased)" if value is None else str(value)


def _numeric(generation: Generation, stem: str, found: dict[str, Any]) -> Iterator[str]:
    edges = generation.boundaries(stem).tolist()
    counts = found["tokens"]
    # Bins without values at the end have no count.
    counts = counts + [0] * (len(edges) + 1 - len(counts))
    rows = sum(counts)
    inner = [(a, b, k) for a, b, k in zip(edges, edges[1:], counts[1:-1], strict=False) if a < b]
    words = (
        f"{rows:,} values of {stem} in {len(counts)} bins between {len(edges)} edges: {counts[0]:,} below "
        f"{edges[0] if edges else 0:g}, {counts[-1]:,} from {edges[-1] if edges else 0:g} on."
    )
    charts = [
        (
            "Values per bin; bins of equal height split the data well.",
            histogram(list(range(len(counts) + 1)), counts, ("bin", "values"), words),
        )
    ]
    if inner:
        charts.append(
            (
                "The edges of the bins over the density of the values between them.",
                histogram(
                    [inner[0][0], *(b for _, b, _ in inner)],
                    [k / (b - a) for a, b, k in inner],
                    (stem.replace("$", r"\$"), "values per unit"),
                    f"Density of {stem} between its edges, from {inner[0][0]:g} to {inner[-1][1]:g}.",
                    marks={"edges": edges} if len(edges) <= 64 else None,
                ),
            )
        )
    yield html.charts(charts)


def _embedding(found: dict[str, Any], fitted: str | None) -> Iterator[str]:
    rows = found["rows"]
    about = "" if rows["exact"] else "about "
    facts: dict[str, object] = {
        "tokens per row": len(found["used"]) if "used" in found else None,
        "codes per token": f"{found['codes']:,}",
        "distinct rows of tokens": f"{about}{rows['distinct']:,}",
    }
    if (fit := found.get("fit")) is not None:
        about = "" if fit["exact"] else "about "
        facts["distinct vectors"] = f"{about}{fit['distinct']:,} of {fit['vectors']:,} when fitted"
        if (near := fit["neighbours"]) is not None:
            facts["neighbours kept"] = (
                f"{near['kept']:.1%} of the 10 nearest vectors are among the 50 with the most equal tokens; "
                f"{near['chance']:.1%} by chance ({near['queries']:,} of {near['among']:,} distinct vectors)"
            )
        facts["fitted in"] = fitted
    yield html.facts(facts)
    if "used" in found:
        yield html.charts(
            [
                ("Codes that occur, by token.", _by_token(found, "used", "codes that occur")),
                (
                    "Entropy of the codes, by token: the larger, the more a token tells.",
                    _by_token(found, "entropy_bits", "entropy in bits"),
                ),
            ]
        )


def _by_token(found: dict[str, Any], key: str, axis: str) -> Chart:
    values = found[key]
    return lines(
        {axis: (list(range(len(values))), values)},
        ("token", axis),
        f"{axis} of the {len(values)} tokens of {found['name']}: from {min(values):g} to {max(values):g}.",
    )
