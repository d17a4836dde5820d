"""The commands of the model as scenes of an attack."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from faults import run
from made_bundle import clustered, made_bundle
from pipeline_scenes import hashes
from scenes import Scene

from heterrec_model.bundle.reader import open_bundle
from heterrec_model.retrieval.vector_index import open_index
from heterrec_model.runs.checkpoints import read_checkpoint
from heterrec_schemas.testing import shop, small_generation

TINY = {
    "model.width": 8,
    "model.token_blocks": 1,
    "model.item_blocks": 1,
    "model.embedding_width": 8,
    "model.features": ["brand"],
    "negatives.in_batch": 16,
    "negatives.uniform": 16,
    "negatives.token": 16,
    "data.batch_items": 256,
    "train.device": "cpu",
    "train.threads": 1,
    "train.max_steps": 4,
    "train.checkpoint_every": 2,
    "train.validate_every": 2,
    "train.refit_epochs": 0,
    "train.log_every": 1,
    "train.tensorboard": False,
}
TIMES = (
    "commit",
    "wait",
    "seconds",
    "second",
    "rss",
    "memory",
    "time",
    "created",
    "cpu",
    "started",
    "date",
)
"""Words in the names of what differs between two equal runs."""


def bundle_scenes(folder: Path) -> Iterator[Scene]:
    """Index, of a made-up bundle."""
    made_bundle(folder / "made" / "bundle", clustered(300, 8, 1), clustered(40, 8, 2))
    yield _scene("index", folder / "made", _index, _bundle_is_whole, _indexed)


def training_scenes(folder: Path) -> Iterator[Scene]:
    """Train, and a study."""
    start = folder / "start"
    small_generation(start / "data", 0, goods=shop(0, users=60, interactions=1500))
    nested: dict[str, dict[str, Any]] = {}
    for name, value in TINY.items():
        part, _, key = name.partition(".")
        nested.setdefault(part, {})[key] = value
    (start / "config.yaml").write_text(yaml.safe_dump(nested))
    yield _scene("train", start, _train, _runs_are_whole, _run)
    study = folder / "study"
    (study / "results").mkdir(parents=True)
    small_generation(study / "data", 0, goods=shop(0, users=60, interactions=1500))
    body = {
        "name": "tiny",
        "set": TINY,
        "ks": [10],
        "metric": "ndcg@10",
        "seeds": [0],
        "data": {"shop": {"path": "data"}},
        "models": {"plain": {"set": {"model.name": "sasrec"}}},
        "counting": ["popular"],
        "baselines": ["popular"],
    }
    (study / "study.yaml").write_text(yaml.safe_dump(body))
    yield _scene("study", study, _study, _rows_are_whole, _rows, package="study")


def export_scenes(folder: Path) -> Iterator[Scene]:
    """Export, promote, and recommend to all users: slow, as every export compiles the user tower."""
    start = next(iter(training_scenes(folder))).start
    start = _after(start, folder / "trained", _train)
    yield _scene("export", start, _export, _bundle_is_whole, _bundle)
    start = _after(start, folder / "exported", _export)
    yield _scene("promote", start, _promote, _pointer_is_whole, _pointer)
    yield _scene("recommend to all", start, _recommend, _answers_are_whole, _answers)


def _scene(
    name: str, start: Path, call: Any, check: Any, result: Any, package: str = "heterrec_model"
) -> Scene:
    return Scene(name, package, start, call, check, result, _no_drafts)


def _after(start: Path, folder: Path, call: Any) -> Path:
    """A copy of a folder in which a command has run."""
    shutil.copytree(start, folder, symlinks=True)
    done = run("heterrec_model", call(folder), folder).done
    assert done.code == 0, done.err
    return folder


def _no_drafts(folder: Path) -> None:
    """Nothing with the name of a draft is left."""
    drafts = [p.name for p in folder.rglob(".*") if p.name not in (".lock",)]
    assert not drafts, drafts
    assert not [*folder.rglob("*.tmp"), *folder.rglob("*draft*")]


# --- the commands ------------------------------------------------------------------------------


def _train(at: Path) -> list[str]:
    config = str(at / "config.yaml")
    return ["train", *_data(at), "--config", config, "--resume", "--quiet"]


def _data(at: Path) -> list[str]:
    return ["--data", str(at / "data"), "--run", str(at / "run")]


def _export(at: Path) -> list[str]:
    return ["export", *_data(at), "--output", str(at / "bundle"), "--quiet"]


def _index(at: Path) -> list[str]:
    return ["index", "--bundle", str(at / "bundle"), "--quiet"]


def _promote(at: Path) -> list[str]:
    return ["promote", "--bundle", str(at / "bundle"), "--pointer", str(at / "pointer.json")]


def _recommend(at: Path) -> list[str]:
    where = ["--output", str(at / "answers"), "--shards", "2", "--workers", "1"]
    return ["recommend", "--bundle", str(at / "bundle"), "--users", "all", *where, "-k", "5"]


def _study(at: Path) -> list[str]:
    where = ["--runs", str(at / "runs"), "--results", str(at / "results")]
    return ["study", str(at / "study.yaml"), *where, "--data", f"shop={at / 'data'}", "--quiet"]


# --- what has to be true -----------------------------------------------------------------------


def _runs_are_whole(at: Path) -> None:
    """All that has the name of a checkpoint can be read; the lines of the log are whole but for the last one."""
    runs = [at / "run", *at.glob("runs/*/*")]
    for run_folder in (
        r for r in runs if not r.name.startswith(".")
    ):  # one that is removed is hidden first
        for path in run_folder.glob("checkpoints/step-*"):
            assert read_checkpoint(path).weights()
        for name in ("last", "best"):
            link = run_folder / "checkpoints" / name
            assert not link.is_symlink() or link.exists(), f"{link} points nowhere"
        log = run_folder / "metrics.jsonl"
        for line in log.read_text().split("\n")[:-1] if log.exists() else ():
            json.loads(line)


def _run(at: Path) -> Any:
    """The weights and the log of a run, without times."""
    run_folder = at / "run"
    weights = {
        path.name: hashes(path)["model.safetensors"]
        for path in run_folder.glob("checkpoints/step-*")
    }
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    links = {name: os.readlink(run_folder / "checkpoints" / name) for name in ("last", "best")}
    return weights, links, [_without_times(line) for line in lines]


def _without_times(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    kept = {k: v for k, v in body.items() if not any(word in k for word in TIMES)}
    return {k: _without_times(v) for k, v in kept.items()}


def _bundle_is_whole(at: Path) -> None:
    """A bundle exists as a whole or not at all, and so does its index."""
    if (at / "bundle").exists():
        bundle = open_bundle(at / "bundle", verify="hashes")
        open_index(bundle)


def _bundle(at: Path) -> Any:
    return open_bundle(at / "bundle").fingerprint


def _indexed(at: Path) -> Any:
    found = open_index(open_bundle(at / "bundle"))
    assert found is not None
    return hashes(at / "bundle" / "index")["index.faiss"]


def _pointer_is_whole(at: Path) -> None:
    path = at / "pointer.json"
    assert not path.exists() or json.loads(path.read_text())["bundle"]


def _pointer(at: Path) -> Any:
    body = json.loads((at / "pointer.json").read_text())
    return sorted(body), body.get("fingerprint")


def _answers_are_whole(at: Path) -> None:
    """The manifest names whole files only."""
    path = at / "answers" / "manifest.json"
    if path.exists():
        found = hashes(at / "answers")
        for file in json.loads(path.read_text())["files"]:
            assert found[file["path"]] == file["sha256"]


def _answers(at: Path) -> Any:
    found = hashes(at / "answers")
    return {name: text for name, text in found.items() if name.endswith(".parquet")}


def _rows_are_whole(at: Path) -> None:
    _runs_are_whole(at)
    path = at / "results" / "tiny" / "rows.csv"
    if path.exists():
        lines = list(csv.DictReader(io.StringIO(path.read_text())))
        keys = [(r["data"], r["model"], r["seed"], r["split"], r["protocol"]) for r in lines]
        assert len(set(keys)) == len(keys), "a row twice"
        assert not any(None in row or None in row.values() for row in lines), "a torn row"


def _rows(at: Path) -> Any:
    text = (at / "results" / "tiny" / "rows.csv").read_text()
    return [_without_times(row) for row in csv.DictReader(io.StringIO(text))]
