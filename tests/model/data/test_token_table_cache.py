import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heterrec_model.data import token_table_cache
from heterrec_model.data.token_table import TokenTable, open_token_table
from heterrec_schemas import Generation
from heterrec_schemas.errors import RunError

ARRAYS = ("tokens_IC", "value_IK", "catalogue_N", "train_count_I")


def same(left: TokenTable, right: TokenTable) -> bool:
    return (
        all(torch.equal(getattr(left, name), getattr(right, name)) for name in ARRAYS)
        and left.features == right.features
        and left.user_features == right.user_features
    )


def folders(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every build."""
    done: list[int] = []
    fill: Callable[..., Any] = token_table_cache.read_arrays
    monkeypatch.setattr(
        token_table_cache, "read_arrays", lambda *args: (done.append(1), fill(*args))[1]
    )
    return done


def test_it_is_built_once_and_equals_the_plain_one(
    generation: Generation, tmp_path: Path, builds: list[int]
) -> None:
    plain = open_token_table(generation)
    for _ in range(3):
        assert same(open_token_table(generation, cache=tmp_path / "new" / "cache"), plain)
    assert len(builds) == 1


def test_it_is_mapped_and_not_written_to(generation: Generation, tmp_path: Path) -> None:
    table = open_token_table(generation, cache=tmp_path)
    loaded = token_table_cache._load(folders(tmp_path)[0], {})
    assert loaded is not None
    assert all(isinstance(array, np.memmap) for array in loaded[1].values())
    table.tokens_IC[3] = 7
    assert not (open_token_table(generation, cache=tmp_path).tokens_IC[3] == 7).all()


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o700), (0o022, 0o755)])
def test_it_is_readable_by_those_whom_the_umask_permits(
    generation: Generation, tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        open_token_table(generation, cache=tmp_path)
    finally:
        os.umask(before)
    [folder] = folders(tmp_path)
    assert folder.stat().st_mode & 0o777 == mode


def test_each_choice_of_features_has_a_folder(generation: Generation, tmp_path: Path) -> None:
    whole = open_token_table(generation, cache=tmp_path)
    some = open_token_table(generation, features=["look"], cache=tmp_path)
    none = open_token_table(generation, features=(), user_features=(), cache=tmp_path)
    assert [len(t.features) for t in (whole, some, none)] == [5, 1, 0]
    assert same(some, open_token_table(generation, features=["look"]))
    assert same(none, open_token_table(generation, features=(), user_features=()))
    assert len(folders(tmp_path)) == 3


def test_another_content_has_another_folder(
    generation: Generation, rich: Generation, tmp_path: Path
) -> None:
    open_token_table(generation, cache=tmp_path)
    assert same(open_token_table(rich, cache=tmp_path), open_token_table(rich))
    assert len(folders(tmp_path)) == 2


def test_a_folder_about_another_content_is_built_again(
    generation: Generation, rich: Generation, tmp_path: Path, builds: list[int]
) -> None:
    open_token_table(generation, cache=tmp_path)
    ours = folders(tmp_path)[0]
    open_token_table(rich, cache=tmp_path / "other")
    shutil.rmtree(ours)
    shutil.copytree(folders(tmp_path / "other")[0], ours)
    assert same(open_token_table(generation, cache=tmp_path), open_token_table(generation))
    assert len(builds) == 3


@pytest.mark.parametrize("name", ["tokens.npy", "about.json", "catalogue.npy"])
@pytest.mark.parametrize("left", [None, 20])
def test_a_damaged_folder_is_built_again(
    generation: Generation, tmp_path: Path, name: str, left: int | None, builds: list[int]
) -> None:
    open_token_table(generation, cache=tmp_path)
    file = folders(tmp_path)[0] / name
    if left is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:left])
    assert same(open_token_table(generation, cache=tmp_path), open_token_table(generation))
    assert len(builds) == 2


@pytest.mark.parametrize("name", ["tokens", "value"])
def test_arrays_of_another_shape_are_built_again(
    generation: Generation, tmp_path: Path, name: str, builds: list[int]
) -> None:
    open_token_table(generation, cache=tmp_path)
    np.save(folders(tmp_path)[0] / f"{name}.npy", np.zeros((3, 1), np.int32))
    assert same(open_token_table(generation, cache=tmp_path), open_token_table(generation))
    assert len(builds) == 2


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, '{"described": 1}'])
def test_a_forged_description_is_built_again(
    generation: Generation, tmp_path: Path, text: str, builds: list[int]
) -> None:
    open_token_table(generation, cache=tmp_path)
    (folders(tmp_path)[0] / "about.json").write_text(text)
    assert same(open_token_table(generation, cache=tmp_path), open_token_table(generation))
    assert len(builds) == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from heterrec_model.data import token_table_arrays
from heterrec_model.data.token_table import open_token_table
from heterrec_schemas import open_generation
token_table_arrays._fill_counts = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
open_token_table(open_generation(sys.argv[1]), cache=Path(sys.argv[2]))
"""


def test_an_interrupted_build_leaves_nothing_that_could_be_read(
    generation: Generation, tmp_path: Path
) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, generation.root, tmp_path], check=False)
    assert ended.returncode == -9
    assert [folder.name[:11] for folder in folders(tmp_path)] == ["unfinished-"]
    assert same(open_token_table(generation, cache=tmp_path), open_token_table(generation))
    assert [folder.name[:6] for folder in folders(tmp_path)] == ["table-"]


def test_of_several_at_once_one_builds(
    generation: Generation, tmp_path: Path, builds: list[int]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: open_token_table(generation, cache=tmp_path), range(4)))
    assert all(same(table, tables[0]) for table in tables)
    assert len(builds) == 1


def test_a_cache_that_cannot_be_written_is_named(generation: Generation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write the token table to .*file"):
        open_token_table(generation, cache=tmp_path / "file")
