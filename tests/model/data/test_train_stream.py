from collections import Counter
from collections.abc import Callable, Iterable
from weakref import WeakSet

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loader_helpers import QUICK, Cut, all_same, config, rows_of_batches, rows_of_split

from heterrec_model.config import Config
from heterrec_model.data import train_stream
from heterrec_model.data.batch import Batch
from heterrec_model.data.delivered_rows import count_rows
from heterrec_model.data.sequence_rows import SequenceRows
from heterrec_model.data.train_stream import START, EpochStream, StreamPosition, TrainStream
from heterrec_schemas import Generation

SHARDS, ROW_GROUPS = st.sampled_from([1, 3, 5]), st.sampled_from([1, 4, 7, 64])


def stream_of(
    generation: Generation,
    settings: Config,
    *,
    epoch: int = 0,
    consumer: int = 0,
    consumers: int = 1,
    start: StreamPosition = START,
) -> EpochStream:
    rows = {"train": count_rows(generation, "train", settings)}
    whole = TrainStream(generation, settings, rows, rank=0, world=1)
    whole.epoch = epoch
    return EpochStream(whole, consumer, consumers, start)


@QUICK
@given(
    SHARDS, ROW_GROUPS, st.integers(1, 5), st.integers(1, 4), st.integers(1, 50), st.integers(0, 9)
)
def test_ranks_and_workers_share_the_rows_without_overlap_or_loss(
    cut: Cut, shards: int, group: int, world: int, workers: int, window: int, epoch: int
) -> None:
    generation = cut(shards, group)
    settings, consumers = config(shuffle_rows=window), world * workers
    batches = [
        batch
        for n in range(consumers)
        for batch in stream_of(generation, settings, epoch=epoch, consumer=n, consumers=consumers)
    ]
    assert rows_of_batches(batches) == rows_of_split(generation, "train")


@QUICK
@given(st.integers(0, 2**63), st.integers(0, 5), st.booleans())
def test_the_order_is_a_function_of_seed_and_epoch(
    cut: Cut, seed: int, epoch: int, by_length: bool
) -> None:
    generation = cut(3, 4)
    settings = config(seed=seed, length_buckets=by_length)
    first, again = (list(stream_of(generation, settings, epoch=epoch)) for _ in range(2))
    assert all_same(first, again)
    for other in (
        stream_of(generation, settings, epoch=epoch + 1),
        stream_of(generation, config(seed=seed + 1, length_buckets=by_length), epoch=epoch),
    ):
        assert users(first) != users(other)


def users(batches: EpochStream | list[Batch]) -> list[str | int]:
    return [user for batch in batches for user in batch.user_ids]


@QUICK
@given(SHARDS, ROW_GROUPS, st.integers(1, 3), st.integers(1, 50), st.data())
def test_a_position_resumes_the_stream_at_any_batch(
    cut: Cut, shards: int, group: int, consumers: int, window: int, data: st.DataObject
) -> None:
    generation = cut(shards, group)
    settings = config(shuffle_rows=window)
    place = {"epoch": data.draw(st.integers(0, 3)), "consumers": consumers}
    place["consumer"] = data.draw(st.integers(0, consumers - 1))
    whole = list(stream_of(generation, settings, **place))
    taken = data.draw(st.integers(0, len(whole)))
    left = stream_of(generation, settings, **place)
    for _ in range(taken):
        next(left)
    resumed = stream_of(generation, settings, **place, start=left.position)
    assert all_same(resumed, whole[taken:])


def test_batches_hold_the_limits(cut: Cut) -> None:
    for batch in stream_of(cut(3, 8), config(batch_items=40, batch_users=6)):
        assert batch.users <= 6
        assert batch.users == 1 or batch.item_BT.numel() <= 40
        assert batch.item_BT.shape[1] == batch.length_B.max()


def test_windows_of_a_users_history_are_all_read(rich: Generation) -> None:
    batches = list(stream_of(rich, config()))
    assert rows_of_batches(batches) == rows_of_split(rich, "train")
    assert max(Counter(users(batches)).values()) > 1


def test_more_consumers_than_rows(cut: Cut) -> None:
    rows = cut(1, 64).manifest.counts.sequences["train"]
    sizes = [
        len(rows_of_batches(stream_of(cut(1, 64), config(), consumer=n, consumers=3 * rows)))
        for n in range(3 * rows)
    ]
    assert sorted(sizes) == [0] * 2 * rows + [1] * rows


def test_one_window_and_one_row_group_are_held_at_a_time(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: WeakSet[SequenceRows] = WeakSet()
    concat: Callable[..., SequenceRows] = train_stream.concat_rows

    def concat_alone(parts: Iterable[SequenceRows]) -> SequenceRows:
        assert not windows, "the window before is still held"
        rows = concat(parts)
        windows.add(rows)
        return rows

    monkeypatch.setattr(train_stream, "concat_rows", concat_alone)
    generation = cut(3, 4)
    with generation.open_shard(generation.sequence_shards("train")[0]) as shard:
        row_group = shard.read_row_group(0).nbytes
    batches = stream_of(generation, config(shuffle_rows=7))
    before = pa.total_allocated_bytes()
    for _ in batches:
        assert len(windows) == 1
        assert all(len(rows) <= 7 for rows in windows)
        # A window, a row group and its copy; every buffer is padded to 64 bytes.
        assert pa.total_allocated_bytes() - before < 4 * row_group
    assert not windows
