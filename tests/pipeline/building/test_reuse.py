from dataclasses import replace
from pathlib import Path

from pieces import job_of, spec_of

from heterrec_pipeline.building.reuse import with_readings
from heterrec_pipeline.reading.files import InputFile
from heterrec_schemas.feature_spec import Source


def test_digests_are_those_of_dates_read_in_the_same_way(tmp_path: Path) -> None:
    """A date is read as a time once another file of the source has times."""
    file = InputFile("/a.parquet", "a.parquet", 1, "parquet", source=Source(path="a.parquet"))
    job = job_of(spec_of(), tmp_path, log=(file,))

    def names(file: InputFile) -> tuple[str, str]:
        made = with_readings(replace(job, log=(file,), items=replace(job.items, files=(file,))))
        assert made.reading is not None
        assert made.items.reading is not None
        return made.reading.sha256, made.items.reading.sha256

    plain, dated = names(file), names(replace(file, dates_as_times=("day",)))
    assert plain == names(replace(file, required=("user",)))
    assert all(a != b for a, b in zip(plain, dated, strict=True))
