"""Result of an evaluation: the ranks of every user, and the numbers computed from them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from heterrec_model.evaluation.metrics import (
    PARTS,
    Floats,
    Part,
    TargetRanks,
    mean_metrics,
    user_metrics,
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model's or baseline's ranking of one split.

    Attributes:
        name: of the model or baseline.
        split: validation or test.
        per_user: targets of every user and their ranks.
        catalogue: number of items of the catalogue.
        candidate_set: known or all, the items that are ranked: see `candidates.candidate_mask`.
        candidates: their number.
        cold_candidates: number of candidates without training interactions.
        ks: of the metrics.
        seen_filtered: whether items of the histories were left out of the ranking, unless they are targets.
        checkpoint: name of the checkpoint; None for a baseline.
        generation: id of the generation.
        seconds: duration of reading, scoring and ranking.
        lacks: inputs of the generation that the model does not read, see `data.inputs`.
    """

    name: str
    split: str
    per_user: TargetRanks
    catalogue: int
    candidate_set: str
    candidates: int
    cold_candidates: int
    ks: tuple[int, ...]
    seen_filtered: bool
    checkpoint: str | None
    generation: str
    seconds: float
    lacks: tuple[str, ...] = ()

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        """`recall@10`, `ndcg@10`, ... over all targets, averaged over users; None without users.

        A target that is no candidate is a miss.
        """
        return mean_metrics(self.per_user, self.ks)

    def part(self, part: Part) -> dict[str, float | int | None]:
        """Metrics over the targets of a part, with the numbers of `users` and `targets`."""
        ranks = self.per_user.part(part)
        return {**mean_metrics(ranks, self.ks), "users": ranks.users, "targets": len(ranks.user_P)}

    def user_metrics(self, part: Part = "all") -> dict[str, Floats]:
        """Metrics of every user with targets in a part, in the order of `per_user.part(part).user_ids`."""
        return user_metrics(self.per_user.part(part), self.ks)

    def to_json(self) -> dict[str, Any]:
        """The output of `evaluate --json`."""
        ranks = self.per_user
        targets = len(ranks.user_P)
        return {
            "model": self.name,
            "split": self.split,
            "users": ranks.users,
            "catalogue": self.catalogue,
            "candidate_set": self.candidate_set,
            "candidates": self.candidates,
            "cold_candidates": self.cold_candidates,
            "metrics": self.metrics,
            **{part: self.part(part) for part in PARTS if part != "all"},
            "targets_per_user": targets / ranks.users if ranks.users else None,
            "targets": targets,
            "targets_unknown": int((ranks.row_P & ~ranks.ranked_P).sum()),
            "targets_without_row": int((~ranks.row_P).sum()),
            "targets_tied": int((ranks.tied_P > 1).sum()),
            "seen_filtered": self.seen_filtered,
            "checkpoint": self.checkpoint,
            "generation": self.generation,
            "seconds": round(self.seconds, 3),
            "lacks": list(self.lacks),
        }
