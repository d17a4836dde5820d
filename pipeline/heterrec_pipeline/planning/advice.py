"""Warnings of a plan: unused codes, features that are nearly always missing, skew, unknown items, rejects."""

from collections.abc import Iterator, Sequence

import numpy as np

from heterrec_pipeline.checking.doubts.outcome import LACKING
from heterrec_pipeline.checking.reject_limit import as_reason, percent
from heterrec_pipeline.planning.features import FeatureFigures
from heterrec_pipeline.planning.figures import Figures
from heterrec_schemas.feature_spec import CategoricalFeature, EmbeddingFeature, Limits
from heterrec_schemas.feature_spec.limits import DEFAULT
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tokens import VALUES_PER_SHARD

NEVER_USED = 0.5
"""Share of unused codes above which a plan warns."""
ITEMS_PER_CODE = 8
"""Number of items per code of a group below which a plan warns: the code can hardly be learnt."""
MISSING = 0.9
"""Share of items without a value above which a plan warns."""
SKEWED_USER = 0.01
"""Share of one user in all interactions above which a plan warns."""
UNBALANCED = 2.0
"""Ratio of the largest sequence shard to the mean one, in interactions, above which a plan warns."""
UNKNOWN = 0.05
"""Share of unknown items, or of items with a value outside the vocabulary, above which a plan warns."""


def warnings(found: Figures, doubts: Sequence[str] = ()) -> Iterator[str]:
    """All warnings: features, catalogue, users, log, rejects; without those that `doubts` has with examples."""
    items = found.item_count
    for feature in found.features:
        yield from _feature(feature, items)
    yield from _shards("the catalogue", items, found.job.spec.items.catalogue_vocabulary.shards)
    yield from _users(found)
    yield from _log(found, any(LACKING in text for text in doubts))
    yield from _rejects(found)


def _feature(f: FeatureFigures, items: int) -> Iterator[str]:
    name = f"feature {f.feature.name!r}" if f.side == "item" else f"user feature {f.feature.name!r}"
    where = "all" if f.rows and f.missing_share == 1.0 else f"{f.missing_share:.1%}"
    if f.rows and f.missing_share == 1.0:
        yield (
            f"{name} is missing in {where} {f.rows:,} rows read; a build rejects a feature without any "
            "value. Check the column and missing_values."
        )
    elif f.missing_share > MISSING:
        yield f"{name} is missing in {where} of the rows read. Is it the right column?"
    if isinstance(f.feature, EmbeddingFeature):
        yield from _codes(name, f, f.feature, items)
    if isinstance(f.feature, CategoricalFeature):
        if f.rows and f.oov_share > UNKNOWN and f.feature.oov_buckets == 0:
            yield (
                f"{name}: {f.oov_share:.1%} of the rows have a value outside the vocabulary; without "
                "oov_buckets these count as missing."
            )
        yield from _shards(name, f.ids.value, f.feature.shards)


def _codes(name: str, f: FeatureFigures, feature: EmbeddingFeature, items: int) -> Iterator[str]:
    every = feature.token_count * feature.code_count
    if f.ids.high < (1 - NEVER_USED) * every:
        yield (
            f"{name}: {1 - f.ids.value / every:.0%} of its codes are never used ({f.ids.value:,} of "
            f"{every:,} are used). {feature.denser_codes} give denser codes."
        )
    if feature.code_count * ITEMS_PER_CODE > max(1, items):
        yield (
            f"{name}: a {feature.token_word} has {feature.code_count:,} codes for {items:,} items, "
            f"{items / feature.code_count:.1f} items per code. {feature.denser_codes} give more items per code."
        )


def _shards(name: str, values: int, declared: int | None) -> Iterator[str]:
    if declared is not None and values > 4 * declared * VALUES_PER_SHARD:
        yield (
            f"{name}: {declared} vocabulary {'shard' if declared == 1 else 'shards'} for about {values:,} "
            f"values, {values // declared:,} each. Leave `shards` out, or declare more."
        )


def _users(found: Figures) -> Iterator[str]:
    by_user = found.read.log.by_user.rows()
    rows = by_user["rows"].to_numpy()
    total = int(rows.sum())
    if total == 0:
        return
    top = int(rows.max())
    if len(rows) >= 1 / SKEWED_USER and top / total > SKEWED_USER:
        yield (
            f"one user has {top / total:.1%} of the interactions ({top:,} of {total:,} read). A bot? "
            "All of a user's rows are sorted by one worker."
        )
    shards = found.job.spec.output.sequence_shards
    if shards == 1:
        return
    shard = (by_user["key"].to_numpy() % np.uint64(shards)).astype(np.int64)
    weights = np.bincount(shard, weights=rows, minlength=shards)
    if weights.max() > UNBALANCED * weights.mean():
        yield (
            f"sequence shards are unbalanced: the largest has {weights.max() / weights.mean():.1f} times the "
            f"interactions of the mean one, and {int((weights == 0).sum())} of {shards} are empty. Use fewer "
            "shards, or check the users with the most interactions."
        )


def _log(found: Figures, unknown_warned: bool) -> Iterator[str]:
    spec, read, log = found.job.spec, found.read.log, found.log
    share = read.unknown / max(1, read.seen)
    if share > UNKNOWN and not unknown_warned:
        yield (
            f"{share:.1%} of the interactions have an item that is not in the catalogue "
            f"(unknown_items: {spec.interactions.unknown_items})."
        )
    if log["read"].value and log["kept"].value == 0:
        yield "no interaction is left after the checks; a build would publish nothing."
    if not (read.part.whole or read.part.fair):
        yield (
            "the log is text that is too large to read completely: only the beginnings of its files were "
            "read, and the figures for users and sequences are rough. --full-scan reads all of it."
        )


def _rejects(found: Figures) -> Iterator[str]:
    limits = found.job.spec.limits
    # The reasons of items are not counted by table. Above the sum of all limits, one of them is exceeded.
    items = found.items
    rows = max(1, items["read"].value - items["erased"].value - items["filtered"].value)
    share = items["rejected"].value / rows
    if share > sum(limits.reject_ratios.values()):
        yield _too_many("items", share, limits, DEFAULT, sum(limits.reject_ratios.values()))
    log = found.read.log
    rejected: dict[str, float] = {str(reason): count for reason, count in log.bad.items()}
    if found.job.spec.interactions.unknown_items == "reject":
        rejected[Reason.UNKNOWN_ITEM] = log.unknown
    rows = max(1, log.seen - log.erased - log.filtered)
    for limit, ratio in limits.reject_ratios.items():
        share = sum(n for r, n in rejected.items() if limits.limit_of(r) == limit) / rows
        if share > ratio:
            yield _too_many("interactions", share, limits, limit, ratio)


def _too_many(name: str, share: float, limits: Limits, limit: str, ratio: float) -> str:
    return (
        f"{name}: about {share:.1%} of the rows would be rejected{as_reason(limit)}, more than "
        f"{limits.path_of(limit)} allows ({percent(ratio)}): a build would fail."
    )
