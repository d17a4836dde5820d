"""The index of kinds names tests that exist."""

import re
from pathlib import Path

HERE = Path(__file__).parent
ROW = re.compile(r"^\| (\w\w) \| (.+) \| (.+) \|$", re.MULTILINE)


def test_every_kind_has_a_test_that_exists() -> None:
    rows = ROW.findall((HERE / "index.md").read_text("utf-8"))
    assert len({number for number, *_ in rows}) == len(rows) > 90
    for number, _, tests in rows:
        for test in tests.split(", "):
            file, _, name = test.partition("::")
            path = HERE.parents[1] / file if "/" in file else HERE / file
            assert f"def {name}(" in path.read_text("utf-8"), (number, test)
