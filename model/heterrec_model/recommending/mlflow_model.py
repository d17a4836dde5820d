"""A bundle as an MLflow model: `save_model` or `log_model`, then `mlflow.pyfunc.load_model(...).predict(rows)`.

The model is the folder of the bundle and the name of this module, which loads it; nothing is pickled. It needs neither
PyTorch nor Beam.
"""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from heterrec_model.bundle.reader import Bundle, open_bundle
from heterrec_model.recommending.answer import Filters
from heterrec_model.recommending.bundle_recommender import BundleRecommender
from heterrec_model.recommending.history import History
from heterrec_model.recommending.recommender import Recommender
from heterrec_schemas.errors import CallError, with_extra

PACKAGES = ("heterrec", "faiss-cpu", "onnxruntime")
"""Packages that the model requires in the installed versions."""


class Rows(Protocol):
    """A pandas DataFrame."""

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        """One dict per row for the orientation `records`."""


class BundleModel:
    """The object that `mlflow.pyfunc.load_model` wraps."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender

    def predict(self, rows: Rows, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The best items of each row.

        Args:
            rows: with the column `user`, an id, or the column `items`, the ids of a history, oldest first; with `items`
                optionally `times` (milliseconds since 1970) and `behaviours`, one per item.
            params: `k`, by default 10, and `filter_seen`; see `Recommender.recommend`.

        Returns:
            One dict per row: item_ids, scores, and fallback, which is None if the model answered.

        Raises:
            CallError: a row has neither or both of user and items, or as `Recommender.recommend`.
        """
        chosen = {"k": 10, "filter_seen": False, **(params or {})}
        users, histories = [], []
        for number, row in enumerate(rows.to_dict("records")):
            given = {name: cell for name, cell in row.items() if _present(cell)}
            if ("user" in given) == ("items" in given):
                got = "both" if "user" in given else "neither"
                raise CallError(f"row {number}", got=got, expected="either user or items")
            users.append(given.get("user"))
            if "user" in given:
                histories += self.recommender.find([given["user"]])
            else:
                names = ("items", "times", "behaviours")
                history: dict[str, Any] = {n: list(given[n]) for n in names if n in given}
                histories.append(self.recommender.translate(History(**history)))
        filters = Filters(filter_seen=bool(chosen["filter_seen"]))
        answers = self.recommender.answer(users, histories, int(chosen["k"]), filters)
        return [
            {"item_ids": a.item_ids, "scores": a.scores, "fallback": a.fallback} for a in answers
        ]


def save_model(bundle: str | Path, path: str | Path) -> None:
    """Write a bundle as an MLflow model to a new folder.

    Raises:
        BundleError: the bundle is unfinished or damaged.
        CallError: MLflow is not installed.
    """
    arguments = _arguments(bundle)
    _pyfunc().save_model(str(path), **arguments)


def log_model(bundle: str | Path, name: str = "bundle") -> str:
    """Log a bundle as a model of the active MLflow run, such as `mlflow.start_run(run_id=...)` with the id in mlflow.json.

    Returns:
        The URI of the model.

    Raises:
        BundleError: the bundle is unfinished or damaged.
        CallError: MLflow is not installed.
    """
    arguments = _arguments(bundle)
    return str(_pyfunc().log_model(name=name, **arguments).model_uri)


def _load_pyfunc(path: str) -> BundleModel:
    """Called by MLflow, which finds it by its name."""
    return BundleModel(BundleRecommender.open(path))


def _arguments(bundle: str | Path) -> dict[str, Any]:
    opened = open_bundle(bundle)
    return {
        "loader_module": __name__,
        "data_path": str(bundle),
        "signature": _signature(opened),
        "pip_requirements": list(_requirements(PACKAGES)),
        "metadata": {"fingerprint": opened.info.fingerprint},
    }


def _signature(bundle: Bundle) -> Any:
    _pyfunc()
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    ids = {"int64": DataType.long, "string": DataType.string}
    user, item = ids[bundle.info.user_id_type], ids[bundle.info.item_id_type]
    inputs = [
        ColSpec(user, "user", required=False),
        ColSpec(Array(item), "items", required=False),
        ColSpec(Array(DataType.long), "times", required=False),
        ColSpec(Array(DataType.string), "behaviours", required=False),
    ]
    outputs = [
        ColSpec(Array(item), "item_ids"),
        ColSpec(Array(DataType.double), "scores"),
        ColSpec(DataType.string, "fallback", required=False),
    ]
    params = [
        ParamSpec("k", DataType.long, 10),
        ParamSpec("filter_seen", DataType.boolean, False),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema(params))


def _pyfunc() -> Any:
    try:
        import mlflow.pyfunc
    except ImportError as error:
        raise CallError(
            f"an MLflow model needs MLflow: {error}",
            todo=with_extra("mlflow"),
        ) from None
    return mlflow.pyfunc


def _requirements(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        try:
            yield f"{name}=={version(name)}"
        except PackageNotFoundError:
            yield name


def _present(cell: object) -> bool:
    """Whether a cell of a DataFrame has a value; NaN has none."""
    return cell is not None and not (isinstance(cell, float) and cell != cell)
