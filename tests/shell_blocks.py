"""The shell blocks of Markdown pages, and a shell that runs them with the command lines in forks of warm processes."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from warm_command import warm_commands

BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- not run: (?P<why>[^>]+) -->\n *)?```(?:sh|bash|console)\n(?P<body>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
INDENTED = re.compile(r"(?m)^\n {4,}((?:heterrec-(?:pipeline|model)|pip|uv|gcloud|docker) .*)")
_SHIM = """\
#!{python} -S
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line, line.makefile("rw", encoding="utf-8") as words:
    line.connect({address!r})
    words.write(json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd()]) + "\\n")
    words.flush()
    code, out, err = json.loads(words.readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@dataclass(frozen=True)
class Block:
    """A shell block of a page: its line, its text, and why it is not run, if it is not."""

    line: int
    text: str
    not_run: str | None

    def commands(self) -> Iterator[list[str]]:
        """The words of the project's commands in it, without comments, redirections and the brackets of optional words."""
        for line in self.text.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s[|&>]|\s2>", line.strip()):
                if part.startswith(("heterrec-pipeline ", "heterrec-model ")):
                    yield shlex.split(re.sub(r" \[(-[^\]]*)\]", r" \1", part), comments=True)


def shell_blocks(page: Path) -> list[Block]:
    """The shell blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in BLOCK.finditer(text):
        indent = len(match["indent"])
        body = "".join(line[indent:] for line in match["body"].splitlines(keepends=True))
        blocks.append(Block(text.count("\n", 0, match.start()) + 1, body, match["why"]))
    return blocks


class Shell:
    """Runs blocks by bash in a folder, in which `heterrec-pipeline`, `heterrec-model` and `python` are those of the test."""

    def __init__(self, folder: Path, tools: Path) -> None:
        self._folder, self._tools = folder, tools
        address = str(tools / "socket")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(address)
        self._server.listen()
        for name in ("heterrec-pipeline", "heterrec-model"):
            shim = tools / name
            shim.write_text(_SHIM.format(python=sys.executable, address=address), encoding="utf-8")
            shim.chmod(0o755)
        (tools / "python").symlink_to(sys.executable)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:  # closed
                return
            with line, line.makefile("rw", encoding="utf-8") as words:
                name, arguments, folder = json.loads(words.readline())
                done = warm_commands(name.replace("-", "_"))(*arguments, cwd=Path(folder))
                words.write(json.dumps([done.code, done.out, done.err]) + "\n")

    def run(self, text: str) -> "subprocess.CompletedProcess[str]":
        """Run a block; it ends at the first command that fails."""
        path = f"{self._tools}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder,
            env=os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def close(self) -> None:
        """End the thread that runs the commands."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
