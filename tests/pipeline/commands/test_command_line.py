"""The command line for people and scripts: help, JSON, tables, progress, exit codes."""

import io
import json
import os
import pty
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corner_shop import COMMAND, PROGRESS, Shop, environment, heterrec
from rich.console import Console

from heterrec_pipeline.commands import build_display
from heterrec_pipeline.telemetry.recorder import RECORDER

COMMANDS = ("build", "validate", "plan", "inspect", "convert", "purge", "embed")


# --- help and usage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [(), *((c,) for c in COMMANDS)])
def test_help(command: tuple[str, ...]) -> None:
    done = heterrec(*command, "--help")
    assert done.code == 0
    assert done.err == ""
    assert done.out.startswith("Usage: ")
    words = COMMANDS if not command else ("--debug",)
    assert all(word in done.out for word in words)


def test_short_help_lists_the_exit_codes() -> None:
    done = heterrec("-h")
    assert done.code == 0
    assert re.search(
        r"^    2  an error in the call.*^       fails in the same way", done.out, re.M | re.S
    )
    assert "Worth a retry: a store" in done.out
    assert heterrec("build", "-h").out.startswith("Usage: ")


def test_version() -> None:
    done = heterrec("--version")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"heterrec-pipeline \d+\.\d+\.\d+\S*\n", done.out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "No such command 'nope'"),
        (["build", "--nope"], "No such option: --nope"),
        (["validate", "--spec", "s.yaml", "--input", ".", "--output", "x"], "No such option"),
        (["build", "--spec", "s.yaml", "--input", "."], "Missing option '--output'"),
        (["inspect"], "Missing argument"),
        (["inspect", "a", "b"], "unexpected extra argument"),
        (["publish", "out"], "Missing option '--generation'"),
        (
            ["build", "--spec", "nothing.yaml", "--input", ".", "--output", "x"],
            "no spec file nothing",
        ),
        (
            ["validate", "--spec", ".", "--input", "."],
            "cannot be read: Is a directory",
        ),
    ],
)
def test_a_mistake_in_the_call_ends_with_2(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = heterrec(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert done.out == ""
    assert words in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_without_a_command_help_is_shown() -> None:
    done = heterrec()
    assert done.code == 2
    assert "Usage: " in done.out + done.err


# --- build ------------------------------------------------------------------------------------------


def test_a_build_ends_with_tables(shop: Shop) -> None:
    # Text that looks like terminal markup is printed as it is.
    shop.spec["name"] = "corner [/shop] [red]"
    shop.feature("look").update(groups=1, quantiles=9)
    shop.output = shop.folder / "[bold]out[/x]"
    done = shop.build()
    assert done.code == 0, done.err
    assert "corner [/shop] [red]: rows" in done.out
    assert re.search(r"^ *interactions +200 +200 +0 +0 +0 +0 *$", done.out, re.M)
    assert re.search(r"^ *look +item +embedding +6,563 +1 +0\.0% +0\.0% *$", done.out, re.M)
    assert re.search(r"^ *sequences/train +2 +10 ", done.out, re.M)
    path = f"{shop.output}/generations/{shop.latest()}"
    assert f"The generation is {path}\n" in done.out
    assert "\nInteractions: 200 read > 0 filtered > 0 rejected > 0 with unknown items >" in done.out
    assert f"\nNext: heterrec-pipeline inspect '{path}'\n" in done.out
    warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        "warning: items feature 'look': 6561 codes per group (above 4096); most will be rare. "
        "More groups or fewer quantiles give denser codes."
    ]
    assert all(PROGRESS.match(line) for line in done.err.splitlines())
    assert "\x1b" not in done.out + done.err
    assert "\r" not in done.out + done.err


def test_a_build_for_scripts(shop: Shop) -> None:
    # An item outside the catalogue does not count as unknown if it gets an OOV bucket.
    shop.spec["interactions"]["unknown_items"] = "oov"
    shop.spec["items"]["catalogue_vocabulary"] = {"oov_buckets": 3}
    shop.add("log.csv", [["u1", "i77", "1700000000", "view", "900"]])
    done = shop.build("--json")
    assert done.code == 0, done.err
    assert done.out.count("\n") == 1
    body = json.loads(done.out)
    assert body["path"] == f"{shop.output}/generations/{shop.latest()}"
    assert body["manifest"] == shop.manifest()
    counts = body["manifest"]["counts"]["interactions"]
    assert (counts["read"], counts["kept"], counts["unknown_item"]) == (201, 201, 0)
    assert body["seconds"] > 0


def test_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_display, "LINE_EVERY", 0.01)
    text = io.StringIO()
    RECORDER.begin(0)
    with build_display.show_progress(Console(file=text, force_terminal=False, width=20)):
        for k in range(3):
            RECORDER.count("interactions.read", 1000 * (k + 1))
            time.sleep(0.1)
    RECORDER.begin(0)
    lines = text.getvalue().splitlines()
    assert [line.split(" s  ")[1] for line in lines] == [
        f"starting  (interactions {n:,} read)" for n in (1000, 3000, 6000)
    ]
    assert all(PROGRESS.match(line) for line in lines)


