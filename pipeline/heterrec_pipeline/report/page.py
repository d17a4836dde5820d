"""The page of a generation: sections in the order in which the data flows."""

from collections.abc import Iterator
from typing import Any

from heterrec_pipeline.drift.gate import notices
from heterrec_pipeline.report.against import differences
from heterrec_pipeline.report.examples import item_examples, user_examples
from heterrec_pipeline.report.features import feature_blocks
from heterrec_pipeline.report.interactions import interaction_blocks
from heterrec_schemas.drift import DriftReport
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation import Generation
from heterrec_schemas.pages import html
from heterrec_schemas.pages.charts import Chart, bars
from heterrec_schemas.pages.html import Section
from heterrec_schemas.rejects import REJECTS_SCHEMA

REJECTS = 20
"""Number of rejects that are shown."""


def report(generation: Generation, against: Generation | None = None) -> str:
    """The report of a generation as HTML; equal generations have equal reports.

    Nothing is computed from the tables: the figures are those of `statistics.json`, the examples are the first rows.

    Args:
        generation: the generation.
        against: another one to compare it with; None for the parent, as the generation itself reports it.

    Raises:
        CallError: the generation was built before statistics had what the report shows.
        CorruptGenerationError: a table cannot be read.
    """
    statistics = generation.statistics()
    if "history_lengths" not in statistics:
        raise CallError(
            f"{generation.locate('statistics.json')} has no distributions",
            got="a generation of an earlier version",
            expected="history_lengths, train_counts and days",
            todo="Build or refresh it again, then ask for the report.",
        )
    manifest = generation.manifest
    sections = [
        Section("Summary", list(_summary(generation, statistics))),
        Section("Rows and rejects", list(_rows(generation))),
        Section("Interactions", list(interaction_blocks(generation, statistics))),
        Section("Features", list(feature_blocks(generation, statistics))),
        Section("Changes", list(_changes(generation, against))),
        Section("Items in tokens", list(item_examples(generation))),
        Section("Users in words", list(user_examples(generation))),
    ]
    name = f" of {manifest.name}" if manifest.name else ""
    return html.page(
        f"Generation{name}",
        f"{manifest.generation}, built {manifest.created}. Shares are of all rows; figures come from statistics.json.",
        sections,
    )


def _summary(generation: Generation, statistics: dict[str, Any]) -> Iterator[str]:
    manifest = generation.manifest
    yield html.facts(
        {
            "items": f"{statistics['items']:,}",
            "users": f"{statistics['users']:,}",
            "interactions": f"{statistics['interactions']:,}",
            "interactions per user": f"{statistics['interactions_per_user']:,.2f}",
            "sequences": ", ".join(f"{n} {k:,}" for n, k in statistics["sequences"].items()),
            "features": ", ".join(f"{f.name} ({f.side}, {f.kind})" for f in manifest.features),
            "parent": manifest.parent or "none, this is a build",
            "drift": manifest.drift,
            "fingerprint of the content": manifest.content_sha256,
            "fingerprint of the spec": manifest.spec_sha256,
            "input": f"{len(manifest.inputs):,} files, {sum(i.bytes for i in manifest.inputs):,} bytes",
            "libraries": ", ".join(f"{n} {v}" for n, v in manifest.libraries.items()),
        }
    )


def _rows(generation: Generation) -> Iterator[str]:
    manifest = generation.manifest
    counts = manifest.counts
    sources = (
        ("interactions", counts.interactions),
        ("items", counts.items),
        ("users", counts.users),
    )
    yield html.charts(
        [
            (f"What became of the rows of {name}.", _funnel(name, of.model_dump()))
            for name, of in sources
            if of is not None
        ]
    )
    if not manifest.rejects:
        yield html.paragraph("Nothing was rejected.")
        return
    rejects = sorted(manifest.rejects.items(), key=lambda r: (-r[1], r[0]))
    yield html.table("Rejects by reason", ("reason", "entries"), [(str(r), n) for r, n in rejects])
    (file,) = generation.files("rejects")
    some = next(iter(generation.row_groups(file.path, REJECTS_SCHEMA.names, [0]))).slice(0, REJECTS)
    title = f"The first {len(some)} of {file.rows:,} rejects"
    cells = [[None if c is None else str(c) for c in row.values()] for row in some.to_pylist()]
    yield html.table(title, [n.replace("_", " ") for n in some.column_names], cells)


def _funnel(name: str, counts: dict[str, int]) -> Chart:
    some = {k.replace("_", " "): v for k, v in counts.items() if v or k in ("read", "kept")}
    words = ", ".join(f"{k} {v:,}" for k, v in some.items())
    return bars(
        list(some),
        list(some.values()),
        f"rows of {name}",
        f"Rows of {name}: {words}.",
        form="{:,.0f}",
    )


def _changes(generation: Generation, against: Generation | None) -> Iterator[str]:
    drift = generation.drift()
    if against is not None and (drift is None or drift.parent != against.manifest.generation):
        yield from differences(generation, against)
        return
    if drift is None:
        yield html.paragraph("This is a build: it has no parent that it could differ from.")
        return
    yield from _drift(generation, drift)


def _drift(generation: Generation, drift: DriftReport) -> Iterator[str]:
    for words in notices(drift, generation.spec.drift, generation.manifest):
        yield html.note(words)
    features = drift.worst_first()
    measured = [(f.stem, f.psi) for f in features if f.psi is not None]
    if measured:
        worst = max(measured, key=lambda f: f[1])
        yield html.charts(
            [
                (
                    f"Population stability index against {drift.parent}; above {generation.spec.drift.warn:g} a warning.",
                    bars(
                        [name for name, _ in measured],
                        [psi for _, psi in measured],
                        "population stability index",
                        f"Drift of {len(measured)} features; the largest is {worst[1]:.3f} of {worst[0]}.",
                        form="{:.3f}",
                    ),
                )
            ]
        )
    yield html.table(
        "Features, the worst first",
        (
            "feature",
            "psi",
            "psi since the fit",
            "status",
            "missing before",
            "now",
            "OOV before",
            "now",
        ),
        [
            (
                *(f.stem, f.psi, f.psi_fit, f.status),
                *(_percent(share) for share in (*f.missing, *f.oov)),
            )
            for f in features
        ],
    )
    rows = [(name, before, now, _percent(fall)) for name, (before, now, fall) in drift.rows]
    yield html.table("Rows", ("of", "parent", "refresh", "lost"), rows)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"
