"""Painted, defocused backgrounds of pictures."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from maeface_studio.cast.random_draws import bernoulli, keyed_generator, uniform
from maeface_studio.cast.views import Backdrop, BackdropKind
from maeface_studio.head.mesh import Floats

SIDE = 168
"""Side of the painting in px; it is enlarged to the size of the picture."""

_LINEAR = ((np.arange(256) / 255) ** 2.2).astype(np.float32)

Tone = tuple[int, int, int]


def paint(backdrop: Backdrop, side: int) -> Floats:
    """Paint the background of a picture.

    Args:
        backdrop: kind, blur, brightness and seed, which determine the background.
        side: of the picture in px.

    Returns:
        (side, side, 3) linear RGB on 0..1.
    """
    rng = keyed_generator(backdrop.seed, 7)
    image = _PAINTERS[backdrop.kind](rng)
    if backdrop.blur:
        image = image.filter(ImageFilter.GaussianBlur(backdrop.blur * SIDE))
    light = _LINEAR[np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))]
    light *= _falloff(rng, side)[..., None]
    return np.asarray(np.minimum(light * (backdrop.light / max(float(light.mean()), 0.01)), 1.0), np.float32)


def _falloff(rng: np.random.Generator, side: int) -> Floats:
    """Return the brightness of uneven light on the scene, (side, side)."""
    across, down = rng.uniform(-0.7, 0.7, 2)
    along = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    return np.asarray(1 + np.float32(across) * along + np.float32(down) * along[:, None], np.float32)


def _tone(rng: np.random.Generator, low: float = 40, high: float = 220, spread: float = 0.14) -> Tone:
    """Draw a muted sRGB colour."""
    colour = uniform(rng, low, high) * np.exp(rng.normal(0, spread, 3))
    red, green, blue = (int(c) for c in np.clip(colour, 0, 255))
    return red, green, blue


def _clouds(rng: np.random.Generator, cells: int, octaves: int = 3) -> Floats:
    """Draw smooth noise of several scales, mean 0 and deviation about 1, (SIDE, SIDE)."""
    total = np.zeros((SIDE, SIDE), np.float32)
    for octave in range(octaves):
        count = cells * 2**octave
        small = Image.fromarray(rng.standard_normal((count, count)).astype(np.float32))
        total += np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) * 0.6**octave
    return total


def _blend(one: Tone, other: Tone, weight: Floats) -> Image.Image:
    """Blend two colours; weight 1 is all ``other``."""
    weight = np.clip(weight, 0, 1)[..., None]
    colour = np.array(other, np.float32) * weight + np.array(one, np.float32) * (1 - weight)
    return Image.fromarray(colour.astype(np.uint8))


def _ramp(rng: np.random.Generator) -> Floats:
    """Return values from 0 to 1 across the picture, in a random direction; (SIDE, SIDE)."""
    turn = uniform(rng, 0, 2 * math.pi)
    along = np.linspace(-0.7, 0.7, SIDE, dtype=np.float32)
    return np.asarray(0.5 + along * math.cos(turn) + along[:, None] * math.sin(turn), np.float32)


def _plain(rng: np.random.Generator) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), _tone(rng))


def _gradient(rng: np.random.Generator) -> Image.Image:
    return _blend(_tone(rng), _tone(rng), _ramp(rng) + 0.06 * _clouds(rng, 3))


def _portrait(rng: np.random.Generator) -> Image.Image:
    """Paint a mottled cloth, brighter around the head."""
    base = _tone(rng, 60, 170, 0.12) if bernoulli(rng, 0.5) else (70, 92, int(uniform(rng, 110, 170)))
    x = np.linspace(-1, 1, SIDE, dtype=np.float32)
    glow = np.exp(-((x - uniform(rng, -0.3, 0.3)) ** 2 + (x[:, None] - uniform(rng, -0.3, 0.3)) ** 2) * 0.9)
    shade = 0.45 + 0.75 * glow + 0.08 * _clouds(rng, 4, 4)
    return _blend((0, 0, 0), base, np.asarray(shade / 1.3, np.float32))


def _room(rng: np.random.Generator) -> Image.Image:
    """Paint walls that meet in a corner, a floor or ceiling, doors, windows and pictures."""
    wall = _tone(rng, 90, 220, 0.12)
    image = Image.new("RGB", (SIDE, SIDE), wall)
    draw = ImageDraw.Draw(image)
    corner, slope = uniform(rng, -0.2, 1.0) * SIDE, uniform(rng, -0.35, 0.35)
    shaded: Tone = tuple(int(c * uniform(rng, 0.6, 0.9)) for c in wall)  # type: ignore[assignment]
    draw.rectangle((corner, 0, SIDE, SIDE), fill=shaded)
    top = uniform(rng, -0.3, 0.2) * SIDE
    draw.polygon(
        [(0, 0), (SIDE, 0), (SIDE, top + slope * (SIDE - corner)), (corner, top), (0, top - slope * corner)],
        fill=_tone(rng, 150, 240, 0.05),
    )
    for _ in range(int(rng.integers(1, 5))):
        _panel(rng, draw, slope)
    return image


def _panel(rng: np.random.Generator, draw: ImageDraw.ImageDraw, slope: float) -> None:
    """Draw a door, a window or a picture: a frame around an area, in the perspective of the wall."""
    x, y = uniform(rng, -0.2, 0.9) * SIDE, uniform(rng, -0.2, 0.7) * SIDE
    width, height = uniform(rng, 0.12, 0.5) * SIDE, uniform(rng, 0.15, 0.8) * SIDE
    bright = bernoulli(rng, 0.4)
    for inset, tone in ((0.0, _tone(rng, 30, 240, 0.1)), (0.08, _tone(rng, 200 if bright else 30, 250))):
        w, left, up = width * (1 - 2 * inset), x + width * inset, y + height * inset
        tall, drop = height * (1 - 2 * inset), slope * w
        draw.polygon([(left, up), (left + w, up + drop), (left + w, up + tall), (left, up + tall)], fill=tone)
    if bright:  # the bars of a window
        draw.line([(x + width / 2, y), (x + width / 2, y + height)], fill=_tone(rng, 60, 240, 0.05), width=3)


def _shelves(rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), _tone(rng, 30, 140, 0.15))
    draw = ImageDraw.Draw(image)
    gap, y = uniform(rng, 0.16, 0.4) * SIDE, uniform(rng, -0.2, 0) * SIDE
    board = _tone(rng, 60, 180, 0.15)
    while y < SIDE:
        x = uniform(rng, -10, 4)
        while x < SIDE:
            width, height = uniform(rng, 3, 11), gap * uniform(rng, 0.5, 0.92)
            if bernoulli(rng, 0.85):
                draw.rectangle((x, y + gap - height, x + width, y + gap), fill=_tone(rng, 30, 200, 0.25))
            x += width + 1
        draw.rectangle((0, y + gap, SIDE, y + gap + 4), fill=board)
        y += gap + 4
    return image


def _outdoors(rng: np.random.Generator) -> Image.Image:
    """Paint sky over foliage or a street."""
    y = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None]
    edge = uniform(rng, -0.2, 0.8) + 0.05 * _clouds(rng, 4)
    green: Tone = (int(uniform(rng, 40, 110)), int(uniform(rng, 70, 130)), int(uniform(rng, 25, 70)))
    ground = green if bernoulli(rng, 0.7) else _tone(rng, 70, 160, 0.08)
    dark: Tone = (ground[0] // 4, ground[1] // 4, ground[2] // 4)
    leaves = np.asarray(_blend(dark, ground, 0.55 + 0.28 * _clouds(rng, 10, 4)))
    pale: Tone = (225, 232, 240)
    sky = np.asarray(_blend((120, 165, int(uniform(rng, 200, 250))), pale, 0.8 * y + 0.25 * _clouds(rng, 3)))
    return Image.fromarray(np.where((y > edge)[..., None], leaves, sky))


def _bokeh(rng: np.random.Generator) -> Image.Image:
    """Paint lights that are out of focus."""
    image = _blend(_tone(rng, 8, 50), _tone(rng, 15, 90), _ramp(rng))
    draw = ImageDraw.Draw(image, "RGBA")
    radius = uniform(rng, 4, 16)
    for _ in range(int(rng.integers(8, 40))):
        x, y = rng.uniform(0, SIDE, 2)
        r = radius * uniform(rng, 0.7, 1.3)
        draw.ellipse(
            (x - r, y - r, x + r, y + r), fill=(*_tone(rng, 150, 240, 0.3), int(rng.integers(40, 170)))
        )
    return image.filter(ImageFilter.GaussianBlur(1.2))


def _curtain(rng: np.random.Generator) -> Image.Image:
    """Paint folds of cloth in one colour or in stripes."""
    x = np.linspace(0, 1, SIDE, dtype=np.float32)
    phase = x * uniform(rng, 4, 14) + 0.15 * _clouds(rng, 3, 2)
    folds = 0.65 + 0.3 * np.sin(2 * math.pi * phase)
    colours = np.array([_tone(rng, 60, 210, 0.3) for _ in range(3)], np.float32)
    bands = np.zeros(SIDE, np.int64) if bernoulli(rng, 0.6) else (x * uniform(rng, 2, 9)).astype(np.int64) % 3
    cloth = colours[bands]
    cloth = cloth[:, None] if bernoulli(rng, 0.5) else cloth[None]
    return Image.fromarray(np.clip(cloth * folds[..., None], 0, 255).astype(np.uint8))


def _noise(rng: np.random.Generator) -> Image.Image:
    """Paint blotches of several colours."""
    one = np.asarray(_blend(_tone(rng), _tone(rng), 0.5 + 0.4 * _clouds(rng, int(rng.integers(3, 30)))))
    other = np.asarray(_blend(_tone(rng), _tone(rng), 0.5 + 0.4 * _clouds(rng, int(rng.integers(3, 12)))))
    return Image.fromarray(np.where((_clouds(rng, 4) > uniform(rng, -1, 1))[..., None], one, other))


_PAINTERS: dict[BackdropKind, Callable[[np.random.Generator], Image.Image]] = {
    BackdropKind.PLAIN: _plain,
    BackdropKind.GRADIENT: _gradient,
    BackdropKind.PORTRAIT: _portrait,
    BackdropKind.ROOM: _room,
    BackdropKind.SHELVES: _shelves,
    BackdropKind.OUTDOORS: _outdoors,
    BackdropKind.BOKEH: _bokeh,
    BackdropKind.CURTAIN: _curtain,
    BackdropKind.NOISE: _noise,
}
