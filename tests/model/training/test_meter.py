"""Means between two lines of the log."""

import json
import time

import pytest

from heterrec_model.training.meter import Meter, line_of, merged


def test_means_leave_out_what_is_not_finite() -> None:
    meter = Meter()
    for value in (1.0, float("nan"), 3.0):
        meter.add({"a": value, "b": 1.0})
    assert merged([meter.means()]) == {"a": 2.0, "b": 1.0}


def test_ranks_are_merged_by_weight() -> None:
    assert merged([{"a": [2.0, 1.0]}, {"a": [10.0, 3.0], "b": [1.0, 1.0]}]) == {"a": 3.0, "b": 1.0}


def test_a_meter_goes_on_from_its_saved_sums() -> None:
    one = Meter()
    one.add({"a": 0.1})
    two = Meter()
    two.load(json.loads(json.dumps(one.state())))
    for meter in (one, two):
        meter.add({"a": 0.2})
    assert one.means() == two.means()


def test_rates_count_by_the_second_without_pauses() -> None:
    meter = Meter()
    with meter.paused():
        time.sleep(0.05)
    with meter.waiting():
        time.sleep(0.05)
    meter.count(items=1.0)
    rates = meter.rates()
    assert rates["items_per_second"] == pytest.approx(20, rel=0.5)
    assert rates["data_wait"] > 0.7
    meter.reset()
    assert meter.means() == {}
    assert "items_per_second" not in meter.rates()


def test_a_line_nests_names_and_adds_up_the_ranks_rates() -> None:
    ranks = [
        ({"loss": [2.0, 2.0], "terms a": [1.0, 1.0]}, {"items_per_second": 10.0, "data_wait": 0.2}),
        ({"loss": [4.0, 2.0], "terms a": [3.0, 1.0]}, {"data_wait": 0.4}),
    ]
    assert line_of(ranks) == {
        "loss": 1.5,
        "terms": {"a": 2.0},
        "items_per_second": 10.0,
        "data_wait": pytest.approx(0.3),
    }
