"""Which features a model takes of a generation, and what they look like."""

from collections.abc import Mapping, Sequence
from typing import Literal

from heterrec_model.data.features import FeatureInfo
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.feature_spec import EmbeddingFeature
from heterrec_schemas.manifest import FeatureEntry

Side = Literal["item", "user"]


def chosen_entries(
    generation: Generation, side: Side, names: Sequence[str] | None
) -> tuple[FeatureEntry, ...]:
    """The manifest's entries of the chosen features of one side, in the spec's order.

    Args:
        generation: where the features come from.
        side: `item` or `user`.
        names: in any order; None takes all.

    Raises:
        CallError: there is no such feature.
    """
    known = {entry.name: entry for entry in generation.manifest.features if entry.side == side}
    for name in names or ():
        if name not in known:
            raise CallError(
                f"there is no {side} feature {name!r} in {generation.root}",
                todo=suggest(name, known) or f"The generation has no {side} features.",
            )
    declared = generation.spec.items.features if side == "item" else generation.spec.user_features
    return tuple(known[f.name] for f in declared if names is None or f.name in names)


def shard_column(entry: FeatureEntry) -> str:
    """The feature's column in the shards: of the items, or of the sequences."""
    return entry.name if entry.side == "item" else f"user_{entry.name}"


def describe_features(
    generation: Generation, entries: Sequence[FeatureEntry], longest: Mapping[str, int]
) -> tuple[FeatureInfo, ...]:
    """What the chosen features look like to a model.

    Args:
        generation: where they come from.
        entries: of one side, as `chosen_entries` gives them.
        longest: how many tokens the longest list of every multivalued feature has.

    Returns:
        Item features side by side in the token table; user features, which are no part of it, all at 0.
    """
    described: list[FeatureInfo] = []
    start = 0
    for entry in entries:
        feature = generation.feature(shard_column(entry))
        columns = longest[entry.name] if entry.multivalued else entry.groups or 1
        described.append(
            FeatureInfo(
                name=entry.name,
                kind=entry.kind,
                size=entry.vocabulary_size,
                start=start,
                columns=columns,
                multivalued=entry.multivalued,
                quantiles=entry.quantiles or 0,
                dim=feature.dim if isinstance(feature, EmbeddingFeature) else 0,
            )
        )
        start += columns if entry.side == "item" else 0
    return tuple(described)
