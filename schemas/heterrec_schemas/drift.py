"""`drift.json`: how the tokens and rows of a refresh differ from those of its parent."""

import json
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from heterrec_schemas.manifest import DriftStatus, Manifest, Size
from heterrec_schemas.tokens import feature_stem

DRIFT_NAME = "drift.json"
STATUSES: tuple[DriftStatus, ...] = ("pass", "warn", "fail")
"""From the best to the worst."""
RETIRED_SHARE = 0.5
"""Share of retired ids in the item vocabulary above which a rebuild is due."""
Side = Literal["item", "user"]
Counts = list[int] | tuple[int, list[list[int]]]
"""Number of tokens per bin; of an embedding the number of rows without a vector, and per dimension (pq, rq: per
token) the number in each of its bins."""
Shares = tuple[float | None, float | None]
"""A figure of the parent, None for a new feature, and the same figure of the refresh."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RowDrift(_Part):
    """Rows as (number in the parent, number in the refresh, share that was lost)."""

    items: tuple[Size, Size, float]
    users: tuple[Size, Size, float]
    """Users in `sequences/latest`."""
    interactions: tuple[Size, Size, float]


class ValueDrift(_Part):
    """Number of ids of a vocabulary by what the refresh changed."""

    known: Size = 0
    """Active in the parent and in the refresh."""
    new: Size = 0
    returned: Size = 0
    """Retired in the parent, active again."""
    retired: Size = 0
    """Active in the parent, retired now."""
    erased: Size = 0
    """Erased by this refresh."""


class CategoricalBins(_Part):
    """The bins of a categorical feature: missing, out of vocabulary, each of `tokens`, other, new."""

    tokens: list[int]
    """The 30 most frequent value tokens at the baseline, ascending."""
    largest: Size
    """The largest id at the baseline; larger ids are new."""


class FeatureDrift(_Part):
    """The drift of one feature.

    `psi` compares the refresh with its parent, `psi_fit` with the baseline: the generation in which the edges were fitted, or
    in which the ids of a categorical feature began. Both are None for a new or refitted feature, and if one side has no rows.
    """

    name: str
    side: Side
    psi: float | None
    psi_fit: float | None
    status: DriftStatus
    missing: Shares
    """Share of items (users) whose token is missing."""
    oov: Shares
    """Share of items (users) with at least one token of an out-of-vocabulary bucket."""
    values: ValueDrift | None = None
    """Of a categorical feature."""
    codes: Shares | None = None
    """Mean number of distinct codes per token, of an embedding."""
    bins: CategoricalBins | None = None
    baseline: Counts
    parent: Counts | None
    present: Counts

    @property
    def stem(self) -> str:
        """The name of the feature's files: `<feature>` or `user_<feature>`."""
        return feature_stem(self.side, self.name)


class DriftReport(_Part):
    """The content of `drift.json`."""

    parent: str
    status: DriftStatus
    """The worst status of the features and rows."""
    allowed: bool
    """Whether the refresh was to be published in spite of the status fail."""
    rows: RowDrift
    features: list[FeatureDrift]

    def to_json(self) -> str:
        """The report as JSON text, one line per feature."""
        body = self.model_dump(mode="json")
        features = ",\n  ".join(json.dumps(f) for f in body.pop("features"))
        head = json.dumps(body, indent=1).removesuffix("\n}")
        return f'{head},\n "features": [\n  {features}\n ]\n}}\n'

    def worst_first(self) -> list[FeatureDrift]:
        """The features by status, psi and psi_fit, the worst first."""

        def rank(feature: FeatureDrift) -> tuple[int, float, float, str]:
            psi, psi_fit = (-1.0 if v is None else v for v in (feature.psi, feature.psi_fit))
            return -STATUSES.index(feature.status), -psi, -psi_fit, feature.stem

        return sorted(self.features, key=rank)


def worst(statuses: Iterable[DriftStatus]) -> DriftStatus:
    """The worst of several statuses; pass if there are none."""
    return max(statuses, key=STATUSES.index, default="pass")


def retired_share(manifest: Manifest) -> float:
    """The share of retired ids in the item vocabulary."""
    shards = (f for f in manifest.files if f.path.startswith("vocabularies/item-"))
    ids = sum(f.rows or 0 for f in shards)
    return manifest.counts.items.retired / ids if ids else 0.0
