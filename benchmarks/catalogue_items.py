"""The pipeline's catalogue alone, without log and publishing: what `tft_items.py` does, and the numbering of the items.

    python benchmarks/catalogue_items.py SPEC SHOP OUTPUT

Counts and applies vocabularies, fits and applies bins, writes item shards, vocabularies and boundaries. Prints the seconds
of wall and CPU time from drawing the graph to its end, imports being over by then; and how many of them the items' own
vocabulary took, a vocabulary as long as the table, which tensorflow-transform does not make.
"""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np

from heterrec_pipeline.building.config import BuildConfig
from heterrec_pipeline.building.prepare import make_job
from heterrec_pipeline.items.catalogue_graph import Catalogue
from heterrec_pipeline.job import ITEMS
from heterrec_pipeline.keys import duplicates, key_graph
from heterrec_pipeline.runtime.flags import pipeline_options
from heterrec_pipeline.vocabularies import number, numbering_graph
from heterrec_pipeline.wiring import coder
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.splits import ListSplits
from heterrec_schemas.feature_spec import parse_spec

NUMBERING = (("find_keys", duplicates, key_graph), ("number_group", number, numbering_graph))
"""Functions that number keys, the modules that define them (where pickle finds them) and those that use them."""


def now() -> np.ndarray:
    """Seconds of the wall's clock and of this process's CPU."""
    return np.array([time.perf_counter(), time.process_time()])


def clocked(
    process: Callable[..., Iterator[Any]], spent: np.ndarray
) -> Callable[..., Iterator[Any]]:
    """A step's function that adds its time on buckets of items to `spent`, without the time of later steps."""

    @wraps(process)
    def work(*arguments: Any) -> Iterator[Any]:
        made = process(*arguments)
        if not any(isinstance(a, tuple) and a[0] == (ITEMS, 0) for a in arguments):
            yield from made
            return
        while True:
            started = now()
            try:
                element = next(made)
            except StopIteration:
                return
            finally:
                spent[:] += now() - started
            yield element

    return work


def main(spec: str, shop: str, output: str) -> None:
    """Draw and run the catalogue's half of the graph."""
    numbering = np.zeros(2)
    for name, *modules in NUMBERING:
        timed = clocked(getattr(modules[0], name), numbering)
        for module in modules:
            setattr(module, name, timed)
    started = now()
    text = Path(spec).read_text()
    config = BuildConfig(parse_spec(text, where=spec), text, shop, output)
    job = make_job(config, datetime.now(UTC))
    coder.register()
    with beam.Pipeline(options=pipeline_options([])) as pipeline:
        splits = pipeline | "List the items" >> ListSplits(files=job.items.files)
        splits | "Catalogue" >> Catalogue(job=job, ledger=Ledger())
    print(*np.round([*(now() - started), *numbering], 3))


if __name__ == "__main__":
    main(*sys.argv[1:4])
