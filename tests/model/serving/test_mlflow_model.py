"""A bundle as an MLflow model; saved and loaded by the real MLflow where it is installed."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from heterrec_model.recommending.bundle_recommender import BundleRecommender
from heterrec_model.recommending.history import History
from heterrec_model.recommending.mlflow_model import BundleModel, save_model
from heterrec_schemas.errors import CallError


class Table:
    """A DataFrame, as far as the model reads it."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = rows

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        return list(self.rows)


@pytest.fixture(scope="module")
def user(from_bundle: BundleRecommender) -> Any:
    assert from_bundle.histories is not None
    candidates = (f"u{number:05}" for number in range(1000))
    return next(u for u in candidates if from_bundle.find([u])[0] is not None)


def test_the_model_answers_as_the_recommender(from_bundle: BundleRecommender, user: Any) -> None:
    items = from_bundle.item_vectors()[0][:3]
    rows = Table(
        {"items": items, "user": math.nan, "times": [1, 2, 3]},
        {"user": user, "items": None, "times": math.nan},
        {"user": "nobody"},
    )
    got = BundleModel(from_bundle).predict(rows, {"k": 4, "filter_seen": True})
    [history] = from_bundle.recommend(
        histories=[History(items=items, times=[1, 2, 3])], k=4, filter_seen=True
    )
    users = from_bundle.recommend(users=[user, "nobody"], k=4, filter_seen=True)
    assert [row["item_ids"] for row in got] == [a.item_ids for a in (history, *users)]
    assert got[1]["scores"] == pytest.approx(users[0].scores)
    assert [row["fallback"] for row in got] == [None, None, users[1].fallback]
    assert users[1].fallback is not None
    assert len(BundleModel(from_bundle).predict(Table({"user": user}))[0]["item_ids"]) == 10


@pytest.mark.parametrize("row", [{}, {"user": None}, {"user": "u", "items": ["x"]}])
def test_a_row_has_a_user_or_items(from_bundle: BundleRecommender, row: dict[str, Any]) -> None:
    with pytest.raises(
        CallError, match=r"row 0: got (neither|both), expected either user or items"
    ):
        BundleModel(from_bundle).predict(Table(row))


def test_a_missing_package_is_named(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(CallError, match="with the extra mlflow"):
        save_model(bundle, tmp_path / "model")


@pytest.mark.filterwarnings("ignore")
def test_mlflow_saves_and_loads_it_without_a_pickle(
    bundle: Path, tmp_path: Path, from_bundle: BundleRecommender, user: Any
) -> None:
    pyfunc = pytest.importorskip("mlflow.pyfunc", reason="needs the extra mlflow")
    pandas = pytest.importorskip("pandas")
    save_model(bundle, tmp_path / "model")
    files = [path.name for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))]
    loaded = pyfunc.load_model(str(tmp_path / "model"))
    got = loaded.predict(pandas.DataFrame({"user": [user]}), params={"k": 3})
    assert got[0]["item_ids"] == from_bundle.recommend(users=[user], k=3)[0].item_ids
