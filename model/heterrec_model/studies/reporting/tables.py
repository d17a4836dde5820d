"""The tables of a study in Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from heterrec_model.evaluation.metrics import PARTS
from heterrec_model.studies.reporting.intervals import LEVEL, RESAMPLES, Estimate
from heterrec_model.studies.reporting.results import ModelResult, Table
from heterrec_model.studies.rows import number
from heterrec_model.studies.study_file import Study

TABLES = "tables.md"
_SHORT = {"recall": "R", "ndcg": "N"}


def markdown(study: Study, tables: Sequence[Table], figures: Sequence[str] = ()) -> str:
    """The report: per data set the cost of its models, then one section per split and protocol."""
    lines = [
        f"# {study.name}",
        "",
        "Written by `heterrec-model study` from `rows.csv` and `users/`; changes are overwritten.",
        f"Metrics are in percent, R is Recall, N is nDCG; in brackets {LEVEL:.0%} intervals over seeds and users together",
        f"({RESAMPLES:,} resamples; over users alone with one seed).",
        "",
    ]
    for name in figures:
        lines += [f"![{name.rpartition('.')[0].replace('-', ' ')}](figures/{name})", ""]
    for data in study.data:
        own = [table for table in tables if table.data == data]
        if own:
            lines += [f"## {data}", "", *_cost(own), ""]
        for table in own:
            lines += [*_section(study, table), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def shown(metric: str) -> str:
    """`R@10` for recall@10, `N@10` for ndcg@10."""
    name, _, k = metric.partition("@")
    return f"{_SHORT.get(name, name)}@{k}"


def _section(study: Study, table: Table) -> Iterator[str]:
    first = table.models[0].rows[0]
    yield f"### {table.data}, {table.split}: {table.protocol.words}"
    yield ""
    users, targets, ranked, cold = (
        f"{number(first, name) or 0:,.0f}"
        for name in ("users", "targets", "ranked_items", "cold_items")
    )
    yield f"{users} users, {targets} targets; {ranked} ranked items, {cold} of them cold."
    yield f"Content {first['content_sha256'][:8]}."
    yield ""
    metrics = list(table.models[0].metrics)
    yield from markdown_table(
        ["model", "seeds", *map(shown, metrics)],
        (
            [
                m.title,
                str(len(m.rows)) if m.trained else "",
                *(_value(m.metrics[n]) for n in metrics),
            ]
            for m in table.models
        ),
    )
    others = [m for m in table.models if m.name not in study.baselines]
    if table.best and others:
        titles = {m.name: m.title for m in table.models}
        yield ""
        yield "Lift over the best baseline, which is chosen by each metric's mean in this table:"
        yield ""
        rows = [["best baseline", *(titles[table.best[n]] for n in metrics)]]
        for m in others:
            rows.append(
                [m.title, *(lift_text(table.lift(m.name, table.best[n], n)) for n in metrics)]
            )
        yield from markdown_table(["model", *map(shown, metrics)], rows)
    if parts := _parts(table):
        yield ""
        yield from parts
    if table.notes:
        yield ""
        yield from (f"- {note}" for note in table.notes)


def _parts(table: Table) -> list[str]:
    """Means over the targets of each part that has users, at the largest k."""
    deepest = list(table.models[0].metrics)[-2:]
    columns = [
        (part, metric)
        for part in PARTS
        if part != "all" and any(m.mean(f"{part}_users") for m in table.models)
        for metric in deepest
    ]
    if not columns:
        return []
    heads = [f"{part} {shown(metric)}" for part, metric in columns]
    rows = (
        [m.title, *(percent(m.mean(f"{part}_{metric}")) for part, metric in columns)]
        for m in table.models
    )
    first = table.models[0]
    counts = {part: first.mean(f"{part}_targets") or 0 for part, _ in columns}
    shares = ", ".join(f"{part} {count:,.0f}" for part, count in counts.items())
    return [f"Targets by part: {shares}.", "", *markdown_table(["model", *heads], rows)]


def _cost(tables: Sequence[Table]) -> Iterator[str]:
    """Size and time of the trained models of a data set."""
    trained = {m.name: m for table in reversed(tables) for m in table.models if m.trained}
    heads = [
        "model",
        "parameters",
        "without tables",
        "steps",
        "epochs",
        "training, s",
        "training, CPU s",
        "evaluation, s",
        "settings",
        "lacks",
    ]
    if trained:
        yield from markdown_table(heads, (_cost_row(m) for m in trained.values()))


def _cost_row(m: ModelResult) -> list[str]:
    counts = ("parameters", "parameters_without_tables", "steps", "epochs")
    times = ("train_seconds", "train_cpu_seconds", "evaluation_seconds")
    return [
        m.title,
        *(count_text(m.mean(name)) for name in counts),
        *(count_text(m.mean(name), digits=1) for name in times),
        m.rows[0]["settings_sha256"][:8],
        m.rows[0].get("lacks", ""),
    ]


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def _value(found: Estimate) -> str:
    if found.interval is None:
        return percent(found.value)
    low, high = (f"{100 * x:.2f}" for x in found.interval)
    return f"{percent(found.value)} ({low} to {high})"


def lift_text(found: Estimate | None) -> str:
    """A lift with its interval, signed, in percent."""
    if found is None or found.value != found.value:
        return ""
    if found.interval is None:
        return f"{found.value:+.1%}"
    low, high = (f"{100 * x:+.1f}" for x in found.interval)
    return f"{found.value:+.1%} ({low} to {high})"


def percent(value: float | None) -> str:
    """A share in percent with two decimals; empty if it is None or NaN."""
    return "" if value is None or value != value else f"{100 * value:.2f}"


def count_text(value: float | None, digits: int = 0) -> str:
    """A number with separators of thousands; empty if it is None."""
    return "" if value is None else f"{value:,.{digits}f}"
