"""Every table of docs/results.md has the figures of the rows in results/."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import results_page


def test_the_page_has_the_figures_of_the_rows() -> None:
    page = results_page.PAGE.read_text(encoding="utf-8")
    tables = page.count("<!-- end -->")
    assert tables > 3
    assert len(results_page.BLOCK.findall(page)) == tables, "a comment of a table is wrong"
    assert results_page.agree(page, results_page.written(page))
    for figure, other, same in (
        (31.41, 31.42, True),
        (31.41, 31.43, False),
        (31.41, "31.41 b", False),
    ):
        changed = page.replace(f" {figure} |", f" {other} |", 1)
        assert changed != page
        assert results_page.agree(changed, page) == same


def test_figures_of_other_tables_are_prose() -> None:
    """No table without a comment has cells with metrics."""
    prose = results_page.BLOCK.sub("", results_page.PAGE.read_text(encoding="utf-8"))
    rows = [line for line in prose.splitlines() if line.startswith("|")]
    assert rows
    metrics = re.compile(r"\| [+-]?\d+\.\d\d?%? \|")
    assert [row for row in rows if metrics.search(row)] == []
    assert metrics.search("| SASRec | 31.41 | 9.1 |")
