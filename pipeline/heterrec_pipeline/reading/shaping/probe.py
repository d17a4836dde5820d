"""Tries an expression on made-up rows: whether its result in a row depends on other rows."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from heterrec_pipeline.reading.shaping.evaluate import is_failure, result


def probe_frame(types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Some rows with made-up cells, to try whether a result depends on other rows."""
    rows = len(_PROBES)
    cells = {}
    for k, (name, kind) in enumerate(types.items()):
        texts = pl.Series([_PROBES[(i + 3 * k) % rows] for i in range(rows)], dtype=pl.String)
        cells[name] = _made(texts, kind)
    return pl.DataFrame(cells)


_PROBES = (
    *("1", "2026-01-31", "x", "31/01/2026", None, "", "3.5", "-7", "N/A", "2026-01-31 10:00:00"),
    *(
        "true",
        "0",
        "9007199254740993",
        "é",
        " 5 ",
        "2026-01-31T10:00:00Z",
        "a,b|c",
        "{}",
        "[1]",
        "1e3",
    ),
)


_LATEST_MS = 4e12
"""A time in 2096, in milliseconds."""


def _made(texts: pl.Series, target: pl.DataType) -> pl.Series:
    if target == pl.String:
        return texts
    numbers = texts.cast(pl.Float64, strict=False)
    if target.is_temporal():  # times of later years than Polars can write
        numbers = numbers.clip(-_LATEST_MS, _LATEST_MS)
    if target.is_numeric() or target == pl.Boolean or target.is_temporal():
        return numbers.cast(pl.Int64, strict=False).cast(target, strict=False)
    if target == pl.Binary:
        return texts.cast(pl.Binary)
    if isinstance(target, pl.List) and isinstance(target.inner, pl.DataType):
        return pl.Series([[cell] for cell in _made(texts, target.inner)], dtype=target)
    return pl.Series([None] * len(texts), dtype=target)


def depends_on_other_rows(frame: pl.DataFrame, expression: pl.Expr) -> bool:
    """Whether some row of a probe has another result among others than alone."""
    alone = {at: _tried(frame[at : at + 1], expression) for at in range(len(frame))}
    kept = [at for at, found in alone.items() if found is not None]
    if not kept:
        return False
    expected = pl.concat(found for found in alone.values() if found is not None)
    order = np.random.default_rng(0).permutation(len(kept))
    together = _tried(frame[kept], expression)
    shuffled = _tried(frame[np.array(kept)[order]], expression)
    if together is None or shuffled is None:
        return True
    if not (together.equals(expected) and shuffled.equals(expected.gather(order))):
        return True
    # Others may not make up for what fails alone.
    failing = [at for at, found in alone.items() if found is None]
    return any(_tried(frame[[*kept, at]], expression) is not None for at in failing)


def _tried(frame: pl.DataFrame, expression: pl.Expr) -> pl.Series | None:
    """The results of an expression; None if it fails."""
    try:
        return result(frame, expression)
    except BaseException as error:
        if not is_failure(error):
            raise
        return None
