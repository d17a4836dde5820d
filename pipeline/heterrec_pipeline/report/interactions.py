"""The log in pictures: histories, items and time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from heterrec_pipeline.statistics.bins import end_of_bin
from heterrec_schemas.generation import Generation
from heterrec_schemas.pages import html
from heterrec_schemas.pages.charts import Chart, histogram, lines

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Pairs = list[list[int]]


def interaction_blocks(generation: Generation, statistics: dict[str, Any]) -> Iterator[str]:
    """Lengths of histories, the tail of the items, interactions over time with the cuts of the split."""
    charts = []
    if lengths := statistics["history_lengths"]:
        charts.append(("Lengths of whole histories, before truncation.", _lengths(lengths)))
    if counts := statistics["train_counts"]:
        charts.append(
            (
                "How many items have at least so many interactions in train (both axes logarithmic).",
                _tail(counts, statistics["items"]),
            )
        )
    if days := statistics["days"]:
        charts.append(_over_time(generation, days, statistics["days_per_bin"]))
    if charts:
        yield html.charts(charts)
    else:
        yield html.paragraph("No interaction was kept.")


def _lengths(pairs: Pairs) -> Chart:
    edges, counts = _gapless(pairs)
    shares = np.cumsum(counts) / sum(counts)
    middle = edges[int(np.searchsorted(shares, 0.5))]
    densities = [k / (b - a) for k, a, b in zip(counts, edges, edges[1:], strict=False)]
    return histogram(
        edges,
        densities,
        ("interactions of a user", "users per unit of length"),
        f"Lengths of {sum(counts):,} histories: from {edges[0]:,} to less than {edges[-1]:,}, half of them below about "
        f"{middle + 1:,}.",
        log="x",
    )


def _gapless(pairs: Pairs) -> tuple[list[int], list[int]]:
    """Bins (first, count) to edges and counts, with the empty bins between them."""
    known = {first: count for first, count in pairs}
    edges, counts = [pairs[0][0]], []
    while edges[-1] <= pairs[-1][0]:
        counts.append(known.get(edges[-1], 0))
        edges.append(end_of_bin(edges[-1]))
    return edges, counts


def _tail(pairs: Pairs, items: int) -> Chart:
    firsts = [first for first, _ in pairs]
    at_least = np.cumsum([count for _, count in pairs][::-1])[::-1].tolist()
    once = at_least[0]
    return lines(
        {"items": (firsts, at_least)},
        ("interactions in train", "items with at least so many"),
        f"Popularity of items: {once:,} of {items:,} items have interactions in train; {at_least[-1]:,} have at least "
        f"{firsts[-1]:,}.",
        log="xy",
    )


def _over_time(generation: Generation, pairs: Pairs, width: int) -> tuple[str, Chart]:
    known = {first: count for first, count in pairs}
    days = range(pairs[0][0], pairs[-1][0] + width, width)
    cuts = {
        name.removesuffix("_at_ms"): [ms / 86_400_000]
        for name, ms in generation.manifest.cuts.items()
    }
    first, last = _date(pairs[0][0]), _date(pairs[-1][0] + width - 1)
    edges = [float(d) for d in (*days, days[-1] + width)]
    counts = [known.get(d, 0) for d in days]
    words = f"Interactions from {first} to {last}, at most {max(counts):,} in {width} days."
    for name, (at,) in cuts.items():
        words += f" {name} begins on {_date(int(at))}."
    span = f"{width} days" if width > 1 else "day"
    picture = histogram(
        [1970 + e / 365.2425 for e in edges],
        counts,
        ("year", f"interactions per {span}"),
        words,
        marks={f"{n} begins": [1970 + a / 365.2425 for a in at] for n, at in cuts.items()},
    )
    return f"Interactions per {span}, {first} to {last}.", picture


def _date(day: int) -> str:
    """A day since 1970 as an ISO date; years that Python has no date for are approximate."""
    try:
        return (_EPOCH + timedelta(days=day)).date().isoformat()
    except OverflowError:
        return f"about the year {1970 + round(day / 365.2425)}"
