"""Builds the sample, or the whole input, into a temporary folder."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import yaml

from heterrec_pipeline.building.config import BuildConfig, BuildResult
from heterrec_pipeline.building.run import build
from heterrec_pipeline.planning.sample import InputSample, write
from heterrec_pipeline.runtime.flags import LOCAL_RUNNER
from heterrec_schemas.errors import RunError
from heterrec_schemas.feature_spec import FeatureSpec


class Trial(NamedTuple):
    """A trial build: its configuration, which names the input that it read, and its result."""

    config: BuildConfig
    result: BuildResult


@contextmanager
def trial(config: BuildConfig, found: InputSample) -> Iterator[Trial]:
    """Build the sample; input and result are deleted when the context ends.

    Args:
        config: the build that is planned.
        found: the sample.

    Raises:
        HeterrecError: any error of a build, except for too many rejects, no interactions left, and a feature without any
            value, which the trial omits.
        RunError: the temporary folder has too little space.
    """
    with tempfile.TemporaryDirectory(prefix="heterrec-plan-", ignore_cleanup_errors=True) as name:
        folder, spec, source = Path(name), config.spec, config.input
        if found.whole:
            _check_space(folder, sum(f.bytes for f in found.job.input_files))
        else:
            source = str(folder / "input")
            Path(source).mkdir()
            spec = write(Path(source), found)
        valued = _with_values(spec, found)
        # A generation's spec.yaml lists the features that it has.
        text = config.spec_text if valued == spec else _text(valued)
        built = replace(
            config,
            spec=valued,
            spec_text=text,
            input=source,
            output=str(folder / "output"),
            pipeline_args=[*config.pipeline_args, f"--runner={LOCAL_RUNNER}"],
            options=None,
            workers=1,
            lenient=True,
        )
        yield Trial(built, build(built))


def _with_values(spec: FeatureSpec, found: InputSample) -> FeatureSpec:
    """The spec without the features that have no values."""
    valued = {(t.table.side, name) for t in found.tables.values() for name in t.valued}
    sides = {"items": ("item", spec.items), "users": ("user", spec.user_table)}
    parts = {
        name: side.model_copy(
            update={"features": [f for f in side.features if (word, f.name) in valued]}
        )
        for name, (word, side) in sides.items()
        if side is not None
    }
    return spec.model_copy(update=parts)


def _text(spec: FeatureSpec) -> str:
    return yaml.safe_dump(spec.model_dump(mode="json", exclude_unset=True), sort_keys=False)


def _check_space(folder: Path, needed: int) -> None:
    """Check that the temporary folder has space for the trial of a whole input.

    Raises:
        RunError: the input is larger than the free space.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            "the temporary folder has too little space to build the whole input",
            got=f"{free:,} bytes free",
            expected=f"at least {needed:,} bytes, the size of the input",
            todo="Set TMPDIR to another folder, or omit --full-scan.",
        )
