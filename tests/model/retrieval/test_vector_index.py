import fcntl
import os
from pathlib import Path

import numpy as np
import pytest
from brute_force import brute_force, recall
from made_bundle import clustered, made_bundle

from heterrec_model.bundle.reader import Bundle
from heterrec_model.retrieval import build_index as building
from heterrec_model.retrieval.build_index import build_index
from heterrec_model.retrieval.search import Searcher
from heterrec_model.retrieval.vector_index import effort_between, open_index
from heterrec_schemas.errors import BundleError, CallError, RunError

ITEMS, USERS = clustered(3000, 8, 1), clustered(80, 8, 2)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return made_bundle(tmp_path / "bundle", ITEMS, USERS)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_it_reaches_the_recall_and_is_the_same_again(kind: str, bundle: Bundle) -> None:
    lines: list[str] = []
    info = build_index(bundle.folder, kind, k=10, min_recall=0.95, report=lines.append)
    assert (info.kind, info.fingerprint, info.k) == (kind, bundle.fingerprint, 10)
    assert info.recall >= 0.95
    assert lines
    index = open_index(bundle)
    assert index is not None
    searcher = Searcher(bundle.item_vectors_ND, index)
    fresh_BD = clustered(100, 8, 3)
    found = searcher.top(fresh_BD, 10)
    best = brute_force(fresh_BD, ITEMS, 10)
    assert recall(found.position_BK, fresh_BD, ITEMS, best).mean() >= 0.93
    np.testing.assert_allclose(found.score_BK[:, 0], best.score_BK[:, 0], atol=1e-5)
    before = (bundle.folder / "index/index.faiss").read_bytes()
    assert build_index(bundle.folder, kind, k=10, min_recall=0.95) == info
    assert (bundle.folder / "index/index.faiss").read_bytes() == before
    assert not [p for p in os.listdir(bundle.folder) if p.startswith(".")]


def test_auto_takes_flat_for_few_items(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_index(bundle) is None
    assert build_index(bundle.folder).kind == "flat"
    monkeypatch.setattr(building, "FLAT_UP_TO", 2999)
    assert build_index(bundle.folder).kind == "ivf"


def test_nothing_is_published_below_the_recall(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(bundle.folder, "flat")
    monkeypatch.setattr(building, "_MOST_EF", 1)
    monkeypatch.setattr(building, "_NEIGHBOURS", 2)
    monkeypatch.setattr(building, "_CONSTRUCTION", 1)
    with pytest.raises(RunError, match=r"not published: its recall@1 .* expected at least 0\.99"):
        build_index(bundle.folder, "hnsw", k=1)
    index = open_index(bundle)
    assert index is not None
    assert index.kind == "flat"


def test_calls_that_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    for arguments, words in (
        ({"kind": "ivff"}, "Did you mean 'ivf'"),
        ({"k": 0}, "expected 1 to"),
        ({"min_recall": 1.5}, "above 0"),
        ({"bundle_folder": "s3://b/x"}, "a local folder"),
    ):
        with pytest.raises(CallError, match=words):
            build_index(**{"bundle_folder": bundle.folder, **arguments})  # type: ignore[arg-type]
    empty = made_bundle(tmp_path / "other", ITEMS, USERS[:0])
    with pytest.raises(BundleError, match="no sample of user vectors"):
        build_index(empty.folder, "ivf")
    handle = os.open(bundle.folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(BundleError, match="another process"):
        build_index(bundle.folder)
    os.close(handle)


def test_a_wrong_or_damaged_index_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    build_index(bundle.folder, "ivf", k=10, min_recall=0.9)
    other = made_bundle(tmp_path / "other", ITEMS, USERS, name="two")
    os.symlink(bundle.folder / "index", other.folder / "index")
    with pytest.raises(BundleError) as error:
        open_index(other)
    assert bundle.fingerprint in str(error.value)
    assert other.fingerprint in str(error.value)
    file = bundle.folder / "index/index.faiss"
    good = file.read_bytes()
    for bad, words in ((good[:-1], "bytes"), (b"X" + good[1:], "SHA-256")):
        file.write_bytes(bad)
        with pytest.raises(BundleError, match=words):
            open_index(bundle)
    file.unlink()
    with pytest.raises(BundleError, match="no such file"):
        open_index(bundle)
    for text, words in (("{", "not JSON"), ("{}", "fingerprint: Field required")):
        (bundle.folder / "index/index.json").write_text(text)
        with pytest.raises(BundleError, match=words):
            open_index(bundle)
    (bundle.folder / "index/index.json").unlink()
    with pytest.raises(BundleError, match="not finished"):
        open_index(bundle)


def test_effort_between_depths() -> None:
    measured = {100: 8, 1000: 32}
    assert [effort_between(measured, d) for d in (1, 100, 316.2, 1000, 1001)] == [
        8,
        8,
        16,
        32,
        None,
    ]
