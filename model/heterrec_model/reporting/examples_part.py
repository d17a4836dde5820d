"""A few users in words: what they had, what came next, and what the run recommends."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from heterrec_model.data.catalogue_positions import NO_ROW
from heterrec_model.reporting.measured import TOP, MeasuredRun
from heterrec_schemas.generation import (
    features_in_words,
    items_in_words,
    name_in_words,
    user_in_words,
)
from heterrec_schemas.pages.html import Section, heading, paragraph, table

SHOWN = 10
"""Maximum number of interactions of a history that are shown: the newest."""
Item = Mapping[str, Any]


def examples_part(measured: MeasuredRun) -> Section:
    """The first users with a target in the top, and the first ones without; half of the examples each if there are enough."""
    chosen = chosen_users(measured)
    if not chosen:
        return Section("Users in words", [])
    items_N = measured.scorer.table.catalogue_N.numpy()
    top = {
        user: [int(items_N[p]) for p in measured.model.top.position_UK[user] if p != NO_ROW]
        for user in chosen
    }
    words = items_in_words(measured.generation, {item for items in top.values() for item in items})
    blocks = [
        paragraph(
            f"The first users with a target in their top {TOP}, then the first ones without, in the order of the split "
            f"{measured.wanted.split}. A recommended item that is a target is marked."
        )
    ]
    for user in chosen:
        blocks += _user(measured, user, [{"item_index": i, **words[i]} for i in top[user]])
    return Section("Users in words", blocks)


def chosen_users(measured: MeasuredRun) -> list[int]:
    """Rows of the example users."""
    ranks = measured.model.evaluation.per_user
    hit_U = np.zeros(ranks.users, bool)
    hit_U[ranks.user_P[ranks.mean_rank_P <= TOP]] = True
    hits, misses = np.flatnonzero(hit_U).tolist(), np.flatnonzero(~hit_U).tolist()
    wanted = measured.wanted.examples
    first = max((wanted + 1) // 2, wanted - len(misses))
    return [*hits[:first], *misses[: wanted - len(hits[:first])]]


def _user(measured: MeasuredRun, user: int, top: Sequence[Item]) -> Iterator[str]:
    user_id = str(measured.model.evaluation.per_user.user_ids[user])
    found = user_in_words(measured.generation, user_id, stored=True)
    [sequence] = found["splits"][measured.wanted.split]
    history, targets = sequence["history"], sequence["targets"]
    wanted = {event["item_index"] for event in targets}
    newest = history[-SHOWN:]
    yield heading(f"User {user_id}")
    if found["features"]:
        words = [f"{name}: {cell['words']}" for name, cell in found["features"].items()]
        yield paragraph("; ".join(words))
    title = f"History, the newest {len(newest)} of {len(history):,}"
    yield table(title, ["item", "features", "time"], map(_event, newest))
    yield table("Targets", ["item", "features", "time"], map(_event, targets))
    yield table(
        f"Top {TOP}",
        ["item", "features", ""],
        ([*_item(item), "target" if item["item_index"] in wanted else None] for item in top),
    )


def _event(event: Item) -> list[object]:
    behaviour = f"{event['behaviour']}, " if "behaviour" in event else ""
    return [*_item(event), f"{behaviour}{event['time']}"]


def _item(item: Item) -> list[object]:
    return [name_in_words(item), features_in_words(item)]
