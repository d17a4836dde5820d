"""Metrics computed by an independent library from the files of the bulk job equal those of `evaluate`."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from heterrec_model.bulk.run import recommend_all
from heterrec_model.evaluation.evaluate import evaluate_run
from heterrec_schemas import Generation
from heterrec_schemas.testing import BEHAVIOURS, shop

pytestmark = pytest.mark.slow
KS = (1, 5, 10)


def histories(generation: Generation) -> dict[Any, tuple[dict[str, Any], list[Any]]]:
    """The histories of the split `test` in words, and the targets, of users whose items are all in the catalogue."""
    known = generation.items(["item_index", "item_id"])
    id_of = dict(zip(known["item_index"].to_pylist(), known["item_id"].to_pylist(), strict=True))
    people = shop(0, users=150, interactions=1800).users
    ages = {str(value) for value in generation.vocabulary("user_age")["value"].to_pylist()}
    age_of = dict(zip(people["user_id"].to_pylist(), people["age"].to_pylist(), strict=True))
    found = {}
    for row in generation.sequences("test").to_pylist():
        if all(index in id_of for index in row["item_index"]):
            age = age_of.get(row["user_id"])
            features = {"age": age if str(age) in ages else None, "age_bin": age}
            history = {
                "items": [id_of[index] for index in row["item_index"]],
                "times": row["timestamp_ms"],
                "behaviours": [BEHAVIOURS[b - 2] for b in row["behaviour"]],
                "user_features": features,
            }
            targets = [id_of[index] for index in row["target_item_index"] if index in id_of]
            found[row["user_id"]] = history, targets
    return found


def test_metrics_of_the_files_equal_evaluate(
    served_shop: Generation, served_run: Path, bundle: Path, tmp_path: Path
) -> None:
    known = histories(served_shop)
    assert len(known) > 50
    lines = [json.dumps({"user": user, "history": h}) for user, (h, _) in known.items()]
    (tmp_path / "users.jsonl").write_text("\n".join(lines))
    result = recommend_all(bundle, tmp_path / "out", tmp_path / "users.jsonl", k=max(KS), workers=1)
    assert result.manifest is not None
    assert result.manifest.fallbacks == {}
    table = pq.read_table([tmp_path / "out" / file.path for file in result.manifest.files])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba
        from ranx import Qrels, Run, evaluate

        wanted = {str(user): {str(i): 1 for i in items} for user, (_, items) in known.items()}
        run = {
            str(row["user_id"]): dict(zip(map(str, row["item_id"]), row["score"], strict=True))
            for row in table.to_pylist()
        }
        names = [f"{name}@{k}" for name in ("recall", "ndcg") for k in KS]
        theirs = evaluate(Qrels(wanted), Run(run), names, return_mean=False)
    ours = evaluate_run(served_run, served_shop, "test", filter_seen=False, ks=KS, candidates="all")
    place = {user: row for row, user in enumerate(ours.per_user.user_ids)}
    order = sorted(known, key=str)
    rows = [place[user] for user in order]
    assert all(
        np.diff(one).all() for one in table["score"].to_pylist()
    )  # ties would be broken otherwise
    for name in names:
        np.testing.assert_allclose(ours.user_metrics()[name][rows], theirs[name], atol=1e-6)
    assert ours.user_metrics()["recall@10"].sum() > 0
