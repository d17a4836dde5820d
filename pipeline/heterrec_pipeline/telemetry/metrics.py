"""Beam's metrics: what steps count on workers, and how the caller reads it, whatever the engine."""

import logging
from typing import Any, NamedTuple

from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricsFilter

LOG = logging.getLogger(__name__)
NAMESPACE = "heterrec"
STAGE = "stage/"
AT = "at_ms"
FIRST, LAST = "first_ms", "last_ms"
Numbers = dict[str, int]


class RunMetrics(NamedTuple):
    """The metrics of a run.

    Attributes:
        counters: by name, added up over all steps.
        stages: by stage, its counters; and `first_ms` and `last_ms`, when a step of it first began and last ended.
    """

    counters: Numbers
    stages: dict[str, Numbers]


def count(name: str, value: int) -> None:
    """Add to a counter. Only on a thread that Beam calls a step on; elsewhere it goes nowhere."""
    Metrics.counter(NAMESPACE, name).inc(value)


def count_stage(stage: str, numbers: Numbers) -> None:
    """Add to the counters of a stage."""
    for name, value in numbers.items():
        count(f"{STAGE}{stage}.{name}", value)


def seen_at(stage: str, first_ms: int, last_ms: int) -> None:
    """A step of a stage began and ended: milliseconds since the build began."""
    at = Metrics.distribution(NAMESPACE, f"{STAGE}{stage}.{AT}")
    at.update(max(0, first_ms))
    at.update(max(0, last_ms))


def found_in(result: Any) -> RunMetrics:
    """Read the metrics of a run that has ended well; none where the engine cannot tell, which is logged.

    Engines say what finished bundles have counted as `committed`; some leave `attempted` empty, some the other.
    """
    found = RunMetrics({}, {})
    try:
        metrics = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    except Exception as error:  # the generation stands: no reason to fail
        LOG.warning("the engine's metrics cannot be read: %r", error)
        return found
    for counter in metrics["counters"]:
        value = _value(counter)
        if value is not None:
            _add(found, counter.key.metric.name, int(value))
    for distribution in metrics["distributions"]:
        value = _value(distribution)
        stage, _, name = distribution.key.metric.name.removeprefix(STAGE).rpartition(".")
        if value is not None and name == AT:
            numbers = found.stages.setdefault(stage, {})
            numbers[FIRST] = min(numbers.get(FIRST, value.min), value.min)
            numbers[LAST] = max(numbers.get(LAST, value.max), value.max)
    return found


def _value(metric: Any) -> Any:
    return metric.attempted if metric.committed is None else metric.committed


def _add(found: RunMetrics, name: str, value: int) -> None:
    numbers = found.counters
    if name.startswith(STAGE):
        stage, _, name = name.removeprefix(STAGE).rpartition(".")
        numbers = found.stages.setdefault(stage, {})
    numbers[name] = numbers.get(name, 0) + value
