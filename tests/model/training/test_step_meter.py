"""Means between two lines of the log."""

import json
import time

import pytest

from heterrec_model.training.step_meter import StepMeter, log_line, weighted_means


def test_means_leave_out_what_is_not_finite() -> None:
    meter = StepMeter()
    for value in (1.0, float("nan"), 3.0):
        meter.add({"a": value, "b": 1.0})
    assert weighted_means([meter.sums()]) == {"a": 2.0, "b": 1.0}


def test_ranks_are_weighted_means_by_weight() -> None:
    assert weighted_means([{"a": [2.0, 1.0]}, {"a": [10.0, 3.0], "b": [1.0, 1.0]}]) == {
        "a": 3.0,
        "b": 1.0,
    }


def test_a_meter_goes_on_from_its_saved_sums() -> None:
    one = StepMeter()
    one.add({"a": 0.1})
    two = StepMeter()
    two.reset(json.loads(json.dumps(one.sums())))
    for meter in (one, two):
        meter.add({"a": 0.2})
    assert one.sums() == two.sums()


def test_rates_count_by_the_second_without_pauses() -> None:
    meter = StepMeter()
    with meter.paused():
        time.sleep(0.05)
    with meter.waiting():
        time.sleep(0.05)
    meter.count(items=1.0)
    rates = meter.rates()
    assert rates["items_per_second"] == pytest.approx(20, rel=0.5)
    assert rates["data_wait"] > 0.7
    meter.reset()
    assert meter.sums() == {}
    assert "items_per_second" not in meter.rates()


def test_a_line_nests_names_and_adds_up_the_ranks_rates() -> None:
    ranks = [
        ({"loss": [2.0, 2.0], "terms a": [1.0, 1.0]}, {"items_per_second": 10.0, "data_wait": 0.2}),
        ({"loss": [4.0, 2.0], "terms a": [3.0, 1.0]}, {"data_wait": 0.4}),
    ]
    assert log_line(ranks) == {
        "loss": 1.5,
        "terms": {"a": 2.0},
        "items_per_second": 10.0,
        "data_wait": pytest.approx(0.3),
    }
