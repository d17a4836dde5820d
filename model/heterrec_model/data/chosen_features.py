"""The features of a generation that a model uses: their names, sizes and columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from heterrec_model.config import Config
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.feature_spec import EmbeddingFeature
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.tokens import feature_stem


@dataclass(frozen=True)
class FeatureInfo:
    """One feature of the items or of the users.

    Attributes:
        name: as in the feature spec.
        kind: categorical, numeric or embedding.
        size: token ids are 0 .. size - 1 (0 padding, 1 missing).
        start: first column in the token table.
        columns: number of columns: 1; Z, or the number of levels, for an embedding; the length of the longest list for a
            multivalued feature, whose cells are padded with 0 on the right.
        multivalued: whether a cell is a list.
        quantizer: of an embedding feature, empty otherwise.
        dim: width of the vectors of an embedding feature, 0 otherwise.
        width: number of dimensions that were quantised: `dim`, or those that `reduce` leaves.
    """

    name: str
    kind: Literal["categorical", "numeric", "embedding"]
    size: int
    start: int
    columns: int
    multivalued: bool = False
    quantizer: str = ""
    dim: int = 0
    width: int = 0

    @property
    def groups(self) -> int:
        """Z of an embedding feature, 0 otherwise."""
        return self.columns if self.kind == "embedding" else 0


def chosen_entries(
    generation: Generation, side: Literal["item", "user"], names: Sequence[str] | None
) -> tuple[FeatureEntry, ...]:
    """Manifest entries of the chosen features of one side, in the order of the spec; `names` None chooses all.

    Raises:
        CallError: a feature does not exist.
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


def configured_entries(
    config: Config, generation: Generation
) -> tuple[tuple[FeatureEntry, ...], tuple[FeatureEntry, ...]]:
    """Manifest entries of the item and user features that a configuration reads, in the order of the tokens.

    This is the order of the spec, or, in a warm-started run, of its settings: the order that the tokens had before.

    Raises:
        CallError: a feature does not exist.
    """
    found = []
    sides: tuple[tuple[Literal["item", "user"], Sequence[str] | None], ...] = (
        ("item", config.model.features),
        ("user", config.model.user_features),
    )
    for side, names in sides:
        entries = chosen_entries(generation, side, names)
        if config.warm_start is not None and names is not None:
            entries = tuple(sorted(entries, key=lambda entry: names.index(entry.name)))
        found.append(entries)
    return found[0], found[1]


def shard_column(entry: FeatureEntry) -> str:
    """Column of a feature in the item shards or the sequence shards."""
    return feature_stem(entry.side, entry.name)


def describe_features(
    generation: Generation, entries: Sequence[FeatureEntry], longest: Mapping[str, int]
) -> tuple[FeatureInfo, ...]:
    """Sizes and columns of the chosen features of one side.

    Item features get consecutive columns of the token table; user features, which are not in the table, start at 0.
    `longest` has the length of the longest list of every multivalued feature.
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
                quantizer=feature.quantizer if isinstance(feature, EmbeddingFeature) else "",
                dim=feature.dim if isinstance(feature, EmbeddingFeature) else 0,
                width=feature.width if isinstance(feature, EmbeddingFeature) else 0,
            )
        )
        start += columns if entry.side == "item" else 0
    return tuple(described)
