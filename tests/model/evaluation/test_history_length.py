import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference_metrics import MANY

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.inference_batches import split_batches
from heterrec_model.evaluation.history_length import seen_pairs, truncated, with_whole_histories
from heterrec_schemas import Generation


def batch_of(lengths: list[int], *, behaviours: bool = True) -> Batch:
    longest = max(lengths)
    steps = torch.arange(longest).expand(len(lengths), -1)
    length_B = torch.tensor(lengths)
    valid = steps < length_B[:, None]
    last = torch.minimum(steps, length_B[:, None] - 1)
    return Batch(
        item_BT=(steps + 100) * valid,
        timestamp_BT=last * 1000,
        length_B=length_B,
        behaviour_BT=(steps + 2) * valid if behaviours else None,
        user_features={"age": torch.arange(len(lengths))},
        user_ids=list(range(len(lengths))),
    )


@MANY
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 14), st.booleans())
def test_a_cut_history_is_its_end(lengths: list[int], most: int, behaviours: bool) -> None:
    whole = batch_of(lengths, behaviours=behaviours)
    short = truncated(whole, most)
    assert short.item_BT.shape[1] == min(max(lengths), most)
    assert (short.behaviour_BT is None) == (not behaviours)
    for row, length in enumerate(lengths):
        kept = min(length, most)
        assert short.length_B[row] == kept
        end = list(range(length - kept, length))
        padding = short.item_BT.shape[1] - kept
        assert short.item_BT[row].tolist() == [100 + n for n in end] + [0] * padding
        times = [1000 * n for n in end]
        assert short.timestamp_BT[row].tolist() == times + times[-1:] * padding
        if short.behaviour_BT is not None:
            assert short.behaviour_BT[row].tolist() == [2 + n for n in end] + [0] * padding


def test_seen_pairs_are_all_items_and_no_padding() -> None:
    users, items = seen_pairs(batch_of([2, 1, 3]))
    assert users.tolist() == [0, 0, 1, 2, 2, 2]
    assert items.tolist() == [100, 101, 100, 100, 101, 102]


@pytest.mark.parametrize("most", [2, 5])
def test_a_batch_that_is_cut_equals_one_that_was_read_cut(
    one_target: Generation, most: int
) -> None:
    config = Config.model_validate({"model": {"max_length": most}})
    wide = with_whole_histories(config, one_target)
    assert wide.model.max_length == 7
    assert wide.data.batch_items >= config.data.batch_items * 7 / most
    read = {u: b for b in split_batches(one_target, "test", config) for u in _users(b)}
    for whole in split_batches(one_target, "test", wide):
        short = truncated(whole, most)
        for row, user in enumerate(short.user_ids):
            other = read[user]
            at, length = list(other.user_ids).index(user), int(short.length_B[row])
            assert other.length_B[at] == length
            for name in ("item_BT", "timestamp_BT", "behaviour_BT"):
                one, two = getattr(short, name)[row], getattr(other, name)[at]
                assert one[:length].tolist() == two[:length].tolist()


def _users(batch: Batch) -> list[str | int]:
    return list(batch.user_ids)
