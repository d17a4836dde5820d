"""What a generation's features look like to a model: sizes and columns, nothing of their values."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FeatureInfo:
    """One feature of the items (or the users).

    Attributes:
        name: as in the feature spec.
        kind: categorical, numeric or embedding.
        size: token ids are 0 .. size - 1 (0 padding, 1 missing).
        start: its first column in the token table.
        columns: how many columns it has there: 1; Z for an embedding; the longest list for a multivalued feature, whose
            cells are padded with 0 on the right.
        multivalued: whether a cell is a list.
        quantiles: q of an embedding feature, 0 otherwise.
        dim: width of the vectors that an embedding feature was quantised from, 0 otherwise.
    """

    name: str
    kind: Literal["categorical", "numeric", "embedding"]
    size: int
    start: int
    columns: int
    multivalued: bool = False
    quantiles: int = 0
    dim: int = 0

    @property
    def groups(self) -> int:
        """Z of an embedding feature."""
        return self.columns if self.kind == "embedding" else 0
