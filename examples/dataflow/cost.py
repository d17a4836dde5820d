"""Estimate the cost of a Dataflow job from the plan of its build.

    heterrec-pipeline plan --spec SPEC --input INPUT --runner dataflow --json > plan.json
    python examples/dataflow/cost.py --vcpu-hour 0.06 --gb-hour 0.004 --shuffled-gb 0.011 < plan.json

The prices are arguments because they differ by region and change. The constants are those of docs/dataflow.md.
"""

import argparse
import json
import sys
from typing import Any

INTERACTION_SECONDS = 2.2e-6
ITEM_SECONDS = 20e-6
"""CPU time of an interaction, and of an item with 384 floats, on the local engine."""
OVERHEAD = 2.0
"""How much more CPU time stores, the shuffle and retries are assumed to take."""


def cost(plan: dict[str, Any], call: argparse.Namespace) -> dict[str, float]:
    """Hours, volumes and the sum of a job by the figures of its plan (the upper ends of their intervals)."""
    rows = {
        table: plan["rows"][table]["read"]["high"]
        for table in ("interactions", "items", "users")
        if table in plan["rows"]
    }
    seconds = rows["interactions"] * INTERACTION_SECONDS
    seconds += (rows["items"] + rows.get("users", 0)) * ITEM_SECONDS
    start = call.workers * call.cores * call.start_minutes / 60
    vcpu_hours = seconds * OVERHEAD / 3600 + start
    gb_hours = vcpu_hours * call.gb_per_core
    shuffled = plan["shuffle"]["bytes"] / 1e9
    parts = (
        vcpu_hours * call.vcpu_hour,
        gb_hours * call.gb_hour,
        shuffled * call.shuffled_gb,
    )
    return {
        "vcpu_hours": vcpu_hours,
        "of_which_starting": start,
        "gb_hours": gb_hours,
        "shuffled_gb": shuffled,
        "cost": sum(parts),
    }


def main() -> None:
    """Read a plan from standard input, print the estimate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vcpu-hour", type=float, required=True, help="price of a vCPU hour")
    parser.add_argument(
        "--gb-hour", type=float, required=True, help="price of a GB of memory per hour"
    )
    parser.add_argument("--shuffled-gb", type=float, required=True, help="price of a GB shuffled")
    parser.add_argument("--workers", type=int, default=4, help="number of workers")
    parser.add_argument("--cores", type=int, default=4, help="cores of a worker")
    parser.add_argument("--gb-per-core", type=float, default=4.0, help="memory per core in GB")
    parser.add_argument("--start-minutes", type=float, default=3.0, help="until a worker works")
    call = parser.parse_args()
    try:
        plan = json.load(sys.stdin)
    except ValueError:
        sys.exit(
            "standard input is no plan: pipe `heterrec-pipeline plan ... --json` into this script"
        )
    if "error" in plan:
        sys.exit(f"the plan failed: {plan['message']}")
    for name, value in cost(plan, call).items():
        print(f"{name:<18} {value:.3f}")


if __name__ == "__main__":
    main()
