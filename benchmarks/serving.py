"""Measure a service over HTTP: latency, requests per second of CPU time, memory.

    python benchmarks/serving.py --bundle BUNDLE [--requests 2000]

Clients are threads of one other process, so that with many clients the latencies include their waiting for each other.
"""

import argparse
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine
from serving_client import Server

from heterrec_model.bundle.files import HISTORIES
from heterrec_model.bundle.histories import Histories

CLIENTS = (1, 8, 32)


def measure(server: Server, bodies: list[bytes], clients: int) -> dict[str, Any]:
    """Send every body once, spread over clients; seconds are those of 200s."""
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def send(part: list[bytes]) -> None:
        client = server.client()
        client.connect()
        own = []
        for body in part:
            started = time.perf_counter()
            status, _ = client.call("POST", "/recommend", body)
            own.append((status, time.perf_counter() - started))
        client.close()
        with lock:
            seconds.extend(taken for status, taken in own if status == 200)
            statuses.update(status for status, _ in own)

    cpu, started = server.cpu(), time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(send, [bodies[n::clients] for n in range(clients)]))
    wall, cpu = time.perf_counter() - started, server.cpu() - cpu
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return {
        "clients": clients,
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "per_second": round(statuses[200] / wall),
        "per_core_second": round(statuses[200] / cpu),
        "statuses": dict(statuses),
    }


def main() -> None:
    """Print one line of JSON per measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("-k", type=int, default=10)
    arguments = parser.parse_args()
    users = Histories(arguments.bundle / HISTORIES, []).user_ids(0, arguments.requests)
    order = np.random.default_rng(0).integers(0, len(users), arguments.requests)
    kinds = {
        "user": {},
        "seen items left out": {"filter_seen": True},
    }
    print(json.dumps({"machine": machine(), "bundle": str(arguments.bundle)}))
    for cached in (0, len(users)):
        with Server(arguments.bundle, "--cached-users", str(cached)) as server:
            for name, fields in kinds.items():
                bodies = [
                    json.dumps({"user": users[n], "k": arguments.k} | fields).encode()
                    for n in order
                ]
                measure(server, bodies, 1)
                for clients in CLIENTS:
                    found = measure(server, bodies, clients)
                    print(json.dumps({"request": name, "cached": bool(cached)} | found), flush=True)
            stages = {
                stage: 1000
                * server.metric(f'heterrec_stage_seconds_sum{{stage="{stage}"}}')
                / max(server.metric(f'heterrec_stage_seconds_count{{stage="{stage}"}}'), 1)
                for stage in ("parse", "queue", "encode", "search", "write")
            }
            rounded = {stage: round(mean, 3) for stage, mean in stages.items()}
            print(json.dumps({"mean_ms": rounded, "megabytes": round(server.megabytes())}))


if __name__ == "__main__":
    main()
