"""The pipeline's catalogue alone, without log and publishing: what `tft_items.py` does, and the numbering of the items.

    python benchmarks/catalogue_items.py SPEC SHOP OUTPUT

Counts and applies vocabularies, fits and applies bins, writes item shards, vocabularies and boundaries. Prints the seconds
of wall and CPU time from drawing the graph to its end: imports are over by then.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import apache_beam as beam

from heterrec_pipeline import coder
from heterrec_pipeline.building import BuildConfig, make_job
from heterrec_pipeline.catalogue.steps import Catalogue, ListSplits
from heterrec_pipeline.publishing.ledger import Ledger
from heterrec_pipeline.runners import pipeline_options
from heterrec_schemas.spec import parse_spec


def main(spec: str, shop: str, output: str) -> None:
    """Draw and run the catalogue's half of the graph."""
    started, cpu = time.perf_counter(), time.process_time()
    text = Path(spec).read_text()
    config = BuildConfig(parse_spec(text, where=spec), text, shop, output)
    job = make_job(config, datetime.now(UTC))
    coder.register()
    with beam.Pipeline(options=pipeline_options([])) as pipeline:
        splits = pipeline | "List the items" >> ListSplits(files=job.items.files)
        splits | "Catalogue" >> Catalogue(job=job, ledger=Ledger())
    print(f"{time.perf_counter() - started:.3f} {time.process_time() - cpu:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
