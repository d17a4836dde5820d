import json
import os
from datetime import UTC, datetime
from pathlib import Path

from heterrec_pipeline.telemetry.trace import write_trace


def test_a_trace_in_a_shared_folder_overwrites_nothing_else(tmp_path: Path) -> None:
    """Another user may guess the process id, and have put a link in the way of the unfinished file."""
    target, other, spans = tmp_path / "trace.json", tmp_path / "other", tmp_path / "spans"
    spans.mkdir()
    other.write_text("not mine", encoding="utf-8")
    (tmp_path / f"trace.json.{os.getpid()}.tmp").symlink_to(other)
    write_trace(str(target), str(spans), datetime.now(UTC), [], {})
    assert other.read_text(encoding="utf-8") == "not mine"
    assert json.loads(target.read_text(encoding="utf-8"))["otherData"] == {"spans_left_out": 0}
