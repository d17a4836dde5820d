"""Show the films with the most similar pictures, by float vector and by tokens.

    python examples/posters/neighbours.py GENERATION DATA SHEET.png [TITLE ...]

Prints titles, and writes a contact sheet: per film its poster, the nearest by cosine above, those with the most equal tokens
below.

Shapes: N films, D dimensions of a vector, Z tokens of a picture.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from draw import HEIGHT, WIDTH
from PIL import Image

from heterrec_schemas import open_generation

TITLES = ["Toy Story (1995)", "Alien (1979)", "Casablanca (1942)", "Unforgiven (1992)"]
NEAREST = 6
"""Number of neighbours shown."""
QUERIES = 500
"""Number of films whose neighbours are counted."""
GAP = 8
"""Pixels between posters."""


@dataclass(frozen=True)
class Films:
    """The N films with a picture.

    Attributes:
        titles, paths, genres: of each film, its title, the path of its picture, its first genre.
        unit_ND: vectors of length 1.
        tokens_NZ: tokens of the pictures.
    """

    titles: list[str]
    paths: list[str]
    genres: list[str | None]
    unit_ND: npt.NDArray[np.float32]
    tokens_NZ: npt.NDArray[np.int32]

    def by_vector(self, film: int) -> list[int]:
        """Positions of the nearest films by cosine."""
        return nearest(self.unit_ND @ self.unit_ND[film], film)

    def by_tokens(self, film: int) -> list[int]:
        """Positions of the films with the most equal tokens."""
        return nearest((self.tokens_NZ == self.tokens_NZ[film]).sum(1), film)

    def same_genre(self, near: Callable[[int], list[int]]) -> float:
        """Share of neighbours with the first genre of the film, over films at equal distances in the catalogue."""
        films = range(0, len(self.titles), -(-len(self.titles) // QUERIES))
        pairs = [(film, other) for film in films for other in near(film)]
        return sum(self.genres[film] == self.genres[other] for film, other in pairs) / len(pairs)

    def same_genre_by_chance(self) -> float:
        """Share of pairs of films with the same first genre."""
        return sum((count / len(self.genres)) ** 2 for count in Counter(self.genres).values())


def load(generation: str, data: Path) -> Films:
    """The films of a generation and the vectors that its tokens are made of."""
    tokens = pl.DataFrame(open_generation(generation).items(["item_id", "picture"]))
    vectors = pl.read_parquet(data / "vectors" / "picture-*.parquet")
    films = pl.read_parquet(data / "items.parquet").rename({"picture": "path"})
    table = films.join(vectors, on="item_id").join(tokens, on="item_id", maintain_order="left")
    vectors_ND = table["picture_embedding"].to_numpy().astype(np.float32)
    return Films(
        table["title"].to_list(),
        table["path"].to_list(),
        table["genres"].list.first().to_list(),
        vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True),
        np.stack(table["picture"].to_numpy()).astype(np.int32),
    )


def nearest(similar_N: npt.NDArray[Any], film: int) -> list[int]:
    """Positions of the most similar films but the film itself; of equal ones the first."""
    order = np.argsort(-similar_N, kind="stable")[: NEAREST + 1]
    return [int(other) for other in order if other != film][:NEAREST]


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
    films = load(call.generation, call.data)
    titles, paths = films.titles, films.paths
    if absent := [title for title in call.titles if title not in titles]:
        parser.error(
            f"no film is called {absent[0]!r}; titles end with the year, as in {titles[0]!r}"
        )
    rows = []
    for title in call.titles:
        film = titles.index(title)
        near = films.by_vector(film), films.by_tokens(film)
        print(f"{title}, {len({*near[0]} & {*near[1]})} of {NEAREST} neighbours in common")
        for way, found in zip(("vector", "tokens"), near, strict=True):
            print(f"  by {way}:", "; ".join(titles[other] for other in found))
        rows.append((paths[film], *([paths[other] for other in found] for found in near)))
    print(
        f"Neighbours with the same first genre: {films.same_genre(films.by_vector):.1%} by vector, "
        f"{films.same_genre(films.by_tokens):.1%} by tokens, {films.same_genre_by_chance():.1%} by chance"
    )
    sheet(call.data, rows).save(call.sheet)
    print(f"{call.sheet}: posters of these films")
    return 0


if __name__ == "__main__":
    sys.exit(main())
