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
    figure = re.search(r"\| (\d+\.\d\d) \|", page)
    assert figure is not None
    for difference, same in ((0, True), (0.01, True), (0.02, False)):
        other = f"| {float(figure[1]) + difference:.2f} |"
        assert results_page.agree(page.replace(figure[0], other, 1), page) == same
    assert not results_page.agree(page + "b", page)


def test_its_files_exist() -> None:
    page = results_page.PAGE.read_text(encoding="utf-8")
    paths = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page)
    assert [path for path in paths if not (results_page.PAGE.parent / path).exists()] == []


def test_figures_of_other_tables_are_prose() -> None:
    """No table without a comment has cells with metrics."""
    prose = results_page.BLOCK.sub("", results_page.PAGE.read_text(encoding="utf-8"))
    rows = [line for line in prose.splitlines() if line.startswith("|")]
    assert rows
    metrics = re.compile(r"\| [+-]?\d+\.\d\d?%? \|")
    assert [row for row in rows if metrics.search(row)] == []
    assert metrics.search("| SASRec | 31.41 | 9.1 |")
