from typing import Any

from heterrec_pipeline.drift.compare import row_drift
from heterrec_pipeline.drift.gate import findings, notices
from heterrec_schemas.drift import DriftReport, FeatureDrift, ValueDrift
from heterrec_schemas.feature_spec import Drift
from heterrec_schemas.manifest import Manifest

LIMITS = Drift(min_rows=10)


def feature(
    name: str, status: str, psi: float | None, psi_fit: float | None = None, **more: Any
) -> FeatureDrift:
    plain: dict[str, Any] = {"side": "item", "missing": (0, 0), "oov": (0, 0), "baseline": [1]}
    more = plain | {"parent": [1], "present": [1]} | more
    return FeatureDrift(name=name, status=status, psi=psi, psi_fit=psi_fit, **more)  # type: ignore[arg-type]


def report(*features: FeatureDrift, items: tuple[int, int] = (100, 100)) -> DriftReport:
    rows = row_drift({"items": items, "users": (20, 15), "interactions": (9, 1)})
    return DriftReport(parent="p", status="fail", allowed=False, rows=rows, features=list(features))


def manifest(retired: int, ids: int) -> Manifest:
    """Of the manifest, what the notices read."""
    entries = [
        {"name": n, "side": s, "fitted": "g0"}
        for n, s in (("a", "item"), ("b", "item"), ("a", "user"))
    ]
    shards = [{"path": f"vocabularies/item-{k}", "rows": ids // 2} for k in range(2)]
    return Manifest.model_construct(
        features=[_Plain(e) for e in entries],  # type: ignore[arg-type]
        files=[_Plain(f) for f in shards],  # type: ignore[arg-type]
        counts=_Plain({"items": _Plain({"retired": retired})}),  # type: ignore[arg-type]
    )


class _Plain:
    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


def test_what_fails_is_told_worst_first_with_its_limit() -> None:
    found = report(
        feature("a", "fail", 0.3),
        feature("b", "fail", 1.25),
        feature("a", "warn", 0.2, side="user"),
        items=(1200, 300),
    )
    assert list(findings(found, LIMITS, "fail")) == [
        "b: psi 1.25 (limit 0.25)",
        "a: psi 0.3 (limit 0.25)",
        "items: a fall of 0.75 (limit 0.5), 300 of 1,200 rows left",
    ]
    assert list(findings(found, LIMITS, "warn")) == [
        "user_a: psi 0.2 (limit 0.1)",
        "users: a fall of 0.25 (limit 0.2), 15 of 20 rows left",
    ]


def test_a_slow_drift_asks_for_a_new_fit() -> None:
    found = report(
        feature("a", "pass", 0.01, 0.125),
        feature("b", "pass", 0.01, 0.5, values=ValueDrift(known=1)),
        feature("a", "pass", None, None, side="user"),
    )
    assert list(notices(found, LIMITS, manifest(retired=51, ids=100)))[1:] == [
        "b: psi_fit 0.5 since g0 (limit 0.1): a rebuild is due",
        "a: psi_fit 0.125 since g0 (limit 0.1): rebuild or --refit is due",
        "51.0% of the item vocabulary is retired (limit 50%): a rebuild is due",
    ]
    few = report(feature("a", "pass", 0.01, 0.125), items=(9, 9))
    assert len(list(notices(few, LIMITS, manifest(retired=50, ids=100)))) == 1
