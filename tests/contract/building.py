"""Builds a data set through the project's Python API."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strategies import Dataset, write_input

from heterrec_pipeline.building import BuildConfig, build
from heterrec_schemas.feature_spec import parse_spec


def build_dataset(
    dataset: Dataset,
    folder: Path,
    *,
    files: int = 1,
    shuffle_seed: int | None = None,
    pipeline_args: list[str] | None = None,
) -> Any:
    """Write the input below a folder and build it; returns the result of `build`."""
    write_input(folder / "input", dataset, files=files, shuffle_seed=shuffle_seed)
    return build_folder(
        dataset.spec_text, folder / "input", folder / "output", pipeline_args=pipeline_args
    )


def build_folder(
    spec_text: str,
    source: Path,
    output: Path,
    *,
    pipeline_args: list[str] | None = None,
    base: str | None = None,
    refit: Sequence[str] = (),
) -> Any:
    """Build an input folder, or refresh the generation at `base` with it."""
    return build(
        BuildConfig(
            spec=parse_spec(spec_text),
            spec_text=spec_text,
            input=str(source),
            output=str(output),
            pipeline_args=pipeline_args or [],
            base=base,
            refit=refit,
        )
    )
