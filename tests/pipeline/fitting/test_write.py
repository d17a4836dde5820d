import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import embedding, job_of, numeric, sorted_out, spec_of, table_job

from heterrec_pipeline.features.embedding import quantizer_table
from heterrec_pipeline.files.parts import load
from heterrec_pipeline.fitting.write import write_fit
from heterrec_pipeline.wiring.reports import FILES
from heterrec_schemas.tables import BOUNDARIES_SCHEMA, METADATA_KEY

FITTED = {
    "price": pa.table([pa.array([2.0, 5.0])], schema=BOUNDARIES_SCHEMA),
    "look": quantizer_table(np.array([[0.5, 1.5]], np.float32)),
}


@pytest.mark.parametrize(
    ("name", "path"),
    [("price", "boundaries/price.parquet"), ("look", "quantizers/look.parquet")],
)
@pytest.mark.parametrize("side", ["item", "user"])
def test_fits_are_written_with_their_metadata_and_stored(
    tmp_path: Path, name: str, path: str, side: str
) -> None:
    job, table = job_of(spec_of(), tmp_path), table_job(numeric(), embedding(dim=2), side=side)
    main, tagged = sorted_out(write_fit(job, (table_job(), table), (name, FITTED[name])))
    stem = name if side == "item" else f"user_{name}"
    (file,) = tagged[FILES]
    assert file.path == path.replace(name, stem)
    written = pq.read_table(file.temporary)
    about: dict[str, Any] = json.loads(written.schema.metadata[METADATA_KEY])
    assert (about["feature"], about["side"]) == (stem, side)
    assert written.equals(FITTED[name])
    ((feature, fitted),) = main
    assert (feature, fitted.size) == (name, len(FITTED[name]))
    assert load(fitted.table).equals(FITTED[name])
