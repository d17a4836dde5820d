"""Console output of `inspect`: a generation, an item, a user or the drift, as tables or as JSON."""

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from heterrec_pipeline.drift.gate import notices
from heterrec_schemas.command_line import print_json
from heterrec_schemas.generation import (
    Generation,
    features_in_words,
    item_in_words,
    name_in_words,
    open_generation,
    overview,
    user_in_words,
)
from heterrec_schemas.tokens import feature_stem

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def run_inspect(
    path: str,
    *,
    item: str | None = None,
    user: str | None = None,
    drift: bool = False,
    as_json: bool = False,
    verify: bool = True,
    console: Console,
) -> None:
    """Print a generation: an overview, or the requested item and user.

    Args:
        path: an output folder, or a generation's own folder; local or a URI.
        item: the key of an item to decode.
        user: the key of a user whose sequences to show.
        drift: show how a refresh differs from its parent.
        as_json: print one JSON object with the key `overview`, or with `item`, `user` and `drift` as requested.
        verify: first compare the hashes of the files, not only their sizes, with the manifest.
        console: where to print.

    Raises:
        GenerationError: there is no generation, or it is damaged.
        CallError: there is no such item or user.
    """
    generation = open_generation(path, verify="hashes" if verify else "sizes")
    parts: dict[str, Any] = {}
    if item is not None:
        parts["item"] = item_in_words(generation, item)
    if user is not None:
        parts["user"] = user_in_words(generation, user)
    if drift:
        parts["drift"] = _drift_part(generation)
    if not parts:
        parts["overview"] = overview(generation)
    if as_json:
        print_json(parts)
        return
    shown = {"overview": _overview, "item": _item, "user": _user, "drift": _drift}
    for name, part in parts.items():
        for block in shown[name](part):
            console.print(block)


def _overview(part: dict[str, Any]) -> Iterator[RenderableType]:
    yield _lines(
        {
            "name": part["name"],
            "generation": part["generation"],
            "created": part["created"],
            "parent": part["parent"] or "none",
            **({"drift": part["drift"]} if part["drift"] else {}),
            "folder": part["root"],
            "content": part["content_sha256"],
            **_about_ids(part["user_ids"]),
        }
    )
    yield _feature_table(part["features"])
    yield _file_table(part["tables"])
    yield _count_table(part["counts"])
    if part["cuts"]:
        cuts = part["cuts"]
        yield _lines({name.removesuffix("_ms"): cut["utc"] for name, cut in cuts.items()})
    if part["rejects"]:
        table = _table("rejects", "reason", "entries")
        for reason, count in sorted(part["rejects"].items(), key=lambda r: (-r[1], r[0])):
            _row(table, reason, f"{count:,}")
        yield table
    else:
        yield Text("nothing was rejected")


def _about_ids(user_ids: dict[str, str] | None) -> dict[str, object]:
    if user_ids is None:
        return {}
    key, fingerprint = user_ids["hash_key"], user_ids["fingerprint"]
    return {"user ids": f"hashed by the key in {key} (fingerprint {fingerprint})"}


def _feature_table(features: list[dict[str, Any]]) -> Table:
    table = _table("features", "feature", "side", "kind", "size", "missing", "out of vocabulary")
    for feature in features:
        _row(
            table,
            feature["name"],
            feature["side"],
            feature["kind"] + (", multivalued" if feature["multivalued"] else ""),
            _size(feature),
            _share(feature["missing"], feature["missing_share"]),
            _share(feature["oov"], feature["oov_share"]),
        )
    return table


def _size(feature: dict[str, Any]) -> str:
    if feature["kind"] == "embedding":
        word = "levels" if feature.get("quantizer") == "rq" else "groups"
        return f"{feature['groups']} {word} of {feature['vocabulary_size']:,} ids"
    bins = f"{feature['bins']:,} bins, " if "bins" in feature else ""
    return f"{bins}{feature['vocabulary_size']:,} ids"


def _file_table(tables: list[dict[str, Any]]) -> Table:
    shown = _table(
        "files", "table", "shards", "rows", "size", "rows per shard", "row groups per shard"
    )
    for table in tables:
        _row(
            shown,
            table["table"],
            f"{len(table['rows']):,}",
            f"{sum(table['rows']):,}",
            _bytes(sum(table["bytes"])),
            _range(table["rows"]),
            _range(table["row_groups"]),
        )
    return shown


