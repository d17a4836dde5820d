"""Writes the tables of docs/results.md from the rows of the studies in results/.

    python benchmarks/results_page.py

A table is replaced between two comments:

    <!-- metrics STUDY DATA SPLIT PROTOCOL -->               means of the metrics of all models, cost and origin
    <!-- data STUDY SPLIT PROTOCOL -->                       the same with a row for each model of each data set
    <!-- lift STUDY DATA SPLIT PROTOCOL MODEL ... -->         lift over the best baseline, with intervals
    <!-- parts STUDY DATA SPLIT PROTOCOL METRIC MODEL ... -->  mean of a metric for each part of the targets
    <!-- csv FILE [COLUMN ...] -->                              rows of a file in results/
    <!-- end -->

A test compares the page with the rows.
"""

import csv
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from heterrec_model.evaluation.metrics import PARTS, metric_names
from heterrec_model.studies.reporting.results import ModelResult, Table, result_tables
from heterrec_model.studies.reporting.tables import (
    count_text,
    lift_text,
    markdown_table,
    percent,
    shown,
)
from heterrec_model.studies.rows import number
from heterrec_model.studies.study_file import Study, load_study

ROOT = Path(__file__).parent.parent
PAGE, STUDIES, RESULTS = ROOT / "docs/results.md", ROOT / "examples/studies", ROOT / "results"
BLOCK = re.compile(
    r"(<!-- (metrics|data|lift|parts|csv) ([^>]+) -->\n).*?(<!-- end -->)", re.DOTALL
)
NUMBER = re.compile(r"[+-]?\d+\.\d+")
METRICS = metric_names((10, 50, 100, 200))
DEEP = METRICS[2:]


@cache
def studies() -> dict[str, Study]:
    """The studies of the examples by name."""
    found = [load_study(path) for path in sorted(STUDIES.rglob("*.yaml"))]
    return {study.name: study for study in found}


@cache
def tables(study: str) -> list[Table]:
    """The tables of a study."""
    return result_tables(studies()[study], RESULTS)


def table_of(study: str, data: str, split: str, protocol: str) -> Table:
    """One table of a study."""
    for table in tables(study):
        if (table.data, table.split, table.protocol.name) == (data, split, protocol):
            return table
    raise SystemExit(f"no rows of {study}, {data}, {split}, {protocol}")


def metrics_table(study: str, data: str, split: str, protocol: str) -> Iterable[str]:
    """The means of all models, with the origin of the rows."""
    table = table_of(study, data, split, protocol)
    metrics = list(table.models[0].metrics)
    yield from markdown_table(
        ["model", "seeds", "parameters", "CPU s", *map(shown, metrics)],
        ([*_cost(m), *(percent(m.metrics[n].value) for n in metrics)] for m in table.models),
    )
    yield from _origin(study, [table])


def data_table(study: str, split: str, protocol: str) -> Iterable[str]:
    """The means of all models on each data set, with the origin of the rows."""
    found = [t for t in tables(study) if (t.split, t.protocol.name) == (split, protocol)]
    metrics = list(found[0].models[0].metrics)
    yield from markdown_table(
        ["data", "model", "seeds", "parameters", "CPU s", *map(shown, metrics)],
        (
            [t.data, *_cost(m), *(percent(m.metrics[n].value) for n in metrics)]
            for t in found
            for m in t.models
        ),
    )
    yield from _origin(study, found)


def _origin(study: str, of: list[Table]) -> Iterable[str]:
    rows = [row for table in of for m in table.models for row in m.rows]
    targets, ranked, cold = (
        count_text(number(rows[0], name)) for name in ("targets", "ranked_items", "cold_items")
    )
    contents, commits = (
        ", ".join(sorted({f"`{row[name][:8]}`" for row in rows}))
        for name in ("content_sha256", "commit")
    )
    folder = f"[results/{study}](../results/{study}/tables.md)"
    notes = " ".join(note for table in of for note in table.notes)
    yield ""
    yield f"{targets} targets; {ranked} ranked items, {cold} of them cold. Content {contents}, commits"
    yield f"{commits}; intervals and settings: {folder}. {notes}".rstrip()


def lift_table(study: str, data: str, split: str, protocol: str, *models: str) -> Iterable[str]:
    """Lifts over the best baseline of each metric."""
    table = table_of(study, data, split, protocol)
    titles = {m.name: m.title for m in table.models}
    yield from markdown_table(
        ["lift over the best baseline", *map(shown, DEEP)],
        [
            ["best baseline", *(titles[table.best[n]] for n in DEEP)],
            *(
                [titles[m], *(lift_text(table.lift(m, table.best[n], n)) for n in DEEP)]
                for m in models
                if m in titles
            ),
        ],
    )


def parts_table(
    study: str, data: str, split: str, protocol: str, metric: str, *models: str
) -> Iterable[str]:
    """Means over the seeds of a metric, of all targets and of each part that has targets."""
    chosen = [m for m in table_of(study, data, split, protocol).models if m.name in models]
    first = chosen[0].rows[0]
    parts = [part for part in PARTS[1:] if number(first, f"{part}_targets")]
    heads = [f"{part} ({count_text(number(first, f'{part}_targets'))})" for part in parts]
    columns = [metric, *(f"{part}_{metric}" for part in parts)]
    yield from markdown_table(
        [shown(metric), "all", *heads],
        ([m.title, *(percent(m.mean(column)) for column in columns)] for m in chosen),
    )


def csv_table(file: str, *columns: str) -> Iterable[str]:
    """The rows of a file, shares in percent. A column `part_` is replaced by all its metrics, `part_recall@10` and so on."""
    with (RESULTS / file).open(newline="") as opened:
        heads, *rows = csv.reader(opened)
    chosen = []
    for name in columns or heads:
        part = [h for h in heads if name.endswith("_") and h.removeprefix(name) in METRICS]
        chosen += part or [name]
    titles = [shown(n.rpartition("_")[2]) if "@" in n else n.replace("_", " ") for n in chosen]
    places = [heads.index(name) for name in chosen]
    yield from markdown_table(titles, ([_cell(heads[n], row[n]) for n in places] for row in rows))
    yield ""
    yield f"Rows: [results/{file}](../results/{file})."


def _cell(head: str, text: str) -> str:
    if head.endswith("seconds"):
        return count_text(float(text))
    return percent(float(text)) if text and head.rpartition("_")[2] in METRICS else text


def _cost(m: ModelResult) -> list[str]:
    if not m.trained:
        return [m.title, "", "", ""]
    numbers = map(m.mean, ("parameters", "train_cpu_seconds"))
    return [m.title, str(len(m.rows)), *map(count_text, numbers)]


WRITERS = {
    "metrics": metrics_table,
    "data": data_table,
    "lift": lift_table,
    "parts": parts_table,
    "csv": csv_table,
}


def written(text: str) -> str:
    """The page with its tables written anew."""
    return BLOCK.sub(
        lambda m: m[1] + "\n" + "\n".join(WRITERS[m[2]](*m[3].split())) + "\n\n" + m[4], text
    )


def agree(page: str, anew: str) -> bool:
    """Whether two pages have equal texts and figures; the last digit of a bound depends on the machine's sums."""
    words, numbers = NUMBER.split(page), NUMBER.findall(page)
    others = NUMBER.findall(anew)
    return words == NUMBER.split(anew) and all(
        abs(float(x) - float(y)) <= 1.01 * 10.0 ** -len(x.partition(".")[2])
        for x, y in zip(numbers, others, strict=True)
    )


def main() -> None:
    """Write the tables of the page."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
