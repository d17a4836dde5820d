"""Specs with mistakes, and expressions over odd cells: accepted, or refused with a message."""

import csv
import json
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from budget import Attack
from checks import check_command, refusal
from corner_shop import SPEC, Shop
from odd_expressions import condition, expression
from odd_specs import odd_spec
from warm_command import warm_commands

from heterrec_pipeline.reading.files import Split, input_files
from heterrec_pipeline.reading.read import read_split
from heterrec_schemas.feature_spec import Source, parse_spec
from heterrec_schemas.feature_spec.read import salvage_spec
from heterrec_schemas.testing import Settings, shop, spec_text

GIGABYTES = 4 * 2**30
FULL: list[dict[str, Any]] = [
    SPEC,
    yaml.safe_load(spec_text(shop(), Settings(codebooks=True, split="temporal"))),
]


@pytest.mark.attack(cases=300, share=2, memory=GIGABYTES)
def test_specs(attack: Attack) -> None:
    def case(rng: random.Random) -> str:
        text = odd_spec(rng, rng.choice(FULL))
        refused = refusal(lambda: parse_spec(text))
        spec, mistakes = salvage_spec(text)
        assert (mistakes is None) == (refused is None)
        assert spec is not None or mistakes is not None
        return "refused" if refused else "accepted"

    attack(case)


@pytest.fixture(scope="module")
def strange_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop whose input folder has what paths of odd specs name: pipes, loops, locked folders."""
    made = Shop(tmp_path_factory.mktemp("strange"))
    made.write()
    folder = made.input
    os.mkfifo(folder / "pipe.csv")
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "folder.csv").mkdir()
    (folder / "folder").mkdir()
    (folder / "folder" / "a.csv").write_text("item_id\ni01\n")
    (folder / "dt=1").mkdir()
    (folder / "dt=1" / "a.csv").write_text("item_id,brand\ni01,x\n")
    (folder / "empty.csv").touch()
    (folder / "new\nline.csv").write_text("item_id\ni01\n")
    Path(os.fsdecode(bytes(folder) + b"/not-utf8-\xff.csv")).write_text("item_id\ni01\n")
    with suppress(OSError), socket.socket(socket.AF_UNIX) as door:  # a long path has no socket
        door.bind(str(folder / "socket.csv"))
    locked = folder / "locked"
    locked.mkdir()
    (locked / "a.csv").write_text("item_id\ni01\n")
    locked.chmod(0)
    yield made
    locked.chmod(0o700)


@pytest.mark.attack(cases=8, share=2, limit=60)
def test_specs_on_data(attack: Attack, strange_shop: Shop, tmp_path: Path) -> None:
    def case(rng: random.Random) -> str:
        path = tmp_path / "spec.yaml"
        text = odd_spec(rng, strange_shop.spec, changes=1)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        command = rng.choice(("validate", "validate", "plan"))
        done = warm_commands()(
            command, "--spec", path, *strange_shop.reading(), timeout=60, memory=10 * 2**30
        )
        return check_command(done)

    attack(case)


CELLS: dict[str, Any] = {
    "u": [
        "u1",
        "",
        "é",
        None,
        "12",
        "a" * 3000,
        " x ",
        "2026-01-31",
        "NaN",
        "u1",
        "\U0001f600",
        "%",
    ],
    "i": [1, -1, 0, None, 2**63 - 1, -(2**63), 7, 12, 100, 5, 3, 2],
    "ts": pa.array([0, 10**15, None, -(2**63) + 1, 2**63 - 1, *range(7)], pa.timestamp("us")),
    "v": ["a" * 900, "aa", "b", "", None, "ab", "ba", "1.5", "-0", "1e999", "x", "y"],
    "t": [0.0, -0.0, np.nan, np.inf, -np.inf, 1e308, 5e-324, None, 1.5, -2.5, 3.0, 0.1],
    "a.b": [[1, 2], [], None, [None], *[[k] for k in range(8)]],
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of odd cells in three formats."""
    folder = tmp_path_factory.mktemp("cells")
    table = pa.table(CELLS)
    times = table["ts"].cast(pa.int64())
    pq.write_table(table, folder / "cells.parquet")
    rows = [dict(row, ts=str(row["ts"])) for row in table.set_column(2, "ts", times).to_pylist()]
    (folder / "cells.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with (folder / "cells.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, table.column_names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.mark.attack(cases=200, share=2, memory=GIGABYTES)
def test_expressions(attack: Attack, cells: Path) -> None:
    """Every row is read, filtered or rejected, whatever an expression makes of it."""

    def case(rng: random.Random) -> str:
        made = expression(rng)
        where = condition(rng) if rng.random() < 0.5 else None
        path = rng.choice(("cells.parquet", "cells.csv", "cells.jsonl"))
        text = yaml.safe_dump({"path": path, "columns": {"made": made}, "where": where})
        counted: list[int] = []

        def read() -> None:
            source = _source(text)
            file = input_files(source, str(cells), "items")[0]
            for batch in read_split(Split(file), ["made", "u"]):
                rejected = len({bad.row for bad in batch.bad})
                counted.append(len(batch.rows) + batch.filtered + rejected)

        refused = refusal(read)
        assert refused is not None or sum(counted) == len(CELLS["u"]), counted
        return "refused" if refused else "evaluated"

    attack(case)


def _source(text: str) -> Source:
    """A source as part of a spec, whose mistakes are reported as those of specs."""
    spec = {**SPEC, "items": {**SPEC["items"], "source": yaml.safe_load(text)}}
    found = parse_spec(yaml.safe_dump(spec)).items.source
    assert isinstance(found, Source)
    return found
