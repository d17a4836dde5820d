"""The text of a page: sections with facts, tables and charts."""

import html
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from heterrec_schemas.pages.charts import Chart

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="quiet">{about}</p>
<nav aria-label="Sections">{links}</nav>
</header>
<main>
"""


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        title: its heading.
        blocks: its contents as HTML: `paragraph`, `note`, `facts`, `table`, `charts`, `heading`.
    """

    title: str
    blocks: Sequence[str]


def page(title: str, about: str, sections: Iterable[Section]) -> str:
    """A whole page as HTML: it has everything that it shows, and asks no host for anything.

    Args:
        title: of the page.
        about: a line below the title.
        sections: its parts; those without blocks are left out.
    """
    parts = [s for s in sections if s.blocks]
    links = "".join(f'<a href="#s{n}">{text(s.title)}</a>' for n, s in enumerate(parts))
    style = files("heterrec_schemas.pages").joinpath("page.css").read_text()
    head = _HEAD.format(title=text(title), about=text(about), style=style, links=links)
    body = "".join(
        f'<section id="s{n}" aria-labelledby="t{n}">\n<h2 id="t{n}">{text(s.title)}</h2>\n'
        + "\n".join(s.blocks)
        + "\n</section>\n"
        for n, s in enumerate(parts)
    )
    return f"{head}{body}</main>\n</body>\n</html>\n"


def text(value: object) -> str:
    """A value as HTML; characters that cannot be printed are escaped."""
    shown = "".join(
        c
        if c.isprintable() or c == "\n"
        else c.encode("unicode_escape", "backslashreplace").decode()
        for c in str(value)
    )
    return html.escape(shown)


def paragraph(words: str) -> str:
    """A paragraph."""
    return f"<p>{text(words)}</p>"


def note(words: str) -> str:
    """A paragraph that stands out."""
    return f'<p class="note">{text(words)}</p>'


def heading(words: str) -> str:
    """A heading within a section."""
    return f"<h3>{text(words)}</h3>"


def code(words: str) -> str:
    """Lines to copy."""
    return f"<pre><code>{text(words)}</code></pre>"


def folded(summary: str, block: str) -> str:
    """A block that a click on its summary shows."""
    return f"<details><summary>{text(summary)}</summary>{block}</details>"


def facts(values: Mapping[str, object]) -> str:
    """Names with their values; those without a value (None) are left out."""
    rows = (f"<dt>{text(n)}</dt><dd>{text(v)}</dd>" for n, v in values.items() if v is not None)
    return f"<dl>{''.join(rows)}</dl>"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column names its rows; a None is an empty cell, and numbers stand right.

    Args:
        title: its caption.
        columns: names of the columns.
        rows: cells; floats are shown as they are, so round them.
    """
    rows = list(rows)
    right = [
        any(isinstance(r[k], int | float) for r in rows)
        and all(r[k] is None or isinstance(r[k], int | float) for r in rows)
        for k in range(len(columns))
    ]
    classes = [' class="number"' if r else "" for r in right]
    head = "".join(
        f'<th scope="col"{c}>{text(n)}</th>' for n, c in zip(columns, classes, strict=True)
    )
    body = "".join(f"<tr>{_cells(row, classes)}</tr>\n" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(title)}">'
        f"<table><caption>{text(title)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _cells(row: Sequence[object], classes: Sequence[str]) -> str:
    cells = [f"<td{c}>{_shown(v)}</td>" for v, c in zip(row[1:], classes[1:], strict=True)]
    return f'<th scope="row"{classes[0]}>{_shown(row[0])}</th>' + "".join(cells)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | float) else text(value)


def charts(charts: Iterable[tuple[str, Chart]]) -> str:
    """Pictures beside each other, or below each other in a narrow window.

    Args:
        charts: each with its caption.
    """
    shown = (
        f"<figure>{_labelled(c)}<figcaption>{text(caption)}</figcaption></figure>"
        for caption, c in charts
    )
    return f'<div class="charts">{"".join(shown)}</div>'


def _labelled(chart: Chart) -> str:
    words = html.escape(chart.words, quote=True)
    return chart.svg.replace("<svg ", f'<svg role="img" aria-label="{words}" ', 1)