def test_a_live_line_on_a_terminal(shop: Shop) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "build", *shop.arguments()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env=environment(TERM="xterm"),
    )
    os.close(slave)
    text = ""
    while True:
        try:
            text += os.read(master, 65536).decode()
        except OSError:  # the other end was closed
            break
    os.close(master)
    assert process.wait() == 0
    assert "\x1b[2K" in text
    # The line is updated every fifth of a second; which of the steps it shows is chance.
    assert re.search(r"\d s  ([A-Z][\w ]*/[a-z]|run the graph)", text)
    assert " read" in text
    # One line that is overwritten, never wrapped, and cleared at the end.
    assert re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", text).count("\n") <= 1
    assert text.rstrip("\r\n").endswith(("\x1b[2K", "\x1b[?25h"))


# --- validate ---------------------------------------------------------------------------------------


def test_validate_shows_a_sample_and_writes_nothing(shop: Shop) -> None:
    shop.feature("look").update(groups=1, quantiles=9)
    shutil.rmtree(shop.output)
    shop.write_spec()
    before = _files(shop.folder)
    done = shop.validate()
    assert done.code == 0, done.err
    assert "The spec fits the data. Nothing was written." in done.out
    assert re.search(r"^ *interactions +1 +[\d,]+ +200 +0 *$", done.out, re.M)
    assert "warning: items feature 'look': 6561 codes per group" in done.out
    assert done.err == ""
    assert _files(shop.folder) == before


def test_validate_lists_every_mistake(shop: Shop) -> None:
    shop.spec["sequences"]["max_lenght"] = 3
    shop.feature("price")["column"] = "prize"
    shop.spec["interactions"]["order"] = "event_nr"
    shop.spec["users"]["source"]["path"] = "people.csv"
    found = [
        "sequences.max_lenght: unknown key. Did you mean 'max_length'",
        "feature 'price': items or items.joins[0] has no column 'prize'. Did you mean 'price'?",
        "interactions: there is no column 'event_nr'. Did you mean 'event' or 'event_id'?",
        "users: no file matches 'people.csv'",
    ]
    shutil.rmtree(shop.output)
    done = shop.validate()
    assert done.code == 2
    assert done.err.startswith("error: 4 mistakes:\n")
    assert all(word in done.err for word in found)
    done = shop.validate("--json")
    assert done.code == 2
    assert done.out.count("\n") == 1
    body = json.loads(done.out)
    assert body["valid"] is False
    assert (body["error"], body["exit_code"]) == ("DataError", 2)
    assert all(any(word in m for m in body["mistakes"]) for word in found)
    assert not shop.output.exists()


def test_validate_finds_bad_rows(shop: Shop) -> None:
    shop.add("items.csv", [["i20", "Kiwi", "cheap"]])
    shop.add("log.csv", [["u1", "i01", "soon", "view", "900"]])
    done = shop.validate("--json")
    assert done.code == 2
    body = json.loads(done.out)
    assert [m[:51] for m in body["mistakes"]] == [
        "items: 1 of 21 sampled rows would be rejected, more"
    ]
    words = [
        "items: 1 of 21 sampled rows: not_a_number; items.csv row 20, column 'price': got 'cheap'",
        "interactions: 1 of 201 sampled rows: time_unreadable; "
        "log.csv row 200, column 'time': got 'soon'",
    ]
    assert all(any(m.startswith(word) for m in body["warnings"]) for word in words), body[
        "warnings"
    ]
    tables = {t["table"]: t for t in body["tables"]}
    assert list(tables) == ["items", "items.joins[0]", "users", "interactions"]
    assert tables["interactions"]["reasons"] == {"time_unreadable": 1}


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- inspect ----------------------------------------------------------------------------------------


def test_inspect_for_scripts(built_shop: Shop) -> None:
    done = heterrec("inspect", built_shop.output, "--json")
    assert done.code == 0, done.err
    body = json.loads(done.out)
    assert body["overview"]["generation"] == built_shop.latest()
    done = heterrec("inspect", built_shop.output, "--item", "i03", "--user", "u4", "--json")
    assert done.code == 0, done.err
    body = json.loads(done.out)
    assert body["item"]["features"]["brand"]["words"] == "Kiwi"
    assert list(body["user"]["splits"]) == ["train", "validation", "test", "latest"]