def _count_table(counts: dict[str, Any]) -> Table:
    table = _table("counts", "of", "counts")
    for of, numbers in counts.items():
        _row(table, of, ", ".join(f"{word} {count:,}" for word, count in numbers.items()))
    return table


def _item(part: dict[str, Any]) -> Iterator[RenderableType]:
    yield _lines(
        {
            "item": part["item_id"],
            "item_index": part["item_index"],
            "status": part["status"],
            "trained on": f"{part['train_count']:,} times",
            "shard": part["shard"] or "none",
        }
    )
    yield _cells(part["features"])


def _user(part: dict[str, Any]) -> Iterator[RenderableType]:
    yield _lines({"user": part["user_id"]})
    if part["features"]:
        yield _cells(part["features"])
    for split, rows in part["splits"].items():
        for row in rows:
            title = f"{split}, window {row['window']}" if "window" in row else split
            yield _event_table(title, row)


def _drift_part(generation: Generation) -> dict[str, Any] | None:
    """The report with the worst feature first, and what it says in words; None for a build."""
    report = generation.drift()
    if report is None:
        return None
    features = [f.model_dump(mode="json") for f in report.worst_first()]
    words = list(notices(report, generation.spec.drift, generation.manifest))
    return report.model_dump(mode="json") | {"features": features, "notices": words}


def _drift(part: dict[str, Any] | None) -> Iterator[RenderableType]:
    if part is None:
        yield Text("This generation is a build: it has no parent that it could differ from.")
        return
    status = part["status"] + (" (allowed)" if part["allowed"] else "")
    yield _lines({"parent": part["parent"], "status": status})
    # Without vertical lines, nine columns fit into 80 characters.
    table = Table(title="features", title_justify="left", box=box.SIMPLE, padding=0, pad_edge=False)
    table.add_column("feature", overflow="fold")
    for column in ("psi", "psi_fit", "status", "missing", "oov", "new", "returned", "retired"):
        table.add_column(column, justify="right", overflow="fold")
    for feature in part["features"]:
        values = feature["values"] or {}
        _row(
            table,
            feature_stem(feature["side"], feature["name"]),
            *("" if feature[k] is None else f"{feature[k]:.3f}" for k in ("psi", "psi_fit")),
            feature["status"],
            *(_change(*feature[k]) for k in ("missing", "oov")),
            *(f"{values[k]:,}" if values else "" for k in ("new", "returned", "retired")),
        )
    yield table
    table = _table("rows", "of", "parent", "refresh", "fall")
    for name, (before, now, fall) in part["rows"].items():
        _row(table, name, f"{before:,}", f"{now:,}", f"{fall:.1%}")
    yield table
    for words in part["notices"]:
        yield Text(_plain(words))


def _change(before: float | None, now: float) -> str:
    """A share, and by how many percentage points it has changed."""
    points = f"{100 * (now - (now if before is None else before)):+.1f}"
    return f"{now:.1%}" + ("" if float(points) == 0 else f" {points}")


def _event_table(title: str, row: dict[str, Any]) -> Table:
    table = _table(title, "", "time (UTC)", "behaviour", "item", "what it is")
    for role, events in (("", row["history"]), ("target", row.get("targets", []))):
        for event in events:
            _row(
                table,
                role,
                event["time"],
                event.get("behaviour", ""),
                name_in_words(event),
                features_in_words(event),
            )
    return table


def _cells(features: dict[str, dict[str, Any]]) -> Table:
    table = _table("features", "feature", "kind", "tokens", "value")
    for name, cell in features.items():
        tokens = cell.get("tokens", [cell.get("token")])
        shown = " ".join(map(str, tokens[:8])) + (" ..." if len(tokens) > 8 else "")
        _row(table, name, cell["kind"], shown, cell["words"])
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _row(table: Table, *cells: object) -> None:
    table.add_row(*(Text(_plain(cell)) for cell in cells))


def _lines(values: dict[str, object]) -> Text:
    width = max(map(len, values))
    return Text("\n".join(f"{name:<{width}}  {_plain(value)}" for name, value in values.items()))


def _plain(value: object) -> str:
    """A value of the data as text, without control characters."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)
    )


def _share(count: int, share: float | None) -> str:
    return f"{count:,}" if share is None else f"{count:,} ({share:.1%})"


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _bytes(count: int) -> str:
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{count} bytes"
