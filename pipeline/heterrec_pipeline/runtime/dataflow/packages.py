"""The package for the workers: in an image, or as a wheel staged with the job."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, WorkerOptions

from heterrec_pipeline.runtime.dataflow.wheel import write_wheel


def has_own_package(options: PipelineOptions) -> bool:
    """Whether the options provide the package: by an image, a package, or a setup file."""
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
    """Stage a wheel of this installation with the job submitted in the block, unless the options provide the package."""
    if has_own_package(options):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="heterrec-") as folder:
        wheel = write_wheel(Path(folder))
        options.view_as(SetupOptions).extra_packages = [str(wheel)]
        yield
