"""Canvases: varied backgrounds with faces of every size on them. Canvas i is a function of (seed, i)."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from maeface_studio.detector.cutouts import Material, Placed, paste

LEAST_FACE = 11.0  # px, of the longer side of a face's box
MOST_FACE = 400.0
_CROWD = 60.0  # px; larger faces come at most three to a canvas
_VISIBLE = 0.62  # a face of which less can be seen is left to the teacher


@dataclass(frozen=True)
class Canvas:
    """A composed picture.

    Attributes:
        pixels: (S, S, 3) uint8 RGB.
        faces: those that can be seen.
        hidden: those mostly covered, or cut off by the border.
        known: False where there may be other faces than those.
    """

    pixels: NDArray[np.uint8]
    faces: tuple[Placed, ...]
    hidden: tuple[Placed, ...]
    known: bool


def compose(material: Material, size: int, seed: int, index: int) -> Canvas:
    """Canvas number ``index``, a square of ``size`` px."""
    random = np.random.default_rng([seed, size, index])
    known = not material.scenes or random.random() > 0.12
    canvas = _background(material, size, random) if known else _scene(material.scenes, size, random)
    for _ in range(int(random.integers(0, 7))):
        _clutter(canvas, material, random)
    owner = Image.new("L", (size, size), 0)
    placed = []
    for number, side in enumerate(_sides(size, random) if known or random.random() < 0.3 else (), start=1):
        placed.append(paste(canvas, owner, number, material.draw(random), side, random))
        if random.random() < 0.12:
            _occlude(canvas, owner, placed[-1], random)
    if random.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(float(random.uniform(0.3, 1.2))))
    seen = [_visible(np.asarray(owner), one, number) for number, one in enumerate(placed, start=1)]
    return Canvas(
        np.array(canvas),
        tuple(one for one, share in zip(placed, seen, strict=True) if share >= _VISIBLE),
        tuple(one for one, share in zip(placed, seen, strict=True) if share < _VISIBLE),
        known,
    )


def _sides(size: int, random: Generator) -> list[float]:
    """The sizes of the faces of one canvas; the largest first, so that small ones are not buried."""
    way = random.random()
    if way < 0.08:
        return []
    if way < 0.5:  # a crowd of one scale
        middle = float(np.exp(random.uniform(np.log(LEAST_FACE + 3), np.log(_CROWD))))
        count = int(random.integers(3, 3 + max(2, min(14, int((size / middle) ** 2 / 3)))))
        sides = middle * np.exp(random.normal(0, 0.25, count))
    else:
        most = min(1.3 * size, MOST_FACE)
        sides = np.exp(random.uniform(np.log(LEAST_FACE), np.log(most), int(random.integers(1, 4))))
    return sorted(np.clip(sides, LEAST_FACE, MOST_FACE).tolist(), reverse=True)


def _visible(owner: NDArray[np.uint8], one: Placed, number: int) -> float:
    """Which part of the middle of a face's box belongs to it on the canvas."""
    middle, half = (one.box[:2] + one.box[2:]) / 2, (one.box[2:] - one.box[:2]) / 2 * 0.8
    (x1, y1), (x2, y2) = np.round(middle - half).astype(int), np.round(middle + half).astype(int)
    inside = owner[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    return float((inside == number).sum()) / max(float((x2 - x1) * (y2 - y1)), 1.0)


def _colour(random: Generator) -> tuple[int, int, int]:
    if random.random() < 0.25:  # of skin, which must not be enough for a face
        tone = random.uniform(0.25, 1.0)
        return int(235 * tone), int(190 * tone**1.2), int(165 * tone**1.4)
    red, green, blue = random.integers(0, 256, 3).tolist()
    return red, green, blue


def _background(material: Material, size: int, random: Generator) -> Image.Image:
    way = random.random()
    if way < 0.7 and material.plain:
        return _scene(material.plain, size, random)
    base = np.empty((size, size, 3), np.float32)
    base[:] = _colour(random)
    for scale in (2, 3, 5, 9, 17, 40, 100, size):
        if random.random() < 0.5:
            grid = random.normal(0, random.uniform(3, 45), (scale, scale, 3)).astype(np.float32)
            if random.random() < 0.5:
                grid[:] = grid[..., :1]
            base += _enlarged(grid, size)
    return Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))


def _enlarged(grid: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    if len(grid) == size:
        return grid
    levels = Image.fromarray(np.clip(grid / 2 + 128, 0, 255).astype(np.uint8))
    return (np.asarray(levels.resize((size, size), Image.Resampling.BICUBIC), np.float32) - 128) * 2


def _scene(images: tuple[Image.Image, ...], size: int, random: Generator) -> Image.Image:
    """A window of an image, from a third to all of it, stretched a little."""
    picture = images[int(random.integers(len(images)))]
    width, height = picture.size
    side = min(width, height) * random.uniform(0.35, 1.0)
    across, down = side, min(height, side * random.uniform(0.8, 1.25))
    x, y = random.uniform(0, width - across), random.uniform(0, height - down)
    part = picture.resize((size, size), Image.Resampling.BILINEAR, (x, y, x + across, y + down))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part


def _clutter(canvas: Image.Image, material: Material, random: Generator) -> None:
    """One thing that is no face: a rectangle, an ellipse, lines, writing, or a patch of a photograph."""
    size = canvas.width
    draw = ImageDraw.Draw(canvas)
    x, y = random.uniform(-0.1 * size, size, 2).tolist()
    w, h = (size * np.exp(random.uniform(np.log(0.03), np.log(0.6), 2))).tolist()
    way = random.random()
    if way < 0.2:
        draw.rectangle((x, y, x + w, y + h), fill=_colour(random), outline=_colour(random))
    elif way < 0.4:
        draw.ellipse((x, y, x + w, y + h), fill=_colour(random))
    elif way < 0.55:
        step = max(2.0, w / random.integers(2, 12))
        for i in range(int(w / step)):
            draw.line(
                (x + i * step, y, x + i * step, y + h), fill=_colour(random), width=int(random.integers(1, 4))
            )
    elif way < 0.65:
        letters = "".join(chr(c) for c in random.integers(33, 127, int(random.integers(2, 20))))
        draw.text((x, y), letters, fill=_colour(random))
    elif material.plain:
        picture = material.plain[int(random.integers(len(material.plain)))]
        part = picture.resize((max(4, int(w)), max(4, int(h))), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            part = part.rotate(float(random.uniform(0, 360)))
        mask = Image.new("L", part.size, 0)
        shape = ImageDraw.Draw(mask)
        (shape.ellipse if random.random() < 0.5 else shape.rectangle)(
            (1, 1, part.width - 2, part.height - 2), 255
        )
        canvas.paste(part, (int(x), int(y)), mask.filter(ImageFilter.GaussianBlur(1)))


def _occlude(canvas: Image.Image, owner: Image.Image, one: Placed, random: Generator) -> None:
    """Hide a part of a face behind a hand, a cup, a shoulder: a blob at its edge."""
    middle, extent = (one.box[:2] + one.box[2:]) / 2, one.box[2:] - one.box[:2]
    angle = random.uniform(0, 2 * np.pi)
    spot = middle + extent * 0.6 * np.array([np.cos(angle), np.sin(angle)])
    half = extent * random.uniform(0.12, 0.42, 2)
    place = (*(spot - half).tolist(), *(spot + half).tolist())
    colour = _colour(random)
    for picture, fill in ((canvas, colour), (owner, 0)):
        draw = ImageDraw.Draw(picture)
        (draw.ellipse if angle % 1 < 0.5 else draw.rectangle)(place, fill=fill)
