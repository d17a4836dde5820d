"""Damaged and strange input: every row is read, filtered or rejected, or the file is refused with a message."""

import copy
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import odd_data
import pytest
import yaml
from budget import Attack
from checks import check_command, refusal
from corner_shop import SPEC
from warm_command import warm_commands

from heterrec_pipeline.reading.files import input_files, split_file
from heterrec_pipeline.reading.read import column_types, read_split
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.generation import open_generation

GIGABYTES = 4 * 2**30
COLUMNS = {
    "items": ["item_id", "brand", "price"],
    "vectors": ["item_id", "vector"],
    "users": ["user_id", "age"],
    "log": ["user_id", "item_id", "time", "event", "event_id"],
}


def odd_file(rng: random.Random, folder: Path, name: str, end: str = "") -> str:
    """Write one table with something wrong; returns the name of its file."""
    columns = odd_data.tables()[name]
    lists = name == "vectors"
    kind = rng.choice([k for k in odd_data.FORMATS if not (lists and k == "csv")])
    in_rows = rng.random() < 0.5
    if in_rows:
        for _ in range(rng.choice((1, 1, 2))):
            odd_data.spoil_rows(rng, columns)
    data = odd_data.write(columns, kind)
    if not in_rows and rng.random() < 0.7:
        data = odd_data.spoil_bytes(rng, data, kind)
    suffix, data = odd_data.packed(rng, data, kind)
    if suffix and not in_rows and rng.random() < 0.4:
        data = odd_data.spoil_bytes(rng, data, "packed")
    return odd_data.put(folder, name + end, kind, (suffix, data))


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@pytest.mark.attack(cases=200, share=3, memory=GIGABYTES)
def test_reading(attack: Attack, tmp_path: Path) -> None:
    """Whatever columns are asked for, a file has the same rows."""

    def case(rng: random.Random) -> str:
        folder = _emptied(tmp_path / "in")
        name = rng.choice(list(COLUMNS))
        source = Source(path=odd_file(rng, folder, name))
        counts: list[int] = []

        def read() -> None:
            file = input_files(source, str(folder), name)[0]
            column_types(file)
            for columns in (COLUMNS[name], COLUMNS[name][:1]):
                rows = 0
                for split in split_file(file):
                    for batch in read_split(split, columns):
                        rows += len(batch.rows) + len({b.row for b in batch.bad})
                counts.append(rows)

        refused = refusal(read)
        assert refused is not None or counts[0] == counts[1], counts
        return "refused" if refused else "read"

    attack(case)


def odd_input(rng: random.Random, folder: Path) -> dict[str, Any]:
    """Write a shop of which one table has something wrong, the log perhaps in one of two files; returns its spec."""
    spec = copy.deepcopy(SPEC)
    odd = rng.choice(("items", "vectors", "users", "log", "log"))
    places = {
        "items": spec["items"],
        "vectors": spec["items"]["joins"][0],
        "users": spec["users"],
        "log": spec["interactions"],
    }
    for name, columns in odd_data.tables().items():
        sound = odd_data.put(folder, name, "parquet", ("", odd_data.write(columns, "parquet")))
        if name == odd and name == "log" and rng.random() < 0.5:
            places[name]["source"]["path"] = [sound, odd_file(rng, folder, name, "-2")]
        elif name == odd:
            places[name]["source"]["path"] = odd_file(rng, folder, name)
        else:
            places[name]["source"]["path"] = sound
    if odd == "vectors" and rng.random() < 0.4:
        data = odd_data.npy(rng)
        (folder / "v.npy").write_bytes(
            odd_data.spoil_bytes(rng, data, "npy") if rng.random() < 0.5 else data
        )
        ids = [("item_id", odd_data.tables()["items"][0][1])]
        (folder / "ids.csv").write_bytes(odd_data.write(ids, "csv"))
        places["vectors"]["source"] = {"path": "v.npy", "keys": "ids.csv"}
    spec["limits"]["max_reject_ratio"] = rng.choice((0.01, 1.0))
    if rng.random() < 0.3:
        places[odd]["source"]["where"] = rng.choice(
            ("item_id <> 'i03'", "event_id > 3", "age > 21")
        )
    if odd == "items" and rng.random() < 0.2:
        spec["items"]["source"] = "interactions"
    return spec


