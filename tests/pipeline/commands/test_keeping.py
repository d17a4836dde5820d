"""The commands that keep generations, for people and scripts: output, messages, exit codes."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from heterrec_pipeline.commands import app
from heterrec_pipeline.publishing import lease
from heterrec_schemas.generation import open_generation
from heterrec_schemas.testing.generation import small_generation

IDS = [f"20240101T000000000Z-0000000{k}" for k in range(4)]


@dataclass
class Done:
    """The end of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The only object that was printed."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Call = Callable[..., Done]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with four generations, the last one published."""
    output = tmp_path_factory.mktemp("keeping")
    for seed in range(4):
        small_generation(output, seed)
    return output


@pytest.fixture
def output(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "output"))


@pytest.fixture
def call(output: Path) -> Call:
    def call(command: str, *arguments: object) -> Done:
        done = CliRunner().invoke(app, [command, str(output), *map(str, arguments)])
        return Done(done.exit_code, done.stdout, done.stderr)

    return call


def test_the_table_has_one_line_per_generation(call: Call) -> None:
    assert call("pin", "--generation", IDS[1], "--reason", "audit").code == 0
    done = call("generations")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == [
        *("id", "parent", "created", "content", "items"),
        *("retired", "rows", "bytes", "drift", "state"),
    ]
    assert [line.split()[0] for line in lines[1:]] == IDS[::-1]
    assert lines[1].endswith("latest")
    assert lines[3].endswith("pinned")
    assert "2024-01-01 00:00" in lines[2]
    body = call("generations", "--json").json
    assert body["latest"] == IDS[3]
    assert [one["state"] for one in body["generations"]] == ["latest", "", "pinned", ""]
    assert body["generations"][2]["pin"]["reason"] == "audit"


def test_publish_and_its_refusals(call: Call, output: Path) -> None:
    done = call("publish", "--generation", IDS[1], "--json")
    expected = {"output": str(output), "generation": IDS[1], "before": IDS[3]}
    assert (done.code, done.json) == (0, expected)
    done = call("publish", "--generation", IDS[2], "--expect", IDS[3], "--json")
    assert done.code == 1
    assert done.json["error"] == "NotPublishedError"
    start = f"not published: latest.json names {IDS[1]}, not {IDS[3]}. "
    assert done.json["message"].startswith(start)
    assert done.err.startswith(f"error: {start}")
    assert call("publish", "--generation", IDS[1]).out == f"latest.json already names {IDS[1]}.\n"
    (output / "generations" / IDS[0] / "manifest.json").unlink()
    done = call("publish", "--generation", IDS[0])
    assert done.code == 2
    assert "has no manifest.json: its build is still running, or failed" in done.err
    assert call("publish", "--generation", IDS[0], "--expect", "x").code == 2
    assert call("publish", "--generation", "x").code == 2
    assert json.loads((output / "latest.json").read_text()) == {"generation": IDS[1]}


def test_unpin(call: Call) -> None:
    assert call("unpin", "--generation", IDS[1]).out == f"{IDS[1]} was not pinned.\n"
    assert call("pin", "--generation", IDS[1]).out == f"{IDS[1]} is pinned.\n"
    assert call("unpin", "--generation", IDS[1], "--json").json["was_pinned"]
    assert call("unpin", "--generation", "x").code == 2


