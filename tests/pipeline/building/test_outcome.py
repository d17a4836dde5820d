from pathlib import Path

from pieces import job_of, spec_of

from heterrec_pipeline.building.outcome import failure
from heterrec_schemas.errors import NotPublishedError, RunError


def test_a_refresh_that_may_not_be_published_says_so(tmp_path: Path) -> None:
    job = job_of(spec_of(), tmp_path)
    root = Path(job.root)
    root.mkdir(parents=True)
    (root / "manifest.json").touch()
    told = NotPublishedError("not published: latest.json names X, not P")
    error = failure(job, RuntimeError(f"the engine's own words {told.to_wire()}"))
    assert type(error) is NotPublishedError
    assert str(error) == "not published: latest.json names X, not P"
    error = failure(job, RuntimeError("the engine's own words"))
    assert isinstance(error, RunError)
    assert "ended early, but its generation" in str(error)
    assert (root / "manifest.json").exists()
