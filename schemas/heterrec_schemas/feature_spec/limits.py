"""The limits of a build: shares of rejected rows, and what a worker holds."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag

from heterrec_schemas.errors import suggest
from heterrec_schemas.feature_spec.base import SpecModel
from heterrec_schemas.rejects import Reason

BROADCAST_VALUES = 4_000_000
"""Number of keys or values that a worker holds as one table, unless the spec says otherwise."""
MAX_REJECT_RATIO = 0.01
"""Share of rejected rows that a source may have, unless the spec says otherwise."""
DEFAULT = "default"
"""The limit of all reasons without a limit of their own."""
ONE_LIMIT, LIMITS_BY_REASON = "one limit", "limits by reason"
"""The two forms of `max_reject_ratio`, in the paths of error messages."""
LIMITED = [str(reason) for reason in Reason if reason != Reason.UNREADABLE_IMAGE]
"""The reasons that a limit may name: those of a build."""


def _known_reasons(limits: dict[str, float]) -> dict[str, float]:
    for name in limits:
        if name != DEFAULT and name not in LIMITED:
            raise ValueError(f"unknown reason {name!r}. {suggest(name, [DEFAULT, *LIMITED])}")
    return limits


def _form(value: Any) -> str:
    return LIMITS_BY_REASON if isinstance(value, dict) else ONE_LIMIT


_Ratio = Annotated[float, Field(ge=0, le=1, strict=False)]
_ByReason = Annotated[
    dict[str, _Ratio],
    AfterValidator(_known_reasons),
    Field(json_schema_extra={"propertyNames": {"enum": [DEFAULT, *LIMITED]}}),
]


class Limits(SpecModel):
    """Limits on rejects and on the memory of a worker."""

    max_reject_ratio: Annotated[
        Annotated[_Ratio, Tag(ONE_LIMIT)] | Annotated[_ByReason, Tag(LIMITS_BY_REASON)],
        Discriminator(_form),
    ] = Field(
        default=MAX_REJECT_RATIO,
        description="the largest share of rejected rows of a source: a number, or numbers by reason, of which `default` "
        "is for the rows rejected for any other reason",
    )
    broadcast_values: int = Field(
        default=BROADCAST_VALUES,
        ge=0,
        description="number of keys, or of values of a feature, up to which each worker holds all of them as one table",
    )

    @property
    def reject_ratios(self) -> Mapping[str, float]:
        """The limits by reason; that of the other reasons is `default`."""
        if isinstance(self.max_reject_ratio, dict):
            return {DEFAULT: MAX_REJECT_RATIO} | self.max_reject_ratio
        return {DEFAULT: self.max_reject_ratio}

    def limit_of(self, reason: str) -> str:
        """The name of the limit that rejects of a reason count against: the reason, or `default`."""
        return str(reason) if str(reason) in self.reject_ratios else DEFAULT

    def path_of(self, limit: str) -> str:
        """Where the spec has a limit, for messages."""
        path = "limits.max_reject_ratio"
        return f"{path}.{limit}" if isinstance(self.max_reject_ratio, dict) else path
