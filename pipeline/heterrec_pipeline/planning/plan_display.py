"""Shows a plan as a JSON object or as tables on a console."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from heterrec_pipeline.checking.outlook_display import print_outlook, size
from heterrec_pipeline.job import INTERACTIONS
from heterrec_pipeline.planning.estimates import CONFIDENCE, Interval
from heterrec_pipeline.planning.features import FeatureFigures
from heterrec_pipeline.planning.files import Files
from heterrec_pipeline.planning.plan import Plan
from heterrec_pipeline.planning.resources import paths
from heterrec_pipeline.planning.token_choices import TokenChoices, shown
from heterrec_schemas.feature_spec import CategoricalFeature, EmbeddingFeature, NumericFeature

PLAN_VERSION = 1


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain data, as documented in docs/plan.md."""
    found = plan.figures
    rows = {"items": found.items, **({"users": found.users} if found.users else {})}
    return {
        "plan_version": PLAN_VERSION,
        "name": found.job.spec.name,
        "confidence": CONFIDENCE,
        "read": _read(plan),
        "rows": {
            **{n: {k: e.as_json() for k, e in c.items()} for n, c in rows.items()},
            "interactions": {k: e.as_json() for k, e in found.log.items()},
            "sequences": {s: e.as_json() for s, e in found.sequences.items()},
        },
        "users": found.user_count.as_json(),
        "features": [_feature(f) for f in found.features],
        "paths": paths(found),
        "rejects": {str(r): n for r, n in found.rejects.items()},
        "files": [
            {"kind": f.kind, "name": f.stem, "shards": f.shards, "rows": f.rows, "bytes": f.bytes}
            for f in plan.files
        ],
        "text_bytes": sum(plan.texts.values()),
        "bytes_out": plan.bytes_out,
        "shuffle": {
            "bytes": plan.shuffle.bytes,
            "through": "files" if plan.shuffle.through_files else "engine",
            "tables": plan.shuffle.by_table,
        },
        "disk": {"bytes": plan.disk, "parts": plan.parts},
        "memory": {
            "bytes": plan.memory.peak,
            "base": plan.memory.base,
            "steps": plan.memory.steps,
        },
        "warnings": plan.warnings,
        **({"base": plan.base.as_json()} if plan.base else {}),
        **({"tokens": [t.as_json() for t in plan.tokens]} if plan.tokens else {}),
    }


def _read(plan: Plan) -> dict[str, dict[str, int | bool]]:
    """Number of blocks read, and of all blocks, by table."""
    read = plan.figures.read
    parts = {n: t.part for n, t in read.tables.items()} | {INTERACTIONS: read.log.part}
    return {n: {"blocks": p.read, "of": p.total, "whole": p.whole} for n, p in parts.items()}


def _feature(f: FeatureFigures) -> dict[str, Any]:
    feature = f.feature
    body: dict[str, Any] = {
        "name": feature.name,
        "side": f.side,
        "kind": feature.kind,
        "missing_share": round(f.missing_share, 6),
    }
    if isinstance(feature, CategoricalFeature):
        body |= {
            "distinct": f.distinct.as_json(),
            "values": f.ids.as_json(),
            "oov_buckets": feature.oov_buckets,
            "oov_share": round(f.oov_share, 6),
            "shards": f.shards,
        }
    elif isinstance(feature, NumericFeature):
        body |= {"bins": f.ids.as_json()}
    else:
        every = feature.token_count * feature.code_count
        body |= {
            "quantizer": feature.quantizer,
            "groups": feature.token_count,
            "codes_a_group": feature.code_count,
            "codes_used": f.ids.as_json(),
            "never_used_share": round(1 - f.ids.value / every, 6),
            "fewest_used_in_a_group": min(f.used, default=0),
        }
    return body


def print_plan(console: Console, plan: Plan) -> None:
    """Print the plan as tables, with its warnings."""
    console.print(_rows(plan))
    if plan.figures.features:
        console.print(_features(plan))
    console.print(_files(plan))
    for tokens in plan.tokens:
        console.print(choices_table(tokens))
        console.print(_proposal(tokens), highlight=False, soft_wrap=True)
    _resources(console, plan)
    if plan.base is not None:
        print_outlook(console, plan.base)
    for line in plan.warnings:
        console.print(
            f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )
    console.print("Nothing was published.", highlight=False)


def number(estimate: Interval) -> str:
    """`12,101` if exact, else `~22,000 (20,100 to 60,500)`."""
    if estimate.exact:
        return f"{estimate.value:,}"
    return f"~{estimate.value:,} ({estimate.low:,} to {estimate.high:,})"


def _table(title: str, columns: tuple[str, ...], texts: int = 1) -> Table:
    table = Table(
        title=title, box=box.SIMPLE, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0)
    )
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k < texts else "right", no_wrap=k == 0)
    return table


