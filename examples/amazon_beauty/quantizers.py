"""Builds a generation of Amazon Beauty (leave one out) for each quantizer of the titles, for studies/beauty_quantizers.yaml.

    python examples/amazon_beauty/quantizers.py DATA OUT

DATA is the input folder of the README; the generations are `OUT/<name>`. One that exists is kept.
"""

import subprocess
import sys
from pathlib import Path

import yaml

SPEC = Path(__file__).parent / "leave_one_out.yaml"
QUANTIZERS: dict[str, dict[str, str | int]] = {
    "quantile-64x2": {"groups": 64, "quantiles": 2},
    "quantile-128x2": {"groups": 128, "quantiles": 2},
    "quantile-128x4": {"groups": 128, "quantiles": 4},
    "quantile-384x4": {"groups": 384, "quantiles": 4},
    "pq-8x256": {"quantizer": "pq", "groups": 8, "codes": 256},
    "pq-64x256": {"quantizer": "pq", "groups": 64, "codes": 256},
    "rq-8x256": {"quantizer": "rq", "levels": 8, "codes": 256},
    "kmeans-256": {"quantizer": "pq", "groups": 1, "codes": 256},
}
"""Product quantization with one group is k-means of whole vectors."""


def main() -> None:
    """Build what is missing."""
    data, out = sys.argv[1:]
    spec = yaml.safe_load(SPEC.read_text())
    title = spec["items"]["features"][-1]
    for name, settings in QUANTIZERS.items():
        folder = Path(out) / name
        if (folder / "latest.json").exists():
            continue
        feature = {key: title[key] for key in ("name", "kind", "column", "dim")} | settings
        spec["items"]["features"][-1] = feature
        Path(out).mkdir(parents=True, exist_ok=True)
        path = Path(out) / f"{name}.yaml"
        path.write_text(yaml.safe_dump(spec, sort_keys=False))
        command = [
            "heterrec-pipeline",
            "build",
            "--spec",
            path,
            "--input",
            data,
            "--output",
            folder,
        ]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
