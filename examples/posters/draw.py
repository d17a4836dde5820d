"""Draws a film poster from what MovieLens knows of a film: the genres choose colours and motif, the year the style.

A poster holds the title, the genres and the decade, and nothing else.
"""

import random
import unicodedata
from collections.abc import Sequence
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 160, 240
"""Pixels of a poster."""
COLOURS = {
    "Action": ("#b3261e", "#ffb300"),
    "Adventure": ("#1b5e20", "#ffd54f"),
    "Animation": ("#29b6f6", "#ffee58"),
    "Children": ("#f48fb1", "#fff59d"),
    "Comedy": ("#fdd835", "#e53935"),
    "Crime": ("#212121", "#c62828"),
    "Documentary": ("#cfd8dc", "#37474f"),
    "Drama": ("#4e342e", "#d7ccc8"),
    "Fantasy": ("#4527a0", "#80deea"),
    "Film-Noir": ("#0d0d0d", "#e0e0e0"),
    "Horror": ("#1a0000", "#d50000"),
    "IMAX": ("#01579b", "#b3e5fc"),
    "Musical": ("#ad1457", "#ffecb3"),
    "Mystery": ("#1a237e", "#b39ddb"),
    "Romance": ("#f8bbd0", "#c2185b"),
    "Sci-Fi": ("#001f3f", "#00e5ff"),
    "Thriller": ("#263238", "#ff6f00"),
    "War": ("#556b2f", "#d7d1a1"),
    "Western": ("#a1662f", "#ffe0b2"),
}
"""Ground and figure, by genre."""
NO_GENRE = ("#9e9e9e", "#424242")
SKETCHES: dict[str, list[tuple[str, tuple[float, ...]]]] = {
    "Action": [
        ("polygon", (0.55, 0, 0.15, 0.55, 0.45, 0.55, 0.3, 1, 0.85, 0.4, 0.55, 0.4, 0.8, 0)),
    ],
    "Adventure": [("polygon", (0, 1, 0.4, 0.2, 0.6, 0.55, 0.75, 0.35, 1, 1))],
    "Animation": [("disc", (0.5, 0.6, 0.38)), ("disc", (0.2, 0.2, 0.2)), ("disc", (0.8, 0.2, 0.2))],
    "Children": [
        ("disc", (0.35, 0.35, 0.25)), ("disc", (0.68, 0.3, 0.2)), ("box", (0.48, 0.5, 0.52, 1)),
    ],
    "Comedy": [
        ("ring", (0.5, 0.5, 0.45)), ("disc", (0.33, 0.38, 0.07)), ("disc", (0.67, 0.38, 0.07)),
        ("smile", (0.5, 0.5, 0.28)),
    ],
    "Crime": [
        ("box", (0.1, 0.35, 0.85, 0.5)), ("polygon", (0.15, 0.5, 0.4, 0.5, 0.32, 0.9, 0.12, 0.9)),
    ],
    "Documentary": [("ring", (0.5, 0.5, 0.45)), ("disc", (0.5, 0.5, 0.2))],
    "Drama": [("disc", (0.5, 0.28, 0.2)), ("polygon", (0.15, 1, 0.35, 0.5, 0.65, 0.5, 0.85, 1))],
    "Fantasy": [
        ("polygon", (0.1, 1, 0.1, 0.4, 0.25, 0.1, 0.4, 0.4, 0.4, 0.6, 0.6, 0.6, 0.6, 0.4, 0.75, 0.1, 0.9, 0.4, 0.9, 1)),
    ],
    "Film-Noir": [("box", (0, y / 10, 1, y / 10 + 0.05)) for y in range(0, 10, 2)],
    "Horror": [("polygon", (0, 0, 1, 0, 0.85, 0.9, 0.7, 0.2, 0.5, 1, 0.35, 0.25, 0.15, 0.8))],
    "IMAX": [("ring", (0.5, 0.5, 0.48)), ("box", (0.1, 0.3, 0.9, 0.7))],
    "Musical": [
        ("disc", (0.3, 0.8, 0.18)), ("box", (0.42, 0.1, 0.48, 0.8)),
        ("polygon", (0.48, 0.1, 0.85, 0.3, 0.48, 0.35)),
    ],
    "Mystery": [
        ("ring", (0.42, 0.42, 0.35)), ("polygon", (0.62, 0.7, 0.7, 0.62, 1, 0.92, 0.92, 1)),
    ],
    "Romance": [
        ("disc", (0.3, 0.35, 0.26)), ("disc", (0.7, 0.35, 0.26)),
        ("polygon", (0.07, 0.48, 0.93, 0.48, 0.5, 1)),
    ],
    "Sci-Fi": [("disc", (0.5, 0.5, 0.32)), ("smile", (0.5, 0.4, 0.5)), ("disc", (0.9, 0.1, 0.05))],
    "Thriller": [
        ("polygon", (0.5, 0, 0.62, 0.75, 0.38, 0.75)), ("box", (0.25, 0.75, 0.75, 0.82)),
        ("box", (0.45, 0.82, 0.55, 1)),
    ],
    "War": [
        ("box", (0.2, 0.4, 0.8, 0.6)), ("box", (0.55, 0.45, 1, 0.5)),
        ("box", (0.05, 0.6, 0.9, 0.85)),
    ],
    "Western": [
        ("box", (0.42, 0.05, 0.58, 1)), ("box", (0.1, 0.35, 0.2, 0.7)),
        ("box", (0.1, 0.6, 0.9, 0.7)), ("box", (0.8, 0.25, 0.9, 0.7)),
    ],
}  # fmt: skip
"""The motif of a genre: shapes in a square of side 1."""
SMALL = 34
"""Pixels of the motifs of further genres."""


