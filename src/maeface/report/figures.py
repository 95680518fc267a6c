"""Pictures of faces: reconstructions by a masked autoencoder, and action units as bars beside a photo.

Every function returns an RGB Pillow image; ``png`` encodes one. The colours are those of ``charts``.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from maeface import facts
from maeface.report.charts import COLOURS
from maeface.report.lines import low_quality

WHITE, INK, GREY, PALE = (255, 255, 255), (26, 26, 26), (110, 110, 110), (232, 232, 232)
DIM, PALE_DIM = (140, 140, 140), (190, 190, 190)
"""Bars of faces of low quality: present and absent."""
DASH = 12
"""A dash and the gap after it, px."""
TILE = 112
"""Smaller crops are enlarged by a whole factor to about this side, px."""
GAP = 6


def png(image: Image.Image) -> bytes:
    """Return an image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def reconstructions(
    masked: NDArray[np.uint8],
    reconstructed: NDArray[np.uint8],
    original: NDArray[np.uint8],
    columns: int = 2,
) -> Image.Image:
    """Draw the masked, reconstructed and original face of each sample side by side (the paper's Fig. 1).

    Args:
        masked: (N, S, S, 3) uint8, removed patches in one plain colour.
        reconstructed: (N, S, S, 3) uint8.
        original: (N, S, S, 3) uint8.
        columns: samples side by side.
    """
    n, columns = len(original), min(columns, len(original))
    tiles = [_tiles(images) for images in (masked, reconstructed, original)]
    side = tiles[0][0].width
    triple, line, head = 3 * (side + GAP) + 2 * GAP, side + GAP, 22
    rows = -(-n // columns)
    sheet = Image.new("RGB", (columns * triple - GAP, head + rows * line), WHITE)
    draw = ImageDraw.Draw(sheet)
    for i in range(n):
        left, top = GAP + (i % columns) * triple, head + (i // columns) * line
        for k, title in enumerate(("masked", "reconstructed", "original")):
            x = left + k * (side + GAP)
            sheet.paste(tiles[k][i], (x, top))
            if i < columns:
                draw.text((x + side / 2, head - 6), title, INK, _font(12), anchor="ms")
    return sheet


def stage_grid(stages: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Draw the same faces at several stages: a row a face, a column a stage with its title above.

    Args:
        stages: the title of each stage and its N square tiles, all of one side.
    """
    side, count, head = stages[0][1][0].width, len(stages[0][1]), 22
    line = side + GAP
    sheet = Image.new("RGB", (GAP + len(stages) * line, head + count * line), WHITE)
    draw = ImageDraw.Draw(sheet)
    for k, (title, tiles) in enumerate(stages):
        x = GAP + k * line
        draw.text((x + side / 2, head - 6), _fit(title, side, 12), INK, _font(12), anchor="ms")
        for i, tile in enumerate(tiles):
            sheet.paste(tile, (x, head + i * line))
    return sheet


@dataclass(frozen=True)
class FaceBars:
    """A face of a photo and its action units.

    Attributes:
        box: x1, y1, x2, y2 in px of the photo.
        score: of the face detector, 0..1; NaN without a detector.
        probabilities: (A,) 0..1, or None.
        intensities: (A,) 0..5, or None.
        low_quality: whether the face is seen so badly that its values should not be used.
        doubt: why: "small face".
    """

    box: tuple[float, float, float, float]
    score: float = float("nan")
    probabilities: ArrayLike | None = None
    intensities: ArrayLike | None = None
    low_quality: bool = False
    doubt: str = ""


def au_bars(
    image: NDArray[np.uint8],
    aus: Sequence[int],
    faces: Sequence[FaceBars],
    threshold: float | Sequence[float] = 0.5,
    width: int = 960,
) -> Image.Image:
    """Draw a photo with a numbered box around each face, and bars of each face's action units.

    Faces are counted from 0, as in tables. The bars of up to two faces are beside the photo, those of more
    faces below it. AUs whose probability is at or above ``threshold`` are in full colour, others pale. A face
    of low quality has a dashed box, the reason over its bars, and grey bars.

    Args:
        image: RGB uint8 (H, W, 3).
        aus: (A,) numbers of the action units.
        faces: the faces, best first.
        threshold: probability from which an action unit counts as present; one for all or one each.
        width: largest width of the photo in the picture, px.
    """
    thresholds = [threshold] * len(aus) if isinstance(threshold, (int, float)) else list(threshold)
    panels = [_panel(k, face, aus, thresholds) for k, face in enumerate(faces)]
    beside = len(panels) <= 2
    photo = _photo(image, faces, width if not beside else width * 2 // 3)
    if not panels:
        return photo
    w, h = panels[0].size
    if beside:
        size = (photo.width + len(panels) * w, max(photo.height, h))
        places = [(photo.width + k * w, 0) for k in range(len(panels))]
    else:
        columns = min(len(panels), max(3, photo.width // w))
        size = (max(photo.width, columns * w), photo.height + -(-len(panels) // columns) * h)
        places = [((k % columns) * w, photo.height + (k // columns) * h) for k in range(len(panels))]
    picture = Image.new("RGB", size, WHITE)
    picture.paste(photo, (0 if beside else (size[0] - photo.width) // 2, 0))
    for panel, place in zip(panels, places, strict=True):
        picture.paste(panel, place)
    return picture


def _photo(image: NDArray[np.uint8], faces: Sequence[FaceBars], width: int) -> Image.Image:
    """Return the photo with numbered boxes, at most ``width`` wide and at most twice its size."""
    photo = Image.fromarray(image)
    scale = min(width / photo.width, 900 / photo.height, 2.0)
    photo = photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
    draw = ImageDraw.Draw(photo)
    for k, face in enumerate(faces):
        colour = COLOURS[k % len(COLOURS)]
        x1, y1, x2, y2 = (float(v) * scale for v in face.box)
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=WHITE, width=4)
        if face.low_quality:
            _dash(draw, (x1, y1, x2, y2), colour)
        else:
            draw.rectangle((x1, y1, x2, y2), outline=colour, width=2)
        label = str(k)
        wide = _font(13).getlength(label) + 8
        draw.rectangle((x1, y1, x1 + wide, y1 + 17), fill=colour)
        draw.text((x1 + wide / 2, y1 + 9), label, WHITE, _font(13), anchor="mm")
    return photo


def _dash(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], colour: str) -> None:
    """Draw a dashed rectangle, of at least two dashes a side."""
    x1, y1, x2, y2 = box
    for (xa, ya), (xb, yb) in (
        ((x1, y1), (x2, y1)),
        ((x1, y2), (x2, y2)),
        ((x1, y1), (x1, y2)),
        ((x2, y1), (x2, y2)),
    ):
        dashes = max(2, round((xb - xa + yb - ya) / DASH))
        for at in range(dashes):
            start, stop = at / dashes, (at + 0.5) / dashes
            ends = (
                xa + start * (xb - xa),
                ya + start * (yb - ya),
                xa + stop * (xb - xa),
                ya + stop * (yb - ya),
            )
            draw.line(ends, colour, 2)


def _panel(k: int, face: FaceBars, aus: Sequence[int], thresholds: Sequence[float]) -> Image.Image:
    """Draw the bars of face ``k``: a line an action unit, probability then intensity."""
    bars = [
        (title, np.asarray(values, dtype=float), top)
        for title, values, top in (
            ("probability", face.probabilities, 1.0),
            ("intensity 0-5", face.intensities, facts.INTENSITY_MAX),
        )
        if values is not None
    ]
    probabilities = None if face.probabilities is None else np.asarray(face.probabilities, dtype=float)
    name, bar, line, head = 176, 124, 18, 46
    panel = Image.new("RGB", (GAP * 2 + name + bar * len(bars), head + line * len(aus) + GAP), WHITE)
    draw = ImageDraw.Draw(panel)
    colour = COLOURS[k % len(COLOURS)]
    full_colour, pale = (DIM, PALE_DIM) if face.low_quality else (colour, _pale(colour))
    draw.rectangle((GAP, 6, GAP + 20, 24), fill=colour)
    draw.text((GAP + 10, 15), str(k), WHITE, _font(13), anchor="mm")
    about = [] if np.isnan(face.score) else [f"detector score {face.score:.2f}"]
    about += [low_quality(face.doubt)] if face.low_quality else []
    text = _fit(", ".join(about), panel.width - GAP - 28, 12)
    draw.text((GAP + 28, 15), text, INK if face.low_quality else GREY, _font(12), anchor="lm")
    for b, (title, values, top) in enumerate(bars):
        left = GAP + name + b * bar
        draw.text((left, 36), title, GREY, _font(11), anchor="lm")
        for i, value in enumerate(values):
            y = head + i * line
            full = bar - 44
            draw.rectangle((left, y + 3, left + full, y + line - 4), fill=PALE)
            if not np.isnan(value):
                present = probabilities is None or probabilities[i] >= thresholds[i]
                reach = left + full * min(max(value / top, 0.0), 1.0)
                draw.rectangle((left, y + 3, reach, y + line - 4), fill=full_colour if present else pale)
            text = "-" if np.isnan(value) else f"{value:.2f}"
            draw.text((left + full + 5, y + line / 2), text, INK, _font(11), anchor="lm")
    for i, number in enumerate(aus):
        text = _fit(facts.au_title(number), name - 6, 12)
        draw.text((GAP, head + i * line + line / 2), text, INK, _font(12), anchor="lm")
    return panel


def _pale(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return (128 + red // 2, 128 + green // 2, 128 + blue // 2)


def _tiles(images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> list[Image.Image]:
    """Return crops as Pillow images, small ones enlarged by a whole factor, so that pixels stay square."""
    tiles = [Image.fromarray(np.ascontiguousarray(image)) for image in images]
    side = tiles[0].width * max(1, round(TILE / tiles[0].width))
    return [tile.resize((side, side), Image.Resampling.NEAREST) for tile in tiles]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fit(text: str, width: float, size: int) -> str:
    """Return ``text``; if it is wider than ``width`` px, an ellipsis replaces its middle."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    keep = len(text)
    while keep > 2 and font.getlength(text[: keep // 2] + "…" + text[len(text) - keep // 2 :]) > width:
        keep -= 1
    return text[: keep // 2] + "…" + text[len(text) - keep // 2 :]
