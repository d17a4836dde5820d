"""A build in a process of its own that is watched: its peak memory, and the bytes of its exchanges and parts.

    python real_build.py SPEC INPUT OUTPUT REPORT

builds and writes to REPORT what went through files; `watched` runs that and samples the memory.
"""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from heterrec_schemas.manifest import LATEST_NAME, Manifest


@dataclass(frozen=True)
class Watched:
    """What a build took and gave: bytes each."""

    manifest: Manifest
    bytes_out: int
    shuffle: dict[str, int]
    parts: int
    peak: int


def watched(spec: Path, source: Path, output: Path) -> Watched:
    """Build in a child process."""
    report = output.parent / f"{output.name}.json"
    words = [sys.executable, __file__, str(spec), str(source), str(output), str(report)]
    child = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"})
    peak = 0
    process = psutil.Process(child.pid)
    done = threading.Event()
    while not done.wait(0.02) and child.poll() is None:
        try:
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(p.memory_info().rss for p in family))
        except psutil.Error:
            continue
    assert child.wait(timeout=600) == 0
    latest = json.loads((output / LATEST_NAME).read_text())["generation"]
    root = output / "generations" / latest
    files = [p for p in root.rglob("*") if p.is_file()]
    seen = json.loads(report.read_text())
    return Watched(
        manifest=Manifest.model_validate_json((root / "manifest.json").read_text()),
        bytes_out=sum(p.stat().st_size for p in files),
        shuffle=seen["shuffle"],
        parts=seen["parts"],
        peak=peak,
    )


def main(spec: str, source: str, output: str, report: str) -> None:
    """Build, and write down the bytes of what goes through files."""
    from heterrec_pipeline.building import BuildConfig, build
    from heterrec_pipeline.files import storage
    from heterrec_pipeline.wiring import exchange
    from heterrec_schemas.feature_spec import parse_spec

    shuffle: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    write_parts, open_write = exchange.write_parts, storage.open_write

    def counted(folder: str, stem: str, tables: list[object]) -> str:
        path = write_parts(folder, stem, tables)
        shuffle[stem] += parts[path]
        return path

    @contextmanager
    def sized(path: str) -> Iterator[object]:
        with open_write(path) as out:
            yield out
        if "/parts/" in path:
            parts[path] = out.size

    exchange.write_parts, storage.open_write = counted, sized
    text = Path(spec).read_text(encoding="utf-8")
    build(BuildConfig(parse_spec(text), text, source, output))
    Path(report).write_text(json.dumps({"shuffle": shuffle, "parts": sum(parts.values())}))


if __name__ == "__main__":
    main(*sys.argv[1:])
