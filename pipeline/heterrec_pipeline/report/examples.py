"""A few items and users of a generation in words."""

from collections.abc import Iterator
from typing import Any

from heterrec_schemas.generation import Generation, features_in_words, name_in_words, user_in_words
from heterrec_schemas.generation.decode import decode_cells
from heterrec_schemas.pages import html

ITEMS, USERS, EVENTS = 12, 3, 10
"""How many are shown, and the interactions of each user."""
MOST_TOKENS = 12


def item_examples(generation: Generation) -> Iterator[str]:
    """A dozen items with their tokens, and what these stand for."""
    names = [f.name for f in generation.spec.items.features]
    shard = next((p for p in generation.item_shards() if _rows(generation, p)), None)
    if shard is None:
        return
    group = next(iter(generation.row_groups(shard, ["item_index", "item_id", *names], [0])))
    step = max(1, len(group) // ITEMS)
    some = group.take(list(range(0, len(group), step))[:ITEMS])
    cells = {n: decode_cells(generation, n, some[n].to_pylist()) for n in names}
    for k, (index, key) in enumerate(
        zip(some["item_index"].to_pylist(), some["item_id"].to_pylist(), strict=True)
    ):
        rows = [(n, _tokens(cells[n][k]), cells[n][k]["words"]) for n in names]
        yield html.table(
            f"Item {key} (item_index {index})", ("feature", "tokens", "what it is"), rows
        )


def _rows(generation: Generation, path: str) -> int:
    return next((f.rows or 0 for f in generation.manifest.files if f.path == path), 0)


def _tokens(cell: dict[str, Any]) -> str:
    tokens = cell.get("tokens", [cell.get("token")])
    return " ".join(map(str, tokens[:MOST_TOKENS])) + (" ..." if len(tokens) > MOST_TOKENS else "")


def user_examples(generation: Generation) -> Iterator[str]:
    """The end of the history of a few users; none if their ids are hashed."""
    if generation.manifest.user_key is not None:
        yield html.paragraph("User ids of this generation are hashed: no user is shown.")
        return
    shard = next((p for p in generation.sequence_shards("latest") if _rows(generation, p)), None)
    if shard is None:
        return
    group = next(iter(generation.row_groups(shard, ["user_id"], [0])))
    for user in group["user_id"].slice(0, USERS).to_pylist():
        found = user_in_words(generation, str(user))
        events = found["splits"]["latest"][0]["history"]
        title = f"User {user}: the last {min(EVENTS, len(events))} of {len(events):,} interactions"
        yield html.table(
            title,
            ("time (UTC)", "behaviour", "item", "what it is"),
            [
                (e["time"], e.get("behaviour"), name_in_words(e), features_in_words(e))
                for e in events[-EVENTS:]
            ],
        )
        features = {n: cell["words"] for n, cell in found["features"].items()}
        if features:
            yield html.facts(features)
