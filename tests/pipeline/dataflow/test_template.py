"""The flex template: its metadata fit the command's flags, its images the pinned versions."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from apache_beam.options.pipeline_options import PipelineOptions

from heterrec_pipeline.commands import app
from heterrec_pipeline.flex_template import OPTIONAL, OWN, build_call

DOCKER = Path(__file__).resolve().parents[3] / "docker"
LEFT_OUT = {
    "workers": "the local engine alone has such workers",
    "allow_open_ports": "Dataflow's workers have no such ports",
    "no_wait": "a template's program never waits",
    "as_json": "its words go to the launcher's log",
    "quiet": "there is no progress to hide",
    "debug": "Dataflow keeps the log anyway",
    "report": "the launcher does not wait for the end of the build",
    "profile": "its file would be the launcher's",
    "log_json": "Dataflow keeps the log anyway",
    "runner": "a template runs on Dataflow",
    "time_limit": "it ends a command that waits",
    "sweep_after": "the launcher's default suits every bucket",
    "skip_unchanged": "a launcher has to submit a job",
}
"""Options of `build` and `refresh` that are not parameters of the template, with the reason."""
IMAGE = "europe-docker.pkg.dev/p/heterrec/worker"
VALUES = {
    "spec": (["gs://b-1/a/spec.yaml", "gs://bucket/s.yml"], ["spec.yaml", "gs://bucket/s.txt", ""]),
    "input": (
        ["gs://bucket", "gs://bucket/", "gs://my.bucket/a b"],
        ["/data", "s3://b/x", "gs://"],
    ),
    "output": (["gs://bucket/out"], ["out", "gs://B/out", "gs://bucket/a\nb"]),
    "base": (["gs://bucket/out", "gs://b-1/out/generations/x"], ["out", "s3://b/out"]),
    "param": (["from=2026-01-01", "from=a b;to="], ["from", "1=2", "a=b;c", ""]),
    "refit": (["price", "price,user_spend"], ["", "price,", "a b"]),
    "publish": (["true", "false"], ["yes", ""]),
    "allow_drift": (["true", "false"], ["yes", ""]),
    "reuse": (["true", "false"], ["no", ""]),
    "sdk_container_image": (
        [f"{IMAGE}:0.1.0", f"{IMAGE}@sha256:{'0' * 64}", "localhost:5000/w:1"],
        [IMAGE, "worker:0.1.0", f"{IMAGE}@sha256:00"],
    ),
    "number_of_worker_harness_threads": (["1", "12"], ["0", "-1", "two", "100"]),
    "labels": (["team=search", "env="], ["team", "Team=x", "team=a b"]),
}
"""Values that the pattern of each parameter must accept, and values it must not."""


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCKER / "metadata.json").read_text(encoding="utf-8"))
    return found


def options_of(name: str) -> dict[str, Any]:
    """The options of a command by name."""
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    return {p.name: p for p in command.params}


def test_every_parameter_is_described(metadata: dict[str, Any]) -> None:
    assert set(metadata) == {"name", "description", "streaming", "parameters"}
    keys = {"name", "label", "helpText", "isOptional", "paramType", "regexes"}
    for parameter in metadata["parameters"]:
        assert set(parameter) == keys, parameter["name"]
        assert parameter["helpText"].endswith("."), parameter["name"]
        assert parameter["label"], parameter["name"]


def test_parameters_are_the_commands_flags(metadata: dict[str, Any]) -> None:
    """The project's own parameters are options of `build` or `refresh`; the others are Beam's."""
    build, refresh = options_of("build"), options_of("refresh")
    options = build | refresh
    names = [p["name"] for p in metadata["parameters"]]
    required = [p["name"] for p in metadata["parameters"] if not p["isOptional"]]
    assert len(set(names)) == len(names)
    needed = [{n for n, o in command.items() if o.required} for command in (build, refresh)]
    assert required == list(OWN)
    assert needed == [{*OWN, "output"}, {*OWN, "base"}]
    assert set(names) >= {*OWN, *OPTIONAL}
    assert set(options) - set(names) - set(LEFT_OUT) == set(), "say why, or make them parameters"
    beam = PipelineOptions([]).get_all_options()
    assert [n for n in names if n not in options and n not in beam] == []


def test_patterns_take_what_is_meant_and_nothing_else(metadata: dict[str, Any]) -> None:
    patterns = {p["name"]: p["regexes"] for p in metadata["parameters"]}
    assert set(patterns) == set(VALUES)
    for name, (good, bad) in VALUES.items():
        for value in good:
            assert all(re.fullmatch(r, value) for r in patterns[name]), (name, value)
        for value in bad:
            assert not all(re.fullmatch(r, value) for r in patterns[name]), (name, value)


def test_a_launchers_flags_become_a_call_that_does_not_wait() -> None:
    launcher = [
        "--labels=team=search",
        "--output=gs://b/out",
        "--runner=DirectRunner",
        "--spec=gs://b/s.yaml",
        "--input=gs://b/in",
        "--template_location=gs://b/staging/job_object",
        "--project=p",
    ]
    call = build_call(launcher)
    own, beam = call[: call.index("--")], call[call.index("--") + 1 :]
    places = ["--spec=gs://b/s.yaml", "--input=gs://b/in", "--output=gs://b/out"]
    assert own[0] == "build"
    assert [f for f in [*places, "--no-wait"] if f not in own] == []
    assert beam == [
        "--runner=DataflowRunner",
        "--labels=team=search",
        "--template_location=gs://b/staging/job_object",
        "--project=p",
    ]


def test_a_missing_parameter_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_call(["--spec=gs://b/s.yaml", "--input=gs://b/in"])
    assert "required: --output" in capsys.readouterr().err


def test_with_a_base_the_call_is_a_refresh(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--spec=gs://b/s.yaml", "--input=gs://b/in", "--base=gs://b/out"]
    more = ["--refit=price", "--publish=false", "--project=p"]
    assert build_call([*own, *more]) == [
        *("refresh", *own, "--refit=price", "--no-publish", "--no-wait", "--json", "--"),
        *("--runner=DataflowRunner", "--project=p"),
    ]
    built = build_call([*own[:2], "--output=gs://b/out", "--param=from=1;to=2=3"])
    assert built[4:6] == ["--param=from=1", "--param=to=2=3"]
    assert "--publish" in build_call([*own, "--publish=true"])
    assert "--allow-drift" in build_call([*own, "--allow_drift=true"])
    assert "--no-reuse" in build_call([*own, "--reuse=false"])
    assert "--no-reuse" not in build_call([*own, "--reuse=true"])
    with pytest.raises(SystemExit):
        build_call([*own[:2], "--output=gs://b/out", "--refit=price"])
    assert "--refit is for a refresh" in capsys.readouterr().err


def test_the_file_that_the_launcher_starts_calls_the_command() -> None:
    """With a call that is refused at once: its spec does not exist."""
    flags = ["--spec=nowhere.yaml", "--input=gs://b/in", "--output=gs://b/out"]
    done = subprocess.run(
        [sys.executable, DOCKER / "launch.py", *flags], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "there is no spec file nowhere.yaml" in done.stderr


def test_images_are_pinned_to_what_is_tested() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    bases = dict(re.findall(r"^ARG (\w+)=(\S+/\S+)$", text, flags=re.M))
    assert set(bases) == {"BASE", "BEAM", "LAUNCHER", "TORCH_INDEX"}
    lock = (DOCKER.parent / "requirements.lock").read_text(encoding="utf-8")
    (beam,) = re.findall(r"^apache-beam==(\S+)", lock, flags=re.M)
    assert bases["BEAM"].partition("@")[0].endswith(f"beam_python3.11_sdk:{beam}")
    assert "python:3.11." in bases["BASE"]
    assert "python311-" in bases["LAUNCHER"]
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", text, flags=re.M)
    known = {f"${{{name}}}" for name in bases} | {name for _, name in stages}
    assert [base for base, _ in stages if base not in known] == []


def test_base_images_have_a_digest_or_a_reason() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    images = re.findall(r"^(.*)\nARG \w+=([\w./-]+):([\w.-]+)(@\S+)?$", text, flags=re.M)
    assert len(images) == 3
    for above, name, tag, digest in images:
        assert tag != "latest", name
        if digest:
            assert re.fullmatch(r"@sha256:[0-9a-f]{64}", digest), name
        assert bool(digest) != above.startswith("# No digest: "), name


def test_what_images_install_is_verified() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    for option in ("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT"):
        assert re.search(rf"\b{option}=/src/requirements.lock\b", text)
    installs = re.findall(r"(uv pip|pip) install ([^&;\n]*)", text)
    assert len(installs) > 5
    for program, words in installs:
        if program == "uv pip":
            assert ("--no-verify-hashes" in words) == words.rstrip().endswith(" torch"), words
        else:
            assert "--require-hashes" in words, words


def test_digests_are_looked_up_and_written(tmp_path: Path) -> None:
    """With a stand-in of skopeo, and without a client."""
    for name in ("Dockerfile", "digests.py"):
        shutil.copy(DOCKER / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    before = (tmp_path / "Dockerfile").read_text(encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, tmp_path / "digests.py", *arguments]
        path = {"PATH": f"{tmp_path / 'bin'}"}
        return subprocess.run(command, env=path, capture_output=True, text=True)

    failed = run()
    assert failed.returncode == 1
    assert (
        "cannot be looked up, docker/Dockerfile is unchanged.\nfound none of docker"
        in failed.stderr
    )
    assert (tmp_path / "Dockerfile").read_text(encoding="utf-8") == before
    unpinned = len(re.findall("^# No digest: ", before, flags=re.M))
    assert run("--check").stdout.count("is not pinned by digest") == unpinned
    client = tmp_path / "bin" / "skopeo"
    client.write_text("#!/bin/sh\necho sha256:" + "a" * 64 + "\n", encoding="utf-8")
    client.chmod(0o755)
    assert run().returncode == 0
    after = (tmp_path / "Dockerfile").read_text(encoding="utf-8")
    assert after.count("@sha256:" + "a" * 64) == 3
    assert "# No digest:" not in after
    assert len(after.splitlines()) == len(before.splitlines()) - unpinned
    assert run("--check").stdout == ""


def test_the_image_installs_what_the_pipeline_needs() -> None:
    done = subprocess.run(
        [
            sys.executable,
            DOCKER / "requirements.py",
            DOCKER.parent / "setup.cfg",
            "pipeline",
            "gcp",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {re.split(r"[\[<>=]", line)[0] for line in done.stdout.split()}
    assert {"apache-beam", "polars", "pyarrow", "xxhash"} <= names
    assert "torch" not in names