@pytest.mark.attack(cases=8, share=3, limit=90)
def test_validate(attack: Attack, tmp_path: Path) -> None:
    def case(rng: random.Random) -> str:
        folder = _emptied(tmp_path / "in")
        spec = tmp_path / "spec.yaml"
        spec.write_text(yaml.safe_dump(odd_input(rng, folder)), encoding="utf-8")
        arguments = ("--spec", spec, "--input", folder)
        done = warm_commands()("validate", *arguments, timeout=80, memory=10 * 2**30)
        return check_command(done)

    attack(case)


@pytest.mark.attack(cases=2, limit=90)
def test_damage_that_ends_the_process(attack: Attack, tmp_path: Path) -> None:
    """Arrow ends the process for some wrong bytes of ORC and of the end of Parquet files; a command has no more to say."""

    def case(rng: random.Random) -> str:
        folder, spec = _emptied(tmp_path / "in"), copy.deepcopy(SPEC)
        kind = rng.choice(("parquet", "orc"))
        for name, columns in odd_data.tables().items():
            data = odd_data.write(columns, kind)
            data = odd_data.damaged(rng, data) if name == "log" else data
            odd_data.put(folder, name, kind, ("", data))
        for part in (spec["items"], spec["items"]["joins"][0], spec["users"], spec["interactions"]):
            path = Path(part["source"]["path"])
            part["source"]["path"] = f"{path.stem}.{kind}"
        text = tmp_path / "spec.yaml"
        text.write_text(yaml.safe_dump(spec), encoding="utf-8")
        done = warm_commands()("validate", "--spec", text, "--input", folder, timeout=80)
        if done.code in (-signal.SIGABRT, -signal.SIGSEGV):
            return "ended by Arrow"
        return check_command(done)

    attack(case)


@pytest.mark.attack(cases=4, share=6, limit=200)
def test_build(attack: Attack, tmp_path: Path) -> None:
    """A build publishes a sound generation that accounts for every row, or leaves nothing but its message."""

    def case(rng: random.Random) -> str:
        folder, output = _emptied(tmp_path / "in"), tmp_path / "out"
        shutil.rmtree(output, ignore_errors=True)
        spec = tmp_path / "spec.yaml"
        spec.write_text(yaml.safe_dump(odd_input(rng, folder)), encoding="utf-8")
        arguments = ("--spec", spec, "--input", folder, "--output", output)
        done = warm_commands()("build", *arguments, timeout=180, memory=10 * 2**30)
        found = check_command(done)
        if found == "refused":
            assert _left(output) == [], "files of a build that was refused"
            return found
        check_accounts(output)
        return found

    attack(case)


def _left(output: Path) -> list[str]:
    """The files of generations, finished or not."""
    return [str(p) for p in output.rglob("*") if p.is_file() and "leases" not in p.parts]


def check_accounts(output: Path) -> None:
    """A generation has the rows that its manifest counts, and accounts for every row that was read."""
    generation = open_generation(output)
    counts = generation.manifest.counts
    for table in filter(None, (counts.items, counts.users)):
        assert table.read == table.kept + table.rejected + table.erased + table.filtered, counts
    log = counts.interactions
    parts = log.model_dump()
    assert parts.pop("read") == sum(parts.values()), counts
    assert len(generation.rejects()) == sum(generation.manifest.rejects.values())
    assert len(generation.items()) == counts.items.kept
    for split, rows in counts.sequences.items():
        assert len(generation.sequences(split)) == rows
