"""The same build on every engine of this machine: wall time, peak memory of all processes, whether the bytes are the same.

    python benchmarks/engines.py [--items 200000 --interactions 4000000 --dim 384]

Prism's are left out where `make engines` has not been run. The shop comes from generated_shop.py.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from generated_shop import write_shop
from measure import Run, machine, run

from heterrec_pipeline.runtime.engines.choose import engines_folder

PROCESSES = ["--workers", "2"]


def main() -> None:
    """Build on each engine in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--interactions", type=int, default=4_000_000)
    parser.add_argument("--dim", type=int, default=384)
    a = parser.parse_args()
    print(f"{a.items:,} items x {a.dim} floats, {a.interactions:,} rows; {machine()}", flush=True)
    with tempfile.TemporaryDirectory() as work, job_service() as (endpoint, service):
        shop = Path(work) / "shop"
        write_shop(shop, a.items, a.interactions, max(1, a.interactions // 10), a.dim)
        contents = set()
        for name, flags in engines(endpoint).items():
            also = service if "service" in name else None
            done, content = build(shop, Path(work) / name.replace(" ", "-"), flags, also)
            contents.add(content)
            print(
                f"{name:>20}: {done.wall:6.1f} s, {done.peak_mb:7,.0f} MB, {content[:12]}",
                flush=True,
            )
        print("the same bytes on all" if len(contents) == 1 else "THE BYTES DIFFER")


def engines(endpoint: str) -> dict[str, list[str]]:
    """Flags by the engine's name."""
    found = {
        "local": ["--workers", "1"],
        "two worker processes": PROCESSES,
        "job service": ["--runner", "portable", "--", f"--job_endpoint={endpoint}"],
    }
    if not (engines_folder() / "prism").exists():
        print("without Prism: make engines builds it")
        return found
    prism = ["--runner", "prism"]
    return found | {
        "Prism": prism,
        "Prism, processes": [*prism, "--", "--environment_type=PROCESS"],
    }


def build(shop: Path, out: Path, flags: list[str], also: int | None) -> tuple[Run, str]:
    """One build from nothing; its figures and the hash of its contents."""
    spec = str(shop / "spec.yaml")
    files = ["--spec", spec, "--input", str(shop), "--output", str(out), "--quiet"]
    done = run([sys.executable, "-m", "heterrec_pipeline", "build", *files, *flags], also)
    (manifest,) = out.glob("generations/*/manifest.json")
    return done, json.loads(manifest.read_text())["content_sha256"]


@contextmanager
def job_service() -> Iterator[tuple[str, int]]:
    """Beam's local job service: its address, and its process, whose memory counts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    module = "apache_beam.runners.portability.local_job_service_main"
    service = subprocess.Popen(
        [sys.executable, "-m", module, "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while service.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"localhost:{port}", service.pid
    finally:
        service.kill()
        service.wait()


if __name__ == "__main__":
    main()
