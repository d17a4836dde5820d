from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pieces import job_of, spec_of

from heterrec_pipeline.checking.doubts.outcome import (
    outcome_doubts,
    sampled_training_doubts,
    training_doubts,
)
from heterrec_pipeline.checking.evidence import Evidence
from heterrec_schemas.manifest import Counts, Manifest

LOG = {"read": 100, "kept": 90, "unknown_item": 10, "duplicate": 0, "short_user": 0, "rejected": 0}


def counts(train: int, validation: int, test: int, **log: int) -> Counts:
    sequences = {"train": train, "validation": validation, "test": test, "latest": 9}
    items = {"read": 1, "kept": 1, "rejected": 0}
    return Counts.model_validate(
        {"items": items, "interactions": LOG | log, "sequences": sequences}
    )


def test_nothing_to_train_on_is_said_with_the_counts() -> None:
    spec = spec_of()
    assert list(training_doubts(spec, counts(9, 9, 9))) == []
    (text,) = training_doubts(spec, counts(0, 0, 0))
    assert text.startswith(
        "there is nothing to train on; sequences: train 0, validation 0, test 0, latest 9. Users need"
    )
    (text,) = training_doubts(spec, counts(9, 0, 0))
    assert text.startswith(
        "there is nothing in validation and test to evaluate a model by; sequences: train 9,"
    )
    (text,) = training_doubts(spec, counts(9, 0, 9))
    assert text.startswith("there is nothing in validation to evaluate a model by")
    temporal = spec_of(split={"method": "temporal", "validation_at": 0.8, "test_at": 0.9})
    (text,) = training_doubts(temporal, counts(0, 0, 9))
    assert (
        "split.validation_at is 0.8 and split.test_at 0.9; are the times in the right unit?" in text
    )
    assert list(training_doubts(spec, counts(0, 0, 0, kept=0))) == [], "which is an error"


def test_unknown_items_of_the_whole_log_are_said_once(tmp_path: Path) -> None:
    manifest = Manifest.model_construct(counts=counts(9, 9, 9))

    def found(**more: Any) -> list[str]:
        return list(outcome_doubts(job_of(spec_of(), tmp_path, **more), manifest))

    keys = "'item' has 'x', 'item' of items has 'y'"
    assert found(key_examples=keys) == [
        f"interactions: 10.0% of the 100 rows have an item that the item table lacks: {keys}"
    ]
    assert found(doubts=("interactions: 9% have an item that the item table lacks: ...",)) == []


def test_a_log_without_a_second_interaction_of_a_user() -> None:
    def found(*users: str) -> list[str]:
        evidence, rows = Evidence(99), pa.table({"a": list(users)})
        texts = pl.Series(users)
        evidence.add(rows, [], user=texts, item=texts, time=pl.Series([0] * len(users)))
        return list(sampled_training_doubts(evidence))

    assert found("u", "v", "w", "w")[0].startswith(
        "interactions: none of the 3 users has two interactions"
    )
    assert found() == []