def poster(item_id: str, title: str, genres: Sequence[str], year: int | None) -> Image.Image:
    """Draw a poster; the same film always has the same pixels, with one version of Pillow.

    Args:
        item_id: places what is placed by chance.
        title: written at the top, at most four lines.
        genres: the first one has the large motif and the ground colour; unknown ones are left out.
        year: chooses the style of its decades; None: a plain ground.
    """
    known = [genre for genre in genres if genre in COLOURS]
    ground, figure = COLOURS[known[0]] if known else NO_GENRE
    image = Image.new("RGB", (WIDTH, HEIGHT), ground)
    draw = ImageDraw.Draw(image)
    chance = random.Random(item_id)
    _style(draw, year, figure, chance)
    if known:
        side = 100 + chance.randrange(20)
        _sketch(draw, known[0], 30 + chance.randrange(-15, 15), 95, side, figure)
    for place, genre in enumerate(known[1:5]):
        left = 6 + place * (SMALL + 4)
        draw.rectangle((left, 202, left + SMALL, 202 + SMALL), fill=COLOURS[genre][0])
        _sketch(draw, genre, left + 3, 205, SMALL - 6, COLOURS[genre][1])
    _write(draw, title, figure, ground)
    return image if year is None or year >= 1950 else image.convert("L").convert("RGB")


def _style(draw: ImageDraw.ImageDraw, year: int | None, figure: str, chance: random.Random) -> None:
    """The ground: frames until 1969, stripes until 1984, dots until 1999, rays since then."""
    if year is None:
        return
    if year < 1970:
        for inset in (2, 5):
            draw.rectangle((inset, inset, WIDTH - 1 - inset, HEIGHT - 1 - inset), outline=figure)
    elif year < 1985:
        for top in range(chance.randrange(12), HEIGHT, 24):
            draw.line((0, top, WIDTH, top + 40), fill=figure, width=2)
    elif year < 2000:
        for _ in range(60):
            x, y = chance.randrange(WIDTH), chance.randrange(HEIGHT)
            draw.ellipse((x, y, x + 3, y + 3), fill=figure)
    else:
        centre = (WIDTH // 2 + chance.randrange(-30, 30), 150)
        for x in range(-WIDTH, 2 * WIDTH, 40):
            draw.line((*centre, x, 0), fill=figure, width=1)


def _sketch(
    draw: ImageDraw.ImageDraw, genre: str, left: int, top: int, side: int, colour: str
) -> None:
    """The motif of a genre in a square of pixels."""
    for shape, numbers in SKETCHES[genre]:
        if shape in ("box", "polygon"):
            points = [
                (left + side * x, top + side * y)
                for x, y in zip(numbers[::2], numbers[1::2], strict=True)
            ]
            (draw.rectangle if shape == "box" else draw.polygon)(points, fill=colour)
            continue
        x, y, radius = (side * number for number in numbers)
        round_ = (left + x - radius, top + y - radius, left + x + radius, top + y + radius)
        width = max(2, side // 14)
        if shape == "disc":
            draw.ellipse(round_, fill=colour)
        elif shape == "ring":
            draw.ellipse(round_, outline=colour, width=width)
        else:
            draw.arc(round_, 20, 160, fill=colour, width=width)


def _write(draw: ImageDraw.ImageDraw, title: str, colour: str, ground: str) -> None:
    """The title on the ground colour: large if it is short; without accents, which the font lacks."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    size, letters = (24, 11) if len(plain) <= 22 else (17, 16)
    font = ImageFont.load_default(size)
    for row, line in enumerate(wrap(plain, letters)[:4]):
        place = (WIDTH // 2, 10 + row * (size + 2))
        draw.rectangle(draw.textbbox(place, line, font, "ma"), fill=ground)
        draw.text(place, line, colour, font, "ma")
