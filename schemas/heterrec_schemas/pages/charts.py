"""The pictures of a page, as SVG.

Series differ in colour and in marker, line or place, so that nothing is read by colour alone. In a page colours follow its
light or dark scheme. Equal figures give equal bytes with the same release of matplotlib.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
"""Of Okabe and Ito (but the last), which colour-blind readers can tell apart."""
MARKERS = "osD^vPX*"
LINES = ("-", "--", "-.", ":")
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small files
    "svg.hashsalt": "heterrec",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
}
_INK, _LINE = "#010203", "#040506"
"""Stand for the colours of text and of lines, which a page states."""
_ON_PAGE: Any = STYLE | {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    ),
    "grid.color": _LINE,
}
_INSIDE = 3
"""Maximum number of names in a legend inside of the axes: more would cover lines."""
_UNUSED = re.compile(
    r'<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->|(?<=<g) id="[^"]*"', re.DOTALL
)
_SIZE = re.compile(r'width="[\d.]+pt" height="[\d.]+pt"')


class Chart(NamedTuple):
    """A picture, and what it shows in words for readers who do not see it."""

    svg: str
    words: str


@contextmanager
def drawing() -> Iterator[None]:
    """The style of pages, for figures that are drawn within."""
    with matplotlib.rc_context(_ON_PAGE):
        yield


def new_figure(*, width: float = 5.5, height: float = 3.0) -> tuple[Figure, Any]:
    """A figure of a size in inches, and its axes."""
    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def chart(figure: Figure, words: str) -> Chart:
    """A figure that was made within `drawing`.

    Args:
        figure: the figure.
        words: the text for readers who do not see it: what is drawn, and what stands out.
    """
    text = io.StringIO()
    with drawing(), warnings.catch_warnings():
        # The browser draws the text, with fonts that have the glyph.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(
            text, format="svg", metadata={"Date": None}, bbox_inches="tight", transparent=True
        )
    svg = _UNUSED.sub("", text.getvalue())
    svg = svg.replace(_INK, "currentColor").replace(_LINE, "var(--line)")
    for n, colour in enumerate(COLOURS):
        svg = svg.replace(colour.lower(), f"var(--c{n})")
    return Chart(_SIZE.sub("", svg, count=1).strip(), words)


def bars(
    labels: Sequence[str], values: Sequence[float], axis: str, words: str, *, form: str = "{:,g}"
) -> Chart:
    """Horizontal bars, the first one on top, each with its value.

    Args:
        labels: their names.
        values: their lengths, not negative.
        axis: what the values are, with the unit.
        words: see `chart`.
        form: the format of a value.
    """
    with drawing():
        figure, axes = new_figure(height=0.7 + 0.24 * len(labels))
        drawn = axes.barh(range(len(labels)), values, color=COLOURS[0], height=0.7)
        axes.bar_label(drawn, [form.format(v) for v in values], padding=3, fontsize=8)
        axes.set_yticks(range(len(labels)), [shortened(label) for label in labels])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.18 * max([*values, 1e-9]))
        axes.set_xlabel(axis)
        axes.grid(visible=False, axis="y")
    return chart(figure, words)


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    axes_names: tuple[str, str],
    words: str,
    *,
    marks: Mapping[str, Sequence[float]] | None = None,
    log: str = "",
) -> Chart:
    """Areas between edges.

    Args:
        edges: ascending, one more than counts.
        counts: the heights.
        axes_names: what is on the axes, x and y, with units.
        words: see `chart`.
        marks: vertical lines by their name in the legend.
        log: the axes that are logarithmic: "", "x", "y" or "xy".
    """
    with drawing():
        figure, axes = new_figure()
        axes.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.75)
        for n, (name, places) in enumerate((marks or {}).items(), 1):
            style = {"color": COLOURS[n % len(COLOURS)], "linestyle": LINES[n % len(LINES)]}
            for k, place in enumerate(places):
                axes.axvline(place, linewidth=1.1, label=None if k else name, **style)
        _finish(axes, axes_names, log, legend=bool(marks))
    return chart(figure, words)


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    axes_names: tuple[str, str],
    words: str,
    *,
    log: str = "",
    marks: Mapping[str, Sequence[float]] | None = None,
) -> Chart:
    """One line per series (x, y), with markers at all of up to 40 points, else at some, unless it is the only one.

    Args:
        series: (x, y) by name.
        axes_names: what is on the axes, x and y, with units.
        words: see `chart`.
        log: the axes that are logarithmic: "", "x", "y" or "xy".
        marks: vertical lines by their name in the legend.
    """
    with drawing():
        figure, axes = new_figure()
        for n, (name, (x, y)) in enumerate(series.items()):
            axes.plot(
                *(x, y),
                color=COLOURS[n % len(COLOURS)],
                linestyle=LINES[n % len(LINES)],
                marker=MARKERS[n % len(MARKERS)] if len(x) <= 40 or len(series) > 1 else None,
                markevery=1 if len(x) <= 40 else len(x) // 12,
                markersize=4,
                linewidth=1.3,
                label=name,
            )
        for n, (name, places) in enumerate((marks or {}).items()):
            for k, place in enumerate(places):
                axes.axvline(
                    place,
                    **{"color": _INK, "linestyle": LINES[(n + 1) % len(LINES)], "linewidth": 1},
                    label=None if k else name,
                )
        names = len(series) + len(marks or {})
        _finish(axes, axes_names, log, legend=1 < names <= _INSIDE)
        if names > _INSIDE:
            _legend_below(axes)
    return chart(figure, words)


def intervals(
    labels: Sequence[str],
    values: Sequence[float],
    ranges: Sequence[tuple[float, float] | None],
    axis: str,
    words: str,
    *,
    form: str = "{:.3f}",
    marked: int = 0,
) -> Chart:
    """Points with intervals, the first one on top, each with its value.

    Args:
        labels: their names.
        values: the points, not negative.
        ranges: low and high of each, None for a point without an interval.
        axis: what the values are, with the unit and the kind of interval.
        words: see `chart`.
        form: the format of a value.
        marked: number of the first points that have another marker and colour.
    """
    reach = [max(v, *(r or ())) if r else v for v, r in zip(values, ranges, strict=True)]
    most = max([*reach, 1e-9])
    with drawing():
        figure, axes = new_figure(height=0.7 + 0.27 * len(labels))
        for n, (value, interval, end) in enumerate(zip(values, ranges, reach, strict=True)):
            if interval is not None:
                axes.plot(interval, (n, n), color=COLOURS[0], linewidth=2.5, alpha=0.55)
            axes.plot(value, n, color=COLOURS[n < marked], marker=MARKERS[n < marked], markersize=5)
            axes.text(end + 0.02 * most, n, form.format(value), va="center", fontsize=8)
        axes.set_yticks(range(len(labels)), [shortened(label) for label in labels])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, 1.18 * most)
        axes.set_xlabel(axis)
        axes.grid(visible=False, axis="y")
    return chart(figure, words)


def scatter(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    axes_names: tuple[str, str],
    words: str,
) -> Chart:
    """Points (x, y) of at most eight groups, with a marker and a colour each, the first ones on top; about 100 bytes a point.

    Args:
        groups: (x, y) by name.
        axes_names: what is on the axes, x and y, with units.
        words: see `chart`.
    """
    with drawing():
        figure, axes = new_figure(height=4.2)
        for n, (name, (x, y)) in enumerate(groups.items()):
            style = {"color": COLOURS[n % len(COLOURS)], "marker": MARKERS[n % len(MARKERS)]}
            axes.plot(
                *(x, y),
                **style,
                linestyle="",
                markersize=3.5,
                alpha=0.75,
                label=shortened(name),
                zorder=3 - 0.1 * n,
            )
        _finish(axes, axes_names, "", legend=False)
        _legend_below(axes)
    return chart(figure, words)


def shortened(label: str, most: int = 32) -> str:
    """A label that leaves room for the picture; dollar signs do not begin formulas."""
    label = "".join(c if c.isprintable() else " " for c in label)
    short = label if len(label) <= most else label[: most - 1] + "…"
    return short.replace("$", r"\$")


def _legend_below(axes: Any) -> None:
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)


def _finish(axes: Any, names: tuple[str, str], log: str, *, legend: bool) -> None:
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    if legend:
        axes.legend(frameon=False, fontsize=8)
