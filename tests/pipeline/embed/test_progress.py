"""Progress of a run."""

from pathlib import Path

from stand_in_encoder import items, put, run

from heterrec_pipeline.embed import EmbedConfig


def test_progress_ends_at_the_total(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items())
    told: list[tuple[int, int | None]] = []
    run(config, on_progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 22)
    assert told[-1] == (22, 22)
    assert [d for d, _ in told] == sorted(d for d, _ in told)
