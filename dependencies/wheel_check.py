"""Use an installed wheel from rows to a recommendation, each part in an environment with its extras only.

    python dependencies/wheel_check.py FOLDER        (or make wheel-check)

FOLDER has the environments pipeline, model and serve. Commands run in a temporary folder, so that nothing is imported from a
checkout. Exit code: 1 if a command fails, or if an environment has something that its part does not need.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ASK = Path(__file__).resolve().parents[1] / "examples" / "complete_journey" / "ask.py"
SPEC = """\
version: 1
name: wheel
items:
  source: {path: items.jsonl}
  key: item
  features:
    - {name: brand, kind: categorical, column: brand}
    - {name: price, kind: numeric, column: price, bins: 4}
    - {name: title, kind: embedding, column: vector, dim: 4, groups: 2, quantiles: 2}
interactions:
  source: {path: log.csv}
  user: user
  item: item
  timestamp: {column: time, unit: s}
sequences: {max_length: 10}
split: {method: leave_one_out}
"""
MODEL = """\
model: {width: 8, token_blocks: 1, item_blocks: 1, max_length: 10}
data: {batch_items: 64}
negatives: {source: mixed, in_batch: 8, uniform: 8, token: 8}
train: {max_steps: 5, warmup_steps: 1, checkpoint_every: 5, validate_every: 5, threads: 1}
"""
ITEMS = [f"i{item}" for item in range(12)]
LOG = {
    f"u{user}": [ITEMS[(user * 5 + time**2) % len(ITEMS)] for time in range(6)]
    for user in range(10)
}
UNNEEDED = {
    "pipeline": ("torch", "onnxruntime", "sentence_transformers"),
    "model": ("apache_beam", "sentence_transformers"),
    "serve": ("apache_beam", "torch", "onnx", "sentence_transformers"),
}
"""By environment, modules that must not be installed."""

COMMANDS = {
    "pipeline": ["heterrec-pipeline build --spec spec.yaml --input . --output shop"],
    "model": [
        "heterrec-model train --data shop --config model.yaml --run run",
        "heterrec-model export --run run --data shop --output bundle",
    ],
    "serve": ["heterrec-model index --bundle bundle", f"python {ASK} bundle u1"],
}
"""By environment, the commands in their order; each reads what those before it have written."""


def write_rows(folder: Path) -> None:
    """Write a spec, its two tables and a configuration."""
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")
    (folder / "model.yaml").write_text(MODEL, encoding="utf-8")
    with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
        for number, item in enumerate(ITEMS):
            vector = [number * (part + 3) % 7 - 3 for part in range(4)]
            row = {"item": item, "brand": f"b{number % 3}", "price": number / 2, "vector": vector}
            file.write(json.dumps(row) + "\n")
    with (folder / "log.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user", "item", "time"])
        for user, items in LOG.items():
            rows.writerows([user, item, time] for time, item in enumerate(items))


def call(environment: Path, words: list[str], folder: Path) -> str:
    """The output of a program of an environment, which ends this one if it fails."""
    variables = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    program = environment / "bin" / words[0]
    ran = subprocess.run(
        [program, *words[1:]], cwd=folder, env=variables, capture_output=True, text=True
    )
    if ran.returncode:
        sys.exit(f"{ran.stdout}{ran.stderr}\n{environment.name}: exit code {ran.returncode}")
    return ran.stdout


def check_modules(environment: Path, folder: Path) -> None:
    """End with a message if heterrec is not installed from a wheel, or if there are modules that are not needed."""
    code = "import heterrec_schemas, importlib.util as u, sys; print(heterrec_schemas.__file__)\n"
    code += "print(*[name for name in sys.argv[1:] if u.find_spec(name)])"
    unneeded = UNNEEDED[environment.name]
    place, found = call(environment, ["python", "-c", code, *unneeded], folder).splitlines()
    if not Path(place).is_relative_to(environment):
        sys.exit(f"{environment.name}: expected heterrec in {environment}, got {place}")
    if found:
        sys.exit(f"{environment.name}: got {found}, which its extras should not install")


def size(environment: Path) -> str:
    """The number of packages of an environment, and their bytes."""
    [site] = environment.glob("lib/python*/site-packages")
    total = sum(path.lstat().st_size for path in site.rglob("*"))
    return f"{len(list(site.glob('*.dist-info')))} packages, {total / 1e6:,.0f} MB"


def main(environments: Path) -> None:
    """Run all commands."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_rows(folder)
        for name, commands in COMMANDS.items():
            environment = environments / name
            print(f"== {name}: {size(environment)}; without {', '.join(UNNEEDED[name])}")
            check_modules(environment, folder)
            for command in commands:
                print(command)
                output = call(environment, command.split(), folder)
    [answer] = json.loads(output.partition("\n")[2])["answers"]
    items = [item["item_id"] for item in answer["items"]]
    if len(set(items) - set(LOG["u1"])) != 5:
        sys.exit(f"serve: expected five new items for u1, got {items}")
    print(f"u1 is recommended {', '.join(items)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
