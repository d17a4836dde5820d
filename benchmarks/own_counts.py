"""How well can counts alone rank? An upper reference for the repeat term on a generation with many repeats.

    python benchmarks/own_counts.py .demo/quarter [--csv results/own_counts/rows.csv]

The items of a user's history are ranked by models of "bought in the next weeks" that see counts, times and popularity only;
all other items follow by popularity. The models are fitted to the training split: what was bought up to `--days` before its
end tells whether the item is bought in the days that follow. Metrics are those of the validation split, seen items kept.
Needs scikit-learn.
"""

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from heterrec_model.evaluation.metrics import TargetRanks, user_metrics
from heterrec_schemas import open_generation
from heterrec_schemas.values import MS_PER_DAY

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Score = Callable[[Floats], Floats]
"""Scores of own items, [P], by their features."""
Classifier = LogisticRegression | HistGradientBoostingClassifier
HALF_LIVES = (30, 60, 180)
NAMES = [
    "log count",
    "log days since",
    "log interactions since",
    "log popularity",
    "log popularity of 30 days",
    "log share of buyers who buy again",
    "log length",
    *(f"log count, half-life {days} d" for days in HALF_LIVES),
]
KS = (10, 50, 100, 200)
History = tuple[Ints, Ints, Ints]
"""Items, times in ms, targets."""


def histories(root: Path, split: str) -> Iterator[History]:
    """The rows of a split."""
    generation = open_generation(root)
    columns = ["item_index", "timestamp_ms"] + (["target_item_index"] if split != "train" else [])
    for row in generation.sequences(split, columns).to_pylist():
        parts = [np.asarray(row[name], np.int64) for name in columns]
        yield parts[0], parts[1], parts[2] if len(parts) > 2 else parts[0][:0]


class Statistics:
    """What is known of every item at a time: popularity, of the last 30 days too, and how many buyers buy it again."""

    def __init__(self, rows: list[History], items: int, until: float) -> None:
        self.popular, self.recent = np.zeros(items), np.zeros(items)
        buyers, again = np.zeros(items), np.zeros(items)
        for item_T, time_T, _ in rows:
            known = time_T < until
            np.add.at(self.popular, item_T[known], 1)
            np.add.at(self.recent, item_T[known & (time_T >= until - 30 * MS_PER_DAY)], 1)
            days = np.unique(np.stack([item_T[known], time_T[known] // MS_PER_DAY]), axis=1)
            item_I, count_I = np.unique(days[0], return_counts=True)
            buyers[item_I] += 1
            again[item_I] += count_I > 1
        mean = again.sum() / buyers.sum()
        self.again = (again + 10 * mean) / (buyers + 10)

    def features(self, item_T: Ints, time_T: Ints) -> tuple[Ints, Floats]:
        """The distinct items of a history, [P], and their features, [P, len(NAMES)]."""
        item_P, pair_T, count_P = np.unique(item_T, return_inverse=True, return_counts=True)
        last_P = np.zeros(len(item_P), np.int64)
        last_P[pair_T] = np.arange(len(item_T))
        age_T = (time_T[-1] - time_T) / MS_PER_DAY
        decayed = (np.bincount(pair_T, 0.5 ** (age_T / days)) + 1e-3 for days in HALF_LIVES)
        columns = [
            np.log1p(count_P),
            np.log1p(age_T[last_P]),
            np.log(len(item_T) - last_P),
            np.log1p(self.popular[item_P]),
            np.log1p(self.recent[item_P]),
            np.log(self.again[item_P]),
            np.full(len(item_P), np.log(len(item_T))),
            *map(np.log, decayed),
        ]
        return item_P, np.stack(columns, 1)


class Ranked:
    """The histories of a split with their features, to be ranked in several ways."""

    def __init__(self, rows: list[History], known: Statistics) -> None:
        self._behind = np.argsort(-known.popular, kind="stable")[: 5 * max(KS)]
        self._rows = [(*known.features(item_T, time_T), np.unique(t)) for item_T, time_T, t in rows]

    def metrics(self, score: Score) -> list[float]:
        """Recall and nDCG at every k, in percent, of own items by their scores and then all others by popularity."""
        users, ranks = [], []
        for user, (item_P, features, wanted) in enumerate(self._rows):
            own = item_P[np.argsort(-score(features), kind="stable")]
            ranked = np.concatenate([own, self._behind[~np.isin(self._behind, own)]])
            places = {item: place for place, item in enumerate(ranked[: max(KS)].tolist(), 1)}
            ranks += [places.get(item, np.inf) for item in wanted.tolist()]
            users += [user] * len(wanted)
        true_P = np.ones(len(ranks), np.bool_)
        found = TargetRanks(
            user_ids=np.arange(len(self._rows)),
            user_P=np.asarray(users),
            first_P=np.asarray(ranks, np.float64),
            tied_P=np.ones(len(ranks), np.int64),
            warm_P=true_P,
            row_P=true_P,
            had_P=true_P,
        )
        return [float(100 * value_U.mean()) for value_U in user_metrics(found, KS).values()]


def training_pairs(rows: list[History], known: Statistics, cut: int) -> tuple[Floats, Bools]:
    """Features of own items before a time, and whether they were bought after it."""
    parts, bought = [], []
    for item_T, time_T, _ in rows:
        past = time_T < cut
        if past.any() and not past.all():
            item_P, features = known.features(item_T[past], time_T[past])
            parts.append(features)
            bought.append(np.isin(item_P, item_T[~past]))
    return np.concatenate(parts), np.concatenate(bought)


def ways(x: Floats, y: Bools) -> dict[str, Score]:
    """The rankings that are compared, by name."""

    def fitted(columns: list[int], model: Classifier) -> Score:
        model.fit(x[:, columns], y)
        return lambda features: np.asarray(model.predict_proba(features[:, columns])[:, 1])

    few, every = [0, 1, 2, 3], list(range(len(NAMES)))
    boosting = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.05, random_state=0)
    return {
        "count": lambda features: features[:, 0],
        "count, half-life 180 d (repeat)": lambda features: features[:, -1],
        "logistic regression, " + ", ".join(NAMES[n] for n in few): fitted(
            few, LogisticRegression(max_iter=500)
        ),
        "logistic regression, the same and log share of buyers who buy again": fitted(
            [*few, 5], LogisticRegression(max_iter=500)
        ),
        f"logistic regression, all {len(NAMES)} numbers": fitted(
            every, LogisticRegression(max_iter=1000)
        ),
        f"gradient boosting, all {len(NAMES)} numbers": fitted(every, boosting),
    }


def main() -> None:
    """Print, and with --csv write, one row per way to rank."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--days", type=int, default=36)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    train, validation = (list(histories(args.data, split)) for split in ("train", "validation"))
    items = 1 + max(int(max(row[0].max(), row[2].max(initial=0))) for row in train + validation)
    cut = max(int(time_T[-1]) for _, time_T, _ in train) - args.days * MS_PER_DAY
    x, y = training_pairs(train, Statistics(train, items, cut), cut)
    ranked = Ranked(validation, Statistics(train, items, np.inf))
    table = [["ranking of own items", *(f"{name}@{k}" for k in KS for name in "RN")]]
    for name, score in ways(x, y).items():
        table.append([name, *(f"{value:.2f}" for value in ranked.metrics(score))])
        print(table[-1], flush=True)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(table)


if __name__ == "__main__":
    main()
