"""Helpers of the pipeline's unit tests: plain specs, files, jobs, and the outputs of a DoFn by tag."""

import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from hypothesis import settings
from pydantic import TypeAdapter

from heterrec_pipeline.files.parts import TableRef, store
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    FeatureSpec,
    NumericFeature,
    Source,
)

# Always the same examples, unless HETERREC_EXAMPLES asks for a soak.
SOAK = int(os.environ.get("HETERREC_EXAMPLES", "0"))
QUICK = settings(deadline=None, derandomize=not SOAK, database=None, max_examples=SOAK or 60)
MANY = settings(QUICK, max_examples=SOAK or 250)
"""For functions that take well below a millisecond."""
DAY = 86_400_000


def categorical(name: str = "kind", **more: Any) -> CategoricalFeature:
    plain = {"name": name, "kind": "categorical", "column": name}
    return CategoricalFeature.model_validate(plain | more)


def numeric(name: str = "price", **more: Any) -> NumericFeature:
    plain = {"name": name, "kind": "numeric", "column": name, "bins": 4}
    return NumericFeature.model_validate(plain | more)


_FEATURE: TypeAdapter[Feature] = TypeAdapter(Feature)


def embedding(name: str = "look", **more: Any) -> EmbeddingFeature:
    """An embedding with quantile tokens, or with the quantizer that is given with its sizes."""
    plain = {"name": name, "kind": "embedding", "column": name, "dim": 4}
    sizes = {} if "quantizer" in more else {"groups": 2, "quantiles": 2}
    return _FEATURE.validate_python(plain | sizes | more)  # type: ignore[return-value]


def spec_of(**changes: Any) -> FeatureSpec:
    """A spec without features; the given sections are merged in, and None removes one."""
    plain: dict[str, Any] = {
        "version": 1,
        "name": "pieces",
        "items": {"source": {"path": "items.csv"}, "key": "item"},
        "interactions": {
            "source": {"path": "log.csv"},
            "user": "user",
            "item": "item",
            "timestamp": {"column": "time", "unit": "ms"},
        },
        "sequences": {"max_length": 50},
        "split": {"method": "leave_one_out"},
    }
    for name, change in changes.items():
        merged = {**plain.get(name, {}), **change}
        plain[name] = {k: v for k, v in merged.items() if v is not None}
    return FeatureSpec.model_validate(plain)


def table_job(*features: Any, name: str = "items", side: str = "item", **more: Any) -> TableJob:
    plain: dict[str, Any] = {"key": "item" if side == "item" else "user", "files": ()}
    return TableJob(**{"name": name, "side": side, "features": features} | plain | more)


def job_of(spec: FeatureSpec, folder: Path, **more: Any) -> Job:
    """A job with its generation below a folder."""
    items = table_job(*spec.items.features)
    plain: dict[str, Any] = {
        "spec": spec,
        "spec_text": "name: pieces\n",
        "generation": "g",
        "output": str(folder),
        "attempt": "attempt",
        "created": "2024-01-01T00:00:00.000Z",
        "items": items,
        "joins": (),
        "users": None,
        "log": (),
    }
    return Job(**plain | more)


def written_file(path: Path, data: bytes) -> InputFile:
    """Write bytes as an input file; the suffix decides the format."""
    path.write_bytes(data)
    return InputFile(str(path), path.name, len(data), Source(path="*").format_of(path.name))


def sorted_out(outputs: Iterable[Any]) -> tuple[list[Any], dict[str, list[Any]]]:
    """The outputs of a DoFn: the main ones, and the others by tag."""
    main: list[Any] = []
    tagged: dict[str, list[Any]] = {}
    for output in outputs:
        if isinstance(output, TaggedOutput):
            tagged.setdefault(output.tag, []).append(output.value)
        else:
            main.append(output)
    return main, tagged


def stored_ids(
    folder: Path, ids: dict[str, dict[str, int]]
) -> list[tuple[tuple[str, int], TableRef]]:
    """The ids of some vocabularies as they are held in memory: one bucket each."""
    return [
        (
            (name, 0),
            store(str(folder), "ids", pa.table({"value": list(of), "id": list(of.values())})),
        )
        for name, of in ids.items()
    ]


def excluded_rows(
    folder: Path, table: TableJob, split: Split, rows: list[int]
) -> dict[tuple[str, int], TableRef]:
    """Some rows of a split as excluded ones."""
    stored = store(str(folder), "excluded", pa.table({"row": pa.array(rows, pa.int64())}))
    return {(table.name, split.number): stored}


def cut(table: pa.Table, points: Iterable[int]) -> list[pa.Table]:
    """A table in pieces, cut at some rows."""
    at = [0, *sorted(min(p, len(table)) for p in points), len(table)]
    return [table.slice(a, b - a) for a, b in itertools.pairwise(at)]


def bad_text_array(*cells: bytes | None) -> pa.Array:
    """A text column of any bytes, as other writers of Parquet make them."""
    return pa.array(cells, pa.binary()).view(pa.string())
