"""A refresh does not parse the files again that its parent has read, and its bytes are the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from corner_shop import Shop

from heterrec_pipeline.building import BuildConfig, BuildResult, build
from heterrec_pipeline.building import reuse as of_job
from heterrec_pipeline.reading import read
from heterrec_schemas import open_generation
from heterrec_schemas.feature_spec import parse_spec

ALL = {"items", "items.joins[0]", "users", "interactions"}


def refreshed(shop: Shop, **more: Any) -> BuildResult:
    """A refresh of the latest generation."""
    shop.write_spec()
    text, output = shop.spec_path.read_text(), str(shop.output)
    config = BuildConfig(parse_spec(text), text, str(shop.input), output, workers=1, base=output)
    return build(replace(config, **more))


def files_parsed(shop: Shop, **more: Any) -> tuple[BuildResult, set[str]]:
    """A refresh, and the names of the files that it parsed after the checks."""
    parsed = set()
    original = read.read_split

    def watched(split: Any, columns: Any) -> Any:
        if not split.file.name.startswith("items-from-log"):
            parsed.add(split.file.name)
        return original(split, columns)

    with (
        patch("heterrec_pipeline.reading.erased.read_split", watched),
        patch("heterrec_pipeline.building.prepare.check_sample"),
    ):
        return refreshed(shop, **more), parsed


@pytest.fixture(scope="module")
def built(built_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose log has two files, built."""
    shop = built_shop.copy(tmp_path_factory.mktemp("built") / "shop")
    head, *rows = shop.rows("log.csv")
    shop.put("log.csv", [head, *rows[::2]])
    shop.put("log-2.csv", [head, *rows[1::2]])
    shop.spec["interactions"]["source"] = {"path": "log*.csv"}
    refreshed(shop, base=None)
    return shop


@pytest.fixture
def base(built: Shop, tmp_path: Path) -> Shop:
    """A copy of it."""
    return built.copy(tmp_path / "shop")


def parsed_anew(shop: Shop, result: BuildResult) -> BuildResult:
    """The same refresh without reuse."""
    assert result.manifest.parent is not None
    parent = Path(result.path).parent / result.manifest.parent
    return refreshed(shop, base=str(parent), reuse=False, publish=False)


def state_of(shop: Shop) -> list[Path]:
    root = shop.output / "generations" / shop.latest() / "state"
    return sorted(root.rglob("*.arrow"))


def test_unchanged_files_are_not_parsed_again(base: Shop) -> None:
    before = base.manifest()["content_sha256"]
    for _ in range(2):  # of a build, then of a refresh, which hands the state on
        result, parsed = files_parsed(base)
        assert parsed == set()
        assert result.manifest.content_sha256 == before
        assert result.reuse is not None
        assert result.reuse["files"] == result.reuse["of_files"] == len(result.manifest.inputs)
        assert result.reuse["bytes"] == sum(i.bytes for i in result.manifest.inputs)
        assert result.reuse["why"] == {}
    again, parsed = files_parsed(base, reuse=False)
    assert again.manifest.content_sha256 == before
    assert parsed == {i.path for i in again.manifest.inputs}
    assert again.as_json()["reuse"]["files"] == 0
    assert set(again.as_json()["reuse"]["why"]) == {f"{t}: because of --no-reuse" for t in ALL}


def test_a_changed_file_alone_is_parsed(base: Shop) -> None:
    base.feature("brand").update(min_count=2, max_size=3)  # no part of the reading
    base.add("log-2.csv", [["u1", "i01", "1700000900", "view", "950"]])
    result, parsed = files_parsed(base)
    assert parsed == {"log-2.csv"}
    assert result.as_json()["reuse"]["why"] == {"interactions: new or changed": 1}
    assert result.as_json()["reuse"]["files"] == result.as_json()["reuse"]["of_files"] - 1
    plain = parsed_anew(base, result)
    assert plain.manifest.content_sha256 == result.manifest.content_sha256
    assert plain.manifest.counts == result.manifest.counts
    assert plain.manifest.rejects == result.manifest.rejects


def test_a_renamed_file_is_known_by_its_hash(base: Shop) -> None:
    (base.input / "log-2.csv").rename(base.input / "log-9.csv")
    result, parsed = files_parsed(base)
    assert parsed == set()
    assert "log-9.csv" in {i.path for i in result.manifest.inputs}
    rejects = open_generation(result.path).rejects().to_pylist()
    assert {r["file"] for r in rejects} <= {i.path for i in result.manifest.inputs}


def test_a_table_that_is_read_in_another_way_is_parsed(base: Shop) -> None:
    base.feature("price")["missing_values"] = ["0"]
    result, parsed = files_parsed(base)
    assert parsed == {"items.csv"}
    assert result.as_json()["reuse"]["why"] == {"items: read in another way": 1}
    with patch.object(of_job, "VERSION", 0):
        result, parsed = files_parsed(base)
    assert parsed == {i.path for i in result.manifest.inputs}


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "why"),
    [(_damage, "damaged state"), (Path.unlink, "missing state")],
)
def test_without_its_state_a_file_is_parsed(
    base: Shop, harm: Callable[[Path], None], why: str
) -> None:
    before = base.manifest()["content_sha256"]
    harm(next(p for p in state_of(base) if p.parent.name.startswith("items-")))
    open_generation(base.output, verify="hashes")  # readers ignore state/
    result, parsed = files_parsed(base)
    assert result.manifest.content_sha256 == before
    assert len(parsed) == 1
    assert list(result.as_json()["reuse"]["why"].values()) == [1]
    assert next(iter(result.as_json()["reuse"]["why"])).endswith(why)
    assert len(state_of(base)) == len(result.manifest.inputs), "the refresh has written it again"


def test_what_is_erased_leaves_no_state(base: Shop) -> None:
    base.put("gone.csv", [["id"], ["u1"]])
    base.spec["erase"] = {"users": {"source": {"path": "gone.csv"}, "key": "id"}}
    logs = {r[0] for r in base.rows("log.csv")[1:]}, {r[0] for r in base.rows("log-2.csv")[1:]}
    hit = {n for n, users in zip(("log.csv", "log-2.csv"), logs, strict=True) if "u1" in users}
    result, parsed = files_parsed(base)
    assert parsed >= hit
    assert {p for p in parsed if p.startswith("log")} == hit
    assert "interactions: with something to erase" in result.as_json()["reuse"]["why"]
    assert not any(b"u1\x00" in p.read_bytes() for p in state_of(base))
    del base.spec["erase"]
    freed, parsed = files_parsed(base)
    assert {p for p in parsed if p.startswith("log")} == hit
    plain = parsed_anew(base, freed)
    assert freed.manifest.content_sha256 == plain.manifest.content_sha256


def test_items_from_the_log_are_not_made_again(base: Shop) -> None:
    feature = {"name": "how", "kind": "categorical", "column": "event"}
    base.spec["items"] |= {"source": "interactions", "features": [feature]}
    base.spec["items"].pop("joins", None)
    first = refreshed(base, base=None)
    result, parsed = files_parsed(base)
    assert parsed == set()
    assert result.manifest.content_sha256 == first.manifest.content_sha256
    base.add("log-2.csv", [["u1", "i01", "1700000900", "buy", "950"]])
    changed, parsed = files_parsed(base)
    assert parsed == {"log-2.csv"}
    plain = parsed_anew(base, changed)
    assert plain.manifest.content_sha256 == changed.manifest.content_sha256