def test_purge_says_what_it_did(call: Call, output: Path) -> None:
    call("pin", "--generation", IDS[1])
    dry = call("purge", "--keep", 0, "--grace", "0", "--dry-run")
    assert [line.split()[:2] for line in dry.out.splitlines()[1:5]] == [
        *([IDS[3], "kept"], [IDS[2], "would"]),
        *([IDS[1], "kept"], [IDS[0], "would"]),
    ]
    assert dry.out.splitlines()[-1].startswith("2 generations with ")
    assert call("purge", "--keep", 0, "--json").json["deleted"] == []
    body = call("purge", "--keep", 0, "--grace", "0s", "--json").json
    assert body["deleted"] == [{"id": IDS[k], "why": "not needed"} for k in (0, 2)]
    assert body["kept"] == [{"id": IDS[3], "why": "latest"}, {"id": IDS[1], "why": "pinned"}]
    assert (body["swept"], body["refused"], body["dry_run"]) == ([], [], False)
    assert sorted(p.name for p in (output / "generations").iterdir()) == [IDS[1], IDS[3]]
    (output / "latest.json").unlink()
    done = call("purge", "--keep", 0, "--json")
    assert (done.code, done.json["error"]) == (1, "RunError")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected --keep N, or --erased"),
        (["--keep", "-1"], "--keep: got -1"),
        (["--keep", "x"], "Invalid value for '--keep'"),
        (["--keep", "1", "--grace", "soon"], "--grace: got 'soon', expected a number with a unit"),
        (["--keep", "1", "--grace", "90"], "--grace: got '90'"),
        (["--keep", "1", "--grace", "999999999d"], "--grace: got"),
        (["--keep", "1", "--sweep-after", "-1h"], "--sweep-after: got '-1h'"),
        (["--keep", "1", "--pinned"], "--spec, --input, --param and --pinned go with --erased"),
        (["--erased", "--keep", "1"], "--erased: expected --spec and --input, and no --keep"),
        (["--erased", "--spec", "s.yaml"], "--erased: expected --spec and --input"),
    ],
)
def test_mistakes_end_with_2(call: Call, arguments: list[str], words: str) -> None:
    done = call("purge", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_purge_of_erased_keys_names_what_it_must_not_delete(
    call: Call, output: Path, tmp_path: Path
) -> None:
    spec = (output / "generations" / IDS[3] / "spec.yaml").read_text()
    path = tmp_path / "spec.yaml"
    path.write_text(f"{spec}\nerase: {{users: {{source: {{path: gone.csv}}, key: user_id}}}}\n")
    arguments = ["--erased", "--spec", path, "--input", tmp_path]
    done = call("purge", *arguments)
    assert done.code == 2
    assert "erase.users" in done.err
    (tmp_path / "gone.csv").write_text("user_id\n")
    done = call("purge", *arguments)
    assert done.code == 0, done.err
    assert (
        "Models, exports and indexes made from the deleted generations are not touched." in done.out
    )
    users = [min(users_of(output / "generations" / IDS[k])) for k in (0, 3)]
    (tmp_path / "gone.csv").write_text("user_id\n" + "\n".join(users))
    done = call("purge", *arguments, "--json")
    assert done.code == 1
    assert [one["id"] for one in done.json["deleted"]] == [IDS[0]]
    assert [one["id"] for one in done.json["refused"]] == [IDS[3]]
    assert f"{IDS[3]}: latest; found in sequences" in done.json["message"]
    assert f"{IDS[3]}: latest; found in sequences" in done.err
    assert call("publish", "--generation", IDS[1]).code == 0
    body = call("purge", *arguments, "--json").json
    assert [one["id"] for one in body["deleted"]] == [IDS[3]]
    assert "are not touched" in body["note"]


def users_of(root: Path) -> set[str]:
    return set(map(str, open_generation(root).sequences("latest")["user_id"].to_pylist()))


def test_build_has_a_time_without_a_heartbeat(
    call: Call, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the option is tested here; see `publishing/test_lease.py` for the rule."""
    afters = list[timedelta]()

    def sweep(_: str, __: object, after: timedelta) -> list[str]:
        afters.append(after)
        sys.exit(7)

    monkeypatch.setattr(lease, "sweep", sweep)
    (output / "items.csv").write_text("item_id,brand\n1,a\n2,b\n")
    (output / "log.csv").write_text("u,i,t\n1,1,1\n1,2,2\n1,1,3\n")
    (output / "spec.yaml").write_text(
        """
version: 1
name: s
items:
  source: {path: items.csv}
  key: item_id
  features: [{name: brand, kind: categorical, column: brand}]
interactions: {source: {path: log.csv}, user: u, item: i, timestamp: {column: t, unit: s}}
sequences: {max_length: 5}
split: {method: leave_one_out}
"""
    )
    build = ["build", "--spec", output / "spec.yaml", "--input", output, "--output", output]
    for more in ([], ["--sweep-after", "5m"]):
        CliRunner().invoke(app, [str(a) for a in [*build, *more]])
    assert afters == [timedelta(hours=1), timedelta(minutes=5)]