def _rows(plan: Plan) -> Table:
    found, log = plan.figures, plan.figures.log
    names = ["read", "kept", "rejected", "unknown_item", "duplicate", "short_user"]
    names += ["erased"] if found.job.erasures.every else []
    names += ["filtered"] if log["filtered"].value else []
    heads = {"unknown_item": "unknown", "short_user": "short user"}
    columns = ("", *(heads.get(n, n) for n in names), "seen")
    table = _table(f"{found.job.spec.name}: expected rows", columns)
    read = _read(plan)
    for name, counts in (("items", found.items), ("users", found.users)):
        if counts is not None:
            texts = [number(counts[n]) if n in counts else "" for n in names]
            table.add_row(name, *texts, _share(read[name]))
    texts = [number(log[n]) for n in names]
    table.add_row("interactions", *texts, _share(read["interactions"]))
    table.add_row("  their users", number(found.user_count))
    for split, rows in found.sequences.items():
        table.add_row(f"  {split}", "", number(rows))
    return table


def _share(read: dict[str, int | bool]) -> str:
    return "all" if read["whole"] else f"{read['blocks']:,} of {read['of']:,} blocks"


def _features(plan: Plan) -> Table:
    table = _table(
        "Features", ("feature", "side", "kind", "values, bins or codes", "missing", "OOV"), 3
    )
    for f in plan.figures.features:
        feature, ids = f.feature, number(f.ids)
        oov = f"{f.oov_share:.1%}" if isinstance(feature, CategoricalFeature) else ""
        if isinstance(feature, EmbeddingFeature):
            every = feature.token_count * feature.code_count
            ids += f" of {every:,}; {1 - f.ids.value / every:.0%} never used"
        elif isinstance(feature, CategoricalFeature) and f.shards > 1:
            ids += f" in {f.shards:,} shards"
        table.add_row(feature.name, f.side, feature.kind, ids, f"{f.missing_share:.1%}", oov)
    return table


def _files(plan: Plan) -> Table:
    table = _table("Files", ("kind", "shards", "rows", "rows per shard", "size"))
    kinds: dict[str, list[Files]] = {}
    for file in plan.files:
        kinds.setdefault(file.kind, []).append(file)
    for kind, files in kinds.items():
        shards, rows, count = (
            sum(getattr(f, n) for f in files) for n in ("shards", "rows", "bytes")
        )
        table.add_row(kind, f"{shards:,}", f"{rows:,}", f"{-(-rows // shards):,}", size(count))
    texts = plan.texts
    table.add_row("texts", f"{len(texts):,}", "", "", size(sum(texts.values())))
    return table


def choices_table(found: TokenChoices) -> Table:
    """Settings of tokens by the neighbours that they keep; the spec's first."""
    columns = ("setting", "tokens", "codes\na token", "codes\nused", "neighbours\nkept")
    title = f"Tokens of {found.name}: {found.distinct:,} distinct vectors of {found.vectors:,} read"
    table = _table(title, columns)
    table.columns[0].no_wrap = False  # in 80 columns a long setting would leave no room for figures
    best = sorted(found.choices[1:], key=lambda c: (-c.kept, c.feature.token_count))
    for choice in (found.choices[0], *best):
        text = shown(choice)
        text = f"{text} (the spec's)" if choice is found.choices[0] else text
        tokens, codes = choice.feature.token_count, choice.feature.code_count
        shares = (f"{choice.used:.0%}", f"{choice.kept:.1%}")
        table.add_row(text, f"{tokens:,}", f"{codes:,}", *shares)
    return table


def _proposal(found: TokenChoices) -> str:
    own, proposed = found.choices[0], found.proposed
    chance = f"By chance {found.chance:.1%} were kept."
    if proposed is own:
        return f"With at most {own.feature.token_count} tokens, none keeps more neighbours than the spec's. {chance}"
    return (
        f"With at most {own.feature.token_count} tokens, most neighbours are kept by {{{shown(proposed)}}}: "
        f"{proposed.kept:.1%}, by the spec's {own.kept:.1%}. {chance}"
    )


def _resources(console: Console, plan: Plan) -> None:
    channel = "files" if plan.shuffle.through_files else "the engine's shuffle"
    chosen, rejects = paths(plan.figures), plan.figures.rejects
    joins = ", ".join(f"{v['vocabulary']} by {v['path']}" for v in chosen["vocabularies"])
    lines = [
        f"Output: {size(plan.bytes_out)}. Shuffled through {channel}: {size(plan.shuffle.bytes)}. "
        f"Disk during the build: {size(plan.disk)}. Memory per worker: {size(plan.memory.peak)}.",
        f"Vocabularies: {joins}",
        f"Buckets of users: {chosen['user_buckets']:,}, about {chosen['rows_a_bucket']:,} rows each",
    ]
    if rejects:
        lines.append(f"Rejected: {', '.join(f'{r} {n:,}' for r, n in rejects.items())}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
