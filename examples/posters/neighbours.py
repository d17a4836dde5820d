"""Show the films with the most similar pictures, by float vector and by tokens.

    python examples/posters/neighbours.py GENERATION DATA SHEET.png [TITLE ...]

Prints titles, and writes a contact sheet: per film its poster, the nearest by cosine above, those with the most equal tokens
below.

Shapes: N films, D dimensions of a vector, Z tokens of a picture.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from draw import HEIGHT, WIDTH
from PIL import Image

from heterrec_schemas import open_generation

TITLES = ["Toy Story (1995)", "Alien (1979)", "Casablanca (1942)", "Unforgiven (1992)"]
NEAREST = 6
"""Number of neighbours shown."""
GAP = 8
"""Pixels between posters."""


def load(generation: str, data: Path) -> pl.DataFrame:
    """One row per film with a picture: title, picture, vector [D], tokens [Z]."""
    tokens = pl.DataFrame(open_generation(generation).items(["item_id", "picture"]))
    vectors = pl.read_parquet(data / "vectors" / "picture-*.parquet")
    films = pl.read_parquet(data / "items.parquet").select("item_id", "title", path="picture")
    table = films.join(vectors, on="item_id").join(tokens, on="item_id", maintain_order="left")
    return table.rename({"picture_embedding": "vector", "picture": "tokens"})


def nearest(similar_N: npt.NDArray[np.float64], film: int, count: int = NEAREST) -> list[int]:
    """Positions of the most similar films but the film itself; of equal ones the first."""
    order = np.argsort(-similar_N, kind="stable")
    return [int(other) for other in order if other != film][:count]


def neighbours(table: pl.DataFrame, film: int) -> tuple[list[int], list[int]]:
    """Positions of the nearest films by cosine, and of those with the most equal tokens."""
    vectors_ND = table["vector"].to_numpy().astype(np.float64)
    tokens_NZ = np.stack(table["tokens"].to_numpy())
    cosine_N = vectors_ND @ vectors_ND[film] / np.linalg.norm(vectors_ND, axis=1)
    equal_N = (tokens_NZ == tokens_NZ[film]).sum(1).astype(np.float64)
    return nearest(cosine_N, film), nearest(equal_N, film)


def sheet(folder: Path, rows: Sequence[tuple[str, list[str], list[str]]]) -> Image.Image:
    """Posters of films in two lines each, from paths below a folder."""
    width, height = WIDTH + GAP, HEIGHT + GAP
    page = Image.new(
        "RGB", ((NEAREST + 1) * width + 2 * GAP, len(rows) * (2 * height + GAP)), "white"
    )
    for row, (film, *lines) in enumerate(rows):
        top = row * (2 * height + GAP)
        page.paste(Image.open(folder / film), (0, top + height // 2))
        for line, paths in enumerate(lines):
            for column, path in enumerate(paths, start=1):
                place = (column * width + 2 * GAP, top + line * height)
                page.paste(Image.open(folder / path), place)
    return page


def main() -> int:
    """Parse the command line, print the neighbours, and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generation")
    parser.add_argument("data", type=Path, help="folder of items.parquet, posters and vectors")
    parser.add_argument("sheet", type=Path, help="the picture to write")
    parser.add_argument("titles", nargs="*", default=TITLES)
    call = parser.parse_args()
    table = load(call.generation, call.data)
    titles, paths = table["title"].to_list(), table["path"].to_list()
    if absent := [title for title in call.titles if title not in titles]:
        parser.error(
            f"no film is called {absent[0]!r}; titles end with the year, as in {titles[0]!r}"
        )
    rows = []
    for title in call.titles:
        film = titles.index(title)
        by_vector, by_tokens = neighbours(table, film)
        print(f"{title}, {len({*by_vector} & {*by_tokens})} of {NEAREST} neighbours in common")
        print("  by vector:", "; ".join(titles[other] for other in by_vector))
        print("  by tokens:", "; ".join(titles[other] for other in by_tokens))
        rows.append((paths[film], [paths[n] for n in by_vector], [paths[n] for n in by_tokens]))
    sheet(call.data, rows).save(call.sheet)
    print(f"{call.sheet}: posters of these films")
    return 0


if __name__ == "__main__":
    sys.exit(main())
