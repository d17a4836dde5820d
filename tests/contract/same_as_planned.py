"""What `plan` says of an input that it reads wholly is what the manifest of its build says."""

from pathlib import Path
from typing import Any

from heterrec_pipeline.planning.plan import Plan, PlanConfig, plan
from heterrec_schemas.errors import HeterrecError, RejectRatioError
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.manifest import STATE, Manifest


def assert_planned(text: str, source: Path, manifest: Manifest) -> None:
    """The plan of an input has the counts of its build, and about its size."""
    found = planned(text, source)
    assert counts_of(found) == manifest_counts(manifest)
    predicted, real = found.bytes_out, sum(f.bytes for f in manifest.files)
    assert 0.75 < predicted / real < 1.25 + 20_000 / real


def assert_refused(text: str, source: Path, why: HeterrecError) -> None:
    """A plan refuses what a build refuses before it starts, and warns of too many rejects."""
    try:
        said = planned(text, source)
    except HeterrecError as error:
        exit_code = error.exit_code
    else:
        exit_code = why.exit_code
        if isinstance(why, RejectRatioError):
            assert any("a build would fail" in w for w in said.warnings), why
    assert exit_code == why.exit_code


def planned(text: str, source: Path) -> Plan:
    """The plan of an input that is read wholly."""
    return plan(PlanConfig(parse_spec(text), text, str(source), full_scan=True))


def counts_of(found: Plan) -> dict[str, Any]:
    """The counts of a plan, all of which must be exact."""
    figures = found.figures
    tables = {"items": figures.items, **({"users": figures.users} if figures.users else {})}
    counts = {f"{n}.{k}": e for n, c in tables.items() for k, e in c.items()}
    counts |= {f"log.{k}": e for k, e in figures.log.items()}
    counts |= {f"sequences.{s}": e for s, e in figures.sequences.items()}
    assert [n for n, e in (counts | {"users": figures.user_count}).items() if not e.exact] == []
    body: dict[str, Any] = {n: e.value for n, e in counts.items()}
    body["rejects"] = {str(r): n for r, n in figures.rejects.items()}
    for feature in figures.features:
        entry = feature.entry
        assert entry is not None
        body[f"{entry.side}/{entry.name}"] = (entry.vocabulary_size, entry.bins, entry.oov)
    body["rows"] = {f.stem: f.rows for f in found.files if f.kind != STATE}
    return body


def manifest_counts(manifest: Manifest) -> dict[str, Any]:
    """The same of a manifest."""
    tables = {"items": manifest.counts.items, "users": manifest.counts.users}
    body: dict[str, Any] = {
        f"{n}.{k}": getattr(c, k)
        for n, c in tables.items()
        if c is not None
        for k in ("read", "kept", "rejected", "erased", "filtered")
    }
    body |= {f"log.{k}": v for k, v in manifest.counts.interactions.model_dump().items()}
    body |= {f"sequences.{s}": n for s, n in manifest.counts.sequences.items()}
    body["rejects"] = {str(r): n for r, n in manifest.rejects.items()}
    for entry in manifest.features:
        body[f"{entry.side}/{entry.name}"] = (entry.vocabulary_size, entry.bins, entry.oov)
    rows: dict[str, int] = {}
    for file in manifest.files:
        if file.rows is not None:
            stem = file.path.removesuffix(".parquet").rsplit("-", 3)[0]
            rows[stem] = rows.get(stem, 0) + file.rows
    body["rows"] = rows
    return body
