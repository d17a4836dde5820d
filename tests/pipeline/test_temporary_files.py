"""Files in the system's temporary folder, which other users can list: unguessable names, and no access for others."""

import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from corner_shop import Shop, heterrec

NAME = re.compile(r"(heterrec-[a-z]+-|beam-[a-z-]+|tmp)[a-z0-9_]{8}")


@contextmanager
def watched(folder: Path) -> Iterator[dict[str, int]]:
    """The modes of everything that is created in a folder during the block, with a umask that takes nothing away."""
    seen: dict[str, int] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.005):
            for entry in os.scandir(folder):
                with suppress(FileNotFoundError):
                    seen[entry.name] = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)

    folder.mkdir()
    umask = os.umask(0)
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        os.umask(umask)
        ended.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "prefixes"),
    [
        (("build", "--workers=2", "--output=output"), {"heterrec-progress-", "heterrec-trace-"}),
        (("plan", "--full-scan"), {"heterrec-plan-"}),
    ],
)
def test_temporary_files_are_private(
    tmp_path: Path, command: tuple[str, ...], prefixes: set[str]
) -> None:
    shop = Shop(tmp_path / "shop")
    shop.write()
    temporary = tmp_path / "temporary"
    profile = ("--profile", tmp_path / "trace.json") if "build" in command else ()
    with watched(temporary) as seen:
        done = heterrec(
            *command,
            *("--spec", shop.spec_path, "--input", shop.input),
            *profile,
            cwd=shop.folder,
            TMPDIR=str(temporary),
        )
    assert done.code == 0, done.stderr
    assert {name: oct(mode) for name, mode in seen.items() if mode & 0o077} == {}
    assert [name for name in seen if not NAME.fullmatch(name)] == []
    assert prefixes <= {name[:-8] for name in seen}
    assert os.listdir(temporary) == []
