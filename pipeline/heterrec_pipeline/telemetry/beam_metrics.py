"""Beam's metrics: counters that steps update on workers and the caller reads when the run has ended, on every engine."""

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
        counters: by name, summed over all steps.
        stages: counters per stage, with `first_ms` and `last_ms`: when its first call began and its last call ended.
    """

    counters: Numbers
    stages: dict[str, Numbers]


def add(name: str, value: int) -> None:
    """Add to a counter. Has an effect only on a thread on which Beam calls a step."""
    Metrics.counter(NAMESPACE, name).inc(value)


def add_to_stage(stage: str, numbers: Numbers) -> None:
    """Add to the counters of a stage."""
    for name, value in numbers.items():
        add(f"{STAGE}{stage}.{name}", value)


def add_call(stage: str, first_ms: int, last_ms: int) -> None:
    """Add the begin and the end of a call of a stage's step, in milliseconds since the build began."""
    at = Metrics.distribution(NAMESPACE, f"{STAGE}{stage}.{AT}")
    at.update(max(0, first_ms))
    at.update(max(0, last_ms))


def read_metrics(result: Any) -> RunMetrics:
    """Read the metrics of a successful run; empty, with a logged warning, if the engine does not support them.

    Engines report the counts of finished bundles as `committed`; some leave `attempted` empty, some `committed`.
    """
    found = RunMetrics({}, {})
    try:
        metrics = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    except Exception as error:  # the generation is published: no reason to fail
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