def test_inspect_for_people(built_shop: Shop) -> None:
    # Characters that an old terminal cannot show must not end the command.
    done = heterrec("inspect", built_shop.output, "--item", "i03", PYTHONIOENCODING="ascii")
    assert done.code == 0, done.err
    assert "Kiwi" in done.out
    done = heterrec("inspect", built_shop.output, "--item", "i99")
    assert done.code == 2
    assert done.message.startswith("error: there is no item 'i99'")


def _unfinished(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _truncated(folder: Path) -> None:
    path = next((folder / "items").iterdir())
    path.write_bytes(path.read_bytes()[:-1])


def _changed(folder: Path) -> None:
    path = next((folder / "sequences").iterdir())
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(bytes(data))


def _missing(folder: Path) -> None:
    next((folder / "vocabularies").iterdir()).unlink()


def _half_a_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:100])


def _of_a_later_version(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 9'))


def _latest_is_garbage(folder: Path) -> None:
    (folder.parents[1] / "latest.json").write_text("[]")


def _all_gone(folder: Path) -> None:
    shutil.rmtree(folder.parents[1])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_unfinished, "has no manifest.json: its build is still running, or failed"),
        (_truncated, "1 of 31 files differ from manifest.json: items/items-00000-of-00001.parquet"),
        (_changed, "got SHA-256"),
        (_missing, ".parquet: absent"),
        (_half_a_manifest, "manifest.json is not JSON"),
        (_of_a_later_version, "unknown format version: got 9, expected 1"),
        (_latest_is_garbage, "latest.json names no generation"),
        (_all_gone, "there is no folder"),
    ],
)
def test_inspect_refuses_what_is_no_generation(
    shop: Shop, spoil: Callable[[Path], Any], words: str
) -> None:
    folder = shop.output / "generations" / shop.latest()
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    files = sum(not f["path"].startswith("state/") for f in listed)
    spoil(folder)
    done = heterrec("inspect", shop.output, "--json")
    assert done.code == 2
    assert done.message.startswith("error: ")
    assert words.replace("of 31", f"of {files}") in done.message
    assert done.err.count("\n") == 1
    failed = json.loads(done.out)
    assert list(failed) == ["error", "stage", "message", "exit_code"]
    assert f"error: {failed['message']}" == done.message


def test_a_reader_that_goes_away_is_no_failure_to_tell(built_shop: Shop) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "inspect", str(built_shop.output)],
        stdout=write,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


# --- terminals and scripts ---------------------------------------------------------------------------

ASCII = [
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""},
]


@pytest.mark.parametrize("env", ASCII)
def test_texts_are_escaped_on_an_ascii_terminal(shop: Shop, env: dict[str, str]) -> None:
    shop.spec["limits"]["max_reject_ratio"] = 0.5
    shop.add("items.csv", [["i20", "Kiwi", "günstig"]])
    shop.write_spec()
    arguments = ["validate", "--spec", shop.spec_path, *shop.reading()]
    done = heterrec(*arguments, **env)
    assert done.code == 0, done.err
    assert "got 'g\\xfcnstig'" in done.out.replace("\n", "")
    done = heterrec(*arguments, "--json", **env)
    assert done.code == 0, done.err
    assert any("got 'günstig'" in warning for warning in json.loads(done.out)["warnings"])
    done = heterrec("inspect", shop.output, "--item", "café", "--json", **env)
    assert done.code == 2
    assert "there is no item 'caf\\xe9'" in done.err
    assert "there is no item 'café'" in json.loads(done.out)["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "--spec", "s", "--input", ".", "--json"],
        ["validate", "--json", "--nope"],
        ["plan", "--json", "x", "y"],
        ["inspect", "--json"],
    ],
)
def test_a_misspelt_call_is_an_object_too(arguments: list[str]) -> None:
    done = heterrec(*arguments)
    assert done.code == 2
    assert "Usage: " in done.err
    body = json.loads(done.out)
    assert (body["error"], body["stage"], body["exit_code"]) == ("CallError", None, 2)


def test_a_misspelt_call_is_a_line_of_the_log() -> None:
    done = heterrec("build", "--nope", "--log-json")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert json.loads(line)["event"] == "failed"
    assert "No such option: --nope" in json.loads(line)["message"]


@pytest.mark.parametrize("limit", ["inf", "nan", "-1", "0", "1e300"])
def test_a_time_limit_is_a_time(limit: str, tmp_path: Path) -> None:
    done = heterrec(
        "build", "--spec=s", "--input=.", f"--output={tmp_path}", f"--time-limit={limit}"
    )
    assert done.code == 2
    assert done.err.startswith(f"error: --time-limit: got {float(limit):g}, expected seconds from")
