import io
import threading
from collections.abc import Iterator

import pytest
from rich.console import Console

from heterrec_pipeline import BuildResult
from heterrec_pipeline.commands import build_display
from heterrec_pipeline.telemetry.recorder import RECORDER
from heterrec_schemas.manifest import (
    Counts,
    FeatureEntry,
    FileEntry,
    InteractionCounts,
    ItemCounts,
    Manifest,
    RowCounts,
)
from heterrec_schemas.rejects import Reason


class Waited:
    """An event that is set after a number of waits, without any time passing."""

    def __init__(self, waits: int) -> None:
        self.left = waits

    def wait(self, seconds: float) -> bool:
        self.left -= 1
        RECORDER.count("log.rows", 1)
        return self.left < 0


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    RECORDER.begin(0)
    yield
    RECORDER.begin(0)


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=terminal, color_system=None)


def said(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def test_lines_are_printed_when_something_has_moved() -> None:
    to = console()
    build_display._lines(to, Waited(3))  # type: ignore[arg-type]
    lines = said(to).splitlines()
    assert [line.split(" s  ")[1] for line in lines] == [
        f"starting  (log {k} read)" for k in (1, 2, 3)
    ]


def test_the_same_line_is_not_printed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    to = console()
    monkeypatch.setattr(build_display.ProgressLine, "text", lambda _: "[bold]the same[/bold]")
    build_display._lines(to, Waited(3))  # type: ignore[arg-type]
    assert said(to).count("[bold]the same[/bold]") == 1, "and it is no markup"


def test_a_terminal_gets_one_live_line() -> None:
    to = console(terminal=True)
    build_display._live(to, Waited(2))  # type: ignore[arg-type]
    assert "starting  (log 2 read)" in said(to)


@pytest.mark.parametrize("quiet", [True, False])
def test_progress_leaves_no_thread_behind(quiet: bool) -> None:
    before = set(threading.enumerate())
    started: set[threading.Thread] = set()

    def fail() -> None:
        with build_display.show_progress(console(), quiet=quiet):
            started.update(set(threading.enumerate()) - before)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert len(started) == (0 if quiet else 1)
    assert not any(t.is_alive() for t in started)


def file(path: str, rows: int | None, size: int) -> FileEntry:
    return FileEntry(path=path, rows=rows, bytes=size, sha256="x")


def feature(name: str, **more: object) -> FeatureEntry:
    plain = {"kind": "categorical", "side": "item", "vocabulary_size": 1500, "missing": 1, "oov": 0}
    return FeatureEntry.model_validate({"name": name} | plain | more)


MANIFEST = Manifest(
    generation="g",
    created="now",
    name="shop [x]",
    spec_sha256="x",
    content_sha256="x",
    files=[
        file("items/items-00000-of-00002.parquet", 3, 1000),
        file("items/items-00001-of-00002.parquet", 4, 3000),
        file("sequences/train-00000-of-00001.parquet", 5, 10),
        file("sequences/test-00000-of-00001.parquet", 6, 20),
        file("spec.yaml", None, 7),
    ],
    features=[
        feature("kinds", multivalued=True),
        feature("look", kind="embedding", groups=128, oov=0),
        feature("age", side="user", kind="numeric", missing=2),
    ],
    item_vocabulary_size=9,
    counts=Counts(
        items=ItemCounts(read=10, kept=4, rejected=4, repeated=2, erased=2),
        users=RowCounts(read=4, kept=4, rejected=0),
        interactions=InteractionCounts(
            read=12355,
            kept=12000,
            unknown_item=300,
            duplicate=40,
            short_user=4,
            rejected=1,
            filtered=10,
        ),
        sequences={"train": 5, "validation": 0, "test": 6, "latest": 7},
    ),
    rejects={Reason.MISSING_KEY: 1, Reason.WRONG_WIDTH: 2000},
    cuts={},
    inputs=[],
    libraries={},
)


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_summary_says_what_was_built() -> None:
    to = console()
    build_display.print_summary(to, BuildResult("/out/g", MANIFEST, ["old"]), 1.25)
    text = said(to)
    for row in (
        "items 10 4 4 2 equal",
        "users 4 4 0",
        "interactions 12,355 12,000 1 300 40 4",
        "train 5",
        "kinds item categorical 1,500 several 25.0% 0.0%",
        "look item embedding 1,500 128 25.0% 0.0%",
        "age user numeric 1,500 1 50.0% 0.0%",
        "items 2 7 4,000 1,000 3,000",
        "sequences/train 1 5 10 10 10",
        "sequences/test 1 6 20 20 20",
    ):
        assert row.split() in cells(text), row
    assert "Rejected (rejects/): missing_key 1, wrong_width 2,000\n" in text
    assert "Erased rows: items 2\nFiltered rows: interactions 10\n" in text
    assert "Deleted the leftovers of the dead build old\n" in text
    assert text.endswith(
        "1.2 s. The generation is /out/g\n"
        "Interactions: 12,355 read > 10 filtered > 1 rejected > 300 with unknown items > 40 duplicate > 4 of short users > "
        "12,000 kept\n"
        "Next: heterrec-pipeline inspect /out/g\n"
        "      heterrec-model train --data /out/g --config cpu --run runs/first\n"
    )
    assert "spec.yaml" not in text


def test_a_plain_build_has_a_short_summary() -> None:
    counts = MANIFEST.counts.model_copy(update={"users": None})
    plain = MANIFEST.model_copy(update={"features": [], "rejects": {}, "counts": counts})
    to = console()
    build_display.print_summary(to, BuildResult("/out/g", plain, []), 0)
    text = said(to)
    assert not any(word in text for word in ("Features", "Rejected", "Deleted", "\nusers"))


def test_the_rows_of_a_log_and_the_next_commands_of_a_refresh() -> None:
    log = MANIFEST.counts.interactions.model_copy(update={"erased": 2})
    counts = MANIFEST.counts.model_copy(update={"interactions": log})
    manifest = MANIFEST.model_copy(update={"counts": counts, "parent": "p"})
    found = BuildResult("/my out/g", manifest, []).as_json()
    assert found["funnel"].startswith("12,355 read > 2 erased > 10 filtered > 1 rejected")
    assert found["next"] == [
        "heterrec-pipeline inspect '/my out/g'",
        "heterrec-model train --data '/my out/g' --warm-start RUN --run runs/next",
    ]
