"""How the package gets to the workers: in an image, or as a wheel that is staged with the job."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, WorkerOptions

from heterrec_pipeline.runtime.dataflow.wheel import write_wheel


def brings_its_own(options: PipelineOptions) -> bool:
    """Whether the call says itself how the package gets there: an image, a package, or a setup file."""
    setup, worker = options.view_as(SetupOptions), options.view_as(WorkerOptions)
    given = (
        worker.sdk_container_image,
        worker.worker_harness_container_image,
        setup.extra_packages,
        setup.setup_file,
        setup.requirements_file,
    )
    return any(given)


@contextmanager
def staged_package(options: PipelineOptions) -> Iterator[None]:
    """While the block submits, a wheel of this installation is staged too, unless the call brings its own."""
    if brings_its_own(options):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="heterrec-") as folder:
        wheel = write_wheel(Path(folder))
        options.view_as(SetupOptions).extra_packages = [str(wheel)]
        yield
