"""The demo's pictures, drawn here: covers of events, and members' initials.

Nothing here touches the database. Each picture has a generator of its own, so
the same seed draws the same one.
"""

import colorsys
import math
import random
import unicodedata
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps

from models.events import Tag

_COVER: Final = (960, 540)
_AVATAR_SIDE: Final = 256
# What is drawn larger and shrunk has smooth edges.
_SMOOTH: Final = 2

Motif = Callable[[ImageDraw.ImageDraw, random.Random, int, int], None]


def cover(rng: random.Random, tags: Iterable[Tag]) -> BytesIO:
    """A JPEG for an event with these tags: a motif on a slope of colour."""
    width, height = (side * _SMOOTH for side in _COVER)
    picture = _slope(rng, _COVER)
    mask = Image.new("L", (width, height))
    motifs = [_MOTIFS[tag] for tag in tags if tag in _MOTIFS]
    draw_motif = motifs[0] if motifs else _circles
    draw_motif(ImageDraw.Draw(mask), rng, width, height)
    picture.paste("white", mask=mask.resize(_COVER, Image.Resampling.BOX))
    return _file(picture, "JPEG", quality=85)


def avatar(rng: random.Random, first_name: str, last_name: str) -> BytesIO:
    """A PNG: initials on a colour, or a pattern where the font has none."""
    side = _AVATAR_SIDE * _SMOOTH
    picture = Image.new("RGB", (side, side), _colour(rng.random(), 0.55, 0.62))
    drawing = ImageDraw.Draw(picture)
    initials = _initial(first_name) + _initial(last_name)
    if len(initials) == 2:
        font = ImageFont.load_default(side * 0.42)
        middle = (side / 2, side / 2)
        drawing.text(middle, initials, "white", font, anchor="mm")
    else:
        _pattern(drawing, rng, side)
    shape = (_AVATAR_SIDE, _AVATAR_SIDE)
    return _file(picture.resize(shape, Image.Resampling.BOX), "PNG")


def _file(picture: Image.Image, kind: str, **options: int) -> BytesIO:
    file = BytesIO()
    picture.save(file, kind, **options)
    return file


def _initial(name: str) -> str:
    """The first letter without its accents; empty unless it is Latin."""
    letter = unicodedata.normalize("NFD", name.lstrip("'"))[0].upper()
    return letter if "A" <= letter <= "Z" else ""


def _colour(hue: float, saturation: float, value: float) -> str:
    parts = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def _slope(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """From one colour to a neighbour of it, in some direction."""
    hue = rng.random()
    grey = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270)))
    dark = _colour(hue, 0.75, 0.45)
    light = _colour(hue + rng.uniform(0.06, 0.16), 0.55, 0.9)
    return ImageOps.colorize(grey.resize(size), dark, light)


def _circles(
    draw: ImageDraw.ImageDraw, rng: random.Random, width: int, height: int
) -> None:
    """People at a table, or plates on it."""
    for _ in range(14):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        radius = height * rng.uniform(0.05, 0.24)
        draw.circle((x, y), radius, fill=rng.randint(25, 90))


def _rings(
    draw: ImageDraw.ImageDraw, rng: random.Random, width: int, height: int
) -> None:
    """A track, seen from its end."""
    middle = (width * rng.uniform(0.1, 0.9), height * rng.uniform(0.7, 1.2))
    for number in range(1, 13):
        draw.circle(
            middle,
            number * height / 9,
            outline=140 - 9 * number,
            width=height // 40,
        )


def _waves(
    draw: ImageDraw.ImageDraw, rng: random.Random, width: int, height: int
) -> None:
    """Strings that swing."""
    for number in range(9):
        swing, phase = rng.uniform(0.03, 0.14), rng.uniform(0, math.tau)
        length = width / rng.uniform(1, 3)
        points = [
            (
                x,
                height
                * (
                    (number + 1) / 10
                    + swing * math.sin(math.tau * x / length + phase)
                ),
            )
            for x in range(0, width + 1, 8)
        ]
        draw.line(points, 50 + 12 * number, height // 90, "curve")


def _letters(
    draw: ImageDraw.ImageDraw, rng: random.Random, width: int, height: int
) -> None:
    """Code that nobody can read any more."""
    for _ in range(26):
        draw.text(
            (rng.uniform(0, width), rng.uniform(0, height)),
            rng.choice(("{ }", "[ ]", "( )", "</>", "=>", "0", "1", "fn", "#")),
            rng.randint(35, 150),
            ImageFont.load_default(height * rng.uniform(0.08, 0.34)),
            anchor="mm",
        )


def _squares(
    draw: ImageDraw.ImageDraw, rng: random.Random, width: int, height: int
) -> None:
    """A skyline of windows in which the light is on."""
    side = height // 12
    for column in range(width // side + 1):
        for row in range(rng.randint(1, 9)):
            left, top = column * side, height - (row + 1) * side
            corners = (left, top, left + side - 8, top + side - 8)
            draw.rectangle(corners, fill=rng.choice((30, 50, 140)))


def _triangles(
    draw: ImageDraw.ImageDraw, rng: random.Random, width: int, height: int
) -> None:
    """Cut paper."""
    for _ in range(18):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        radius, turn = height * rng.uniform(0.08, 0.3), rng.uniform(0, 360)
        draw.regular_polygon((x, y, radius), 3, turn, fill=rng.randint(25, 110))


def _pattern(draw: ImageDraw.ImageDraw, rng: random.Random, side: int) -> None:
    """Squares, the left half like the right one."""
    cell = side // 7
    first = (side - 5 * cell) // 2
    for row in range(5):
        for column in range(3):
            if rng.random() < 0.5:
                continue
            for place in (column, 4 - column):
                left, top = first + place * cell, first + row * cell
                corners = (left, top, left + cell - 1, top + cell - 1)
                draw.rectangle(corners, "white")


_MOTIFS: Final[dict[Tag, Motif]] = {
    Tag.HACKATHON: _squares,
    Tag.SPORT: _rings,
    Tag.MUSIC: _waves,
    Tag.ART: _triangles,
    Tag.FOOD: _circles,
    Tag.WORKSHOP: _letters,
}
