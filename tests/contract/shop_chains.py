"""Chains of inputs: a nasty data set whose tables, spec and fits change from step to step."""

import copy
import random
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from strategies import Dataset, Malformed, Table, datasets, sequences_of

STEPS = 4


class Step:
    """The input of one day, and the features that are fitted anew, by the names of their files.

    Not a dataclass: Hypothesis would print all of it, and refuses the text of whole chains.
    """

    def __init__(self, dataset: Dataset, refit: list[str]) -> None:
        self.dataset, self.refit = dataset, refit

    def __repr__(self) -> str:
        rows = {table.name: len(table.rows) for table in self.dataset.tables}
        return f"<rows {rows}, refit {self.refit}>"


@st.composite
def chains(draw: Any, most_interactions: int = 80) -> list[Step]:
    """A build and a few refreshes of one shop: rows come, go, return and change, and so do features and options."""
    whole = draw(datasets(most_interactions=most_interactions))
    rng = random.Random(draw(st.integers(0, 2**32)))
    drop = draw(st.sampled_from([None, "keep", "drop"]))
    started: set[tuple[str, str]] = set()
    steps = []
    for number in range(STEPS):
        spec = copy.deepcopy(whole.spec)
        if drop:
            spec["items"]["retired"] = drop
        if number:
            spec |= sequences_of(draw)
        present = set()
        for side, owner in _owners(spec):
            owner["features"] = [f for f in owner["features"] if rng.random() < 0.85] or owner[
                "features"
            ]
            for feature in owner["features"]:
                _change_options(rng, feature)
                present.add((side, feature["name"]))
        if "erase" in spec:
            named = {("user_" if side == "user" else "") + name for side, name in present}
            listed = spec["erase"].get("values", {})
            spec["erase"]["values"] = {n: v for n, v in listed.items() if n in named}
        frozen = [
            ("user_" if side == "user" else "") + f["name"]
            for side, owner in _owners(spec)
            for f in owner["features"]
            if f["kind"] != "categorical" and (side, f["name"]) in started
        ]
        refit = [name for name in frozen if rng.random() < 0.2]
        tables = [_some_rows(rng, table) for table in whole.tables]
        steps.append(Step(Dataset(spec, tables), refit))
        started = present
    if draw(st.booleans()):
        steps.append(Step(steps[-1].dataset, []))
    return steps


def _owners(spec: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("item", spec["items"]),
        *([("user", spec["users"])] if "source" in spec.get("users", {}) else []),
    ]


def _change_options(rng: random.Random, feature: dict[str, Any]) -> None:
    """Change what a refresh may change of a feature."""
    if feature["kind"] == "categorical" and rng.random() < 0.3:
        feature["min_count"] = rng.randint(1, 3)
    if feature["kind"] == "categorical" and rng.random() < 0.2:
        feature["max_size"] = rng.randint(1, 6)
    if feature.get("multivalued") and rng.random() < 0.2:
        feature["max_values"] = rng.randint(1, 3)


def _some_rows(rng: random.Random, table: Table) -> Table:
    """Most rows of a table; a few have a cell of another row."""
    rows = [row for row in table.rows if rng.random() < 0.75] or table.rows[:3]
    whole = [row for row in rows if not isinstance(row, Malformed)]
    values = list(table.columns)[1:]
    changed = []
    for row in rows:
        if values and whole and not isinstance(row, Malformed) and rng.random() < 0.15:
            column = rng.choice(values)
            row = {**row, column: rng.choice(whole)[column]}
        changed.append(row)
    return replace(table, rows=changed, empty=False)
