"""What an evaluation found: the numbers of the JSON, and every user's ranks behind them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from heterrec_model.evaluation.metrics import Floats, Part, TargetRanks, mean_metrics, user_metrics


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One model's or baseline's ranking of one split.

    Attributes:
        name: of the model or baseline.
        split: validation or test.
        per_user: every user's targets and their ranks.
        catalogue: items that were ranked.
        ks: of the metrics.
        seen_filtered: whether the histories' items left the ranking, targets excepted.
        checkpoint: which of a run; None for what is no checkpoint.
        generation: the id of the generation.
        seconds: that reading, scoring and ranking took.
    """

    name: str
    split: str
    per_user: TargetRanks
    catalogue: int
    ks: tuple[int, ...]
    seen_filtered: bool
    checkpoint: str | None
    generation: str
    seconds: float

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        """`recall@10`, `ndcg@10`, ... over all targets, averaged over users; None without users."""
        return mean_metrics(self.per_user, self.ks)

    def part(self, part: Part) -> dict[str, float | int | None]:
        """The metrics over the warm (or cold) targets only, with how many `users` and `targets` that are."""
        ranks = self.per_user.part(part)
        return {**mean_metrics(ranks, self.ks), "users": ranks.users, "targets": len(ranks.rank_P)}

    def user_metrics(self, part: Part = "all") -> dict[str, Floats]:
        """The metrics of every user who has targets in a part, in the order of `per_user.part(part).user_ids`."""
        return user_metrics(self.per_user.part(part), self.ks)

    def to_json(self) -> dict[str, Any]:
        """What `evaluate --json` prints."""
        ranks = self.per_user
        targets = len(ranks.rank_P)
        return {
            "model": self.name,
            "split": self.split,
            "users": ranks.users,
            "catalogue": self.catalogue,
            "metrics": self.metrics,
            "warm": self.part("warm"),
            "cold": self.part("cold"),
            "targets_per_user": targets / ranks.users if ranks.users else None,
            "targets": targets,
            "targets_without_row": int((~(ranks.rank_P < float("inf"))).sum()),
            "targets_tied": int(ranks.tied_P.sum()),
            "seen_filtered": self.seen_filtered,
            "checkpoint": self.checkpoint,
            "generation": self.generation,
            "seconds": round(self.seconds, 3),
        }
