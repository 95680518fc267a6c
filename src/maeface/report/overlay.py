"""What is drawn over a frame of a film: boxes, people's numbers, the five points, bars of AUs, the time.

Everything is drawn with NumPy; texts are rendered once by Pillow, with the font that is part of it. Sizes
follow the shorter side of the picture, so that texts can be read at 360 and at 1080 lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from maeface.report.au_bars import Bar
from maeface.report.lines import low_quality, person_title
from maeface.report.panel_place import Place, Placer

Colour = tuple[int, int, int]
TRACK_COLOURS: tuple[Colour, ...] = (
    (79, 195, 247),
    (255, 179, 0),
    (102, 221, 102),
    (255, 110, 160),
    (179, 136, 255),
    (255, 241, 118),
    (255, 112, 67),
    (38, 198, 176),
    (198, 160, 122),
    (235, 235, 235),
    (61, 107, 255),
    (183, 224, 40),
    (224, 64, 251),
    (211, 47, 47),
)
"""RGB colours of the tracks 0, 1, ...; they repeat after the last one."""
_WHITE, _GREY, _BLACK, _RED = (255, 255, 255), (185, 185, 185), (0, 0, 0), (200, 30, 30)
_SHADE = 0.62  # opacity of what is behind text
_DIMMED = 0.4  # brightness of a picture that stands for one that is missing


@dataclass(frozen=True)
class FaceMark:
    """A face to draw.

    Attributes:
        box: (4,) x1 y1 x2 y2 in px.
        track: number of the person; None without one.
        points: (5, 2) px; None if they are not known.
        bars: of its action units, from top to bottom.
        doubtful: whether the values are not to be trusted, because the face is seen badly.
        doubt: why: "small face".
    """

    box: ArrayLike
    track: int | None = None
    points: ArrayLike | None = None
    bars: Sequence[Bar] = field(default=())
    doubtful: bool = False
    doubt: str = ""


def track_colour(track: int | None) -> Colour:
    """Return the RGB colour of a track; white without one."""
    return _WHITE if track is None or track < 0 else TRACK_COLOURS[track % len(TRACK_COLOURS)]


class Overlay:
    """Draws over the frames of one film, in their order.

    The bars of a person stay on one side of the face, and do not shake with the box, as long as there is
    room for them. Of a face without room, only the action units that are present are named under the box.
    """

    def __init__(self) -> None:
        self._placer = Placer()

    def draw(
        self, rgb: NDArray[np.uint8], faces: Sequence[FaceMark], caption: str = "", warning: str = ""
    ) -> NDArray[np.uint8]:
        """Return a copy of a frame with its faces drawn over it.

        Args:
            rgb: (H, W, 3) uint8.
            faces: of the frame.
            caption: text in the lower left corner, such as the time.
            warning: why the picture is not the one of this time; the picture is dimmed then.
        """
        picture = _Picture((rgb * _DIMMED).astype(np.uint8) if warning else rgb.copy())
        faces = sorted(faces, key=lambda face: (face.track is None, face.track))
        boxes = [_rounded(face.box) for face in faces]
        for face, box in zip(faces, boxes, strict=True):
            picture.face(face, box)
        reserved = []
        if caption:
            reserved.append(picture.chip(caption, 0, picture.height, _BLACK))
        if warning:
            picture.chip(warning, 0, 0, _RED)
        sizes = [picture.panel_size(face.bars) if face.bars else (0, 0) for face in faces]
        places = self._placer.place(
            [face.track for face in faces], boxes, sizes, (picture.width, picture.height), reserved
        )
        for face, box, place in zip(faces, boxes, places, strict=True):
            if place is not None:
                picture.panel(face, place)
            elif face.bars:
                picture.present(face, box)
        return picture.rgb


def _rounded(box: ArrayLike) -> Place:
    x1, y1, x2, y2 = (int(v) for v in np.rint(np.nan_to_num(np.asarray(box, float))))
    return x1, y1, x2, y2


class _Picture:
    """A picture that is drawn on, and the sizes of what is drawn."""

    def __init__(self, rgb: NDArray[np.uint8]) -> None:
        self.rgb = rgb
        self.height, self.width = rgb.shape[:2]
        short = min(self.height, self.width)
        self.font = max(11, round(5 + short / 52))
        self.line = max(1, round(short / 260))
        self.row = round(1.3 * self.font)
        self.pad = max(2, round(0.3 * self.font))

    def face(self, face: FaceMark, box: Place) -> None:
        """Draw the box, the points and the number of a face."""
        x1, y1, x2, y2 = box
        colour = track_colour(face.track)
        for outer, around in ((_BLACK, self.line + 1), (colour, self.line)):
            self._outline(x1, y1, x2, y2, around, outer, dashed=face.doubtful and outer == colour)
        if face.points is not None:
            for x, y in np.nan_to_num(np.asarray(face.points, float), nan=-1e6):
                self._disc(x, y, 1.1 * self.line + 1.6, _BLACK)
                self._disc(x, y, 1.1 * self.line + 0.5, colour)
        text = "" if face.track is None else person_title(face.track)
        text = ", ".join(filter(None, (text, low_quality(face.doubt) if face.doubtful else "")))
        if text:
            self.chip(text, x1 - self.line, y1 - self.line, colour, above=True)

    def chip(self, text: str, x: int, y: int, colour: Colour, above: bool = False) -> Place:
        """Write a line of text on a coloured ground, moved into the picture; return where it is."""
        mask = _mask(text, self.font)
        width, height = mask.shape[1] + 2 * self.pad, self.row
        x = max(0, min(x, self.width - width))
        y = max(0, min(y - height if above else y, self.height - height))
        self._fill((x, y, x + width, y + height), colour, 1.0 if above or colour == _RED else _SHADE)
        light = above and sum(colour) > 330
        self._text(mask, x + self.pad, y, _BLACK if light else _WHITE)
        return x, y, x + width, y + height

    def panel_size(self, bars: Sequence[Bar]) -> tuple[int, int]:
        """Return width and height in px of the bars of a face."""
        label, value = self._columns(bars)
        return label + value + round(3.5 * self.font) + 4 * self.pad, len(bars) * self.row + self.pad

    def _columns(self, bars: Sequence[Bar]) -> tuple[int, int]:
        """Return the widths of the labels and of the values."""
        labels = max(_mask(bar.label, self.font).shape[1] for bar in bars)
        return labels, max(_mask("0.00", self.font).shape[1], *(2 * self.font for _ in bars[:1]))

    def panel(self, face: FaceMark, place: Place) -> None:
        """Draw the bars of a face."""
        colour = track_colour(face.track)
        x1, y1, x2, _ = place
        self._fill(place, _BLACK, _SHADE)
        self._fill((x1, y1, x2, y1 + self.line), colour, 1.0)
        label, value = self._columns(face.bars)
        start, stop = x1 + 2 * self.pad + label, x2 - 2 * self.pad - value
        for k, bar in enumerate(face.bars):
            y = y1 + self.pad // 2 + k * self.row
            ink = _WHITE if bar.present and not face.doubtful else _GREY
            self._text(_mask(bar.label, self.font), x1 + self.pad, y, ink)
            self._text(_mask(bar.text, self.font), stop + self.pad, y, ink)
            top, bottom = y + round(0.32 * self.row), y + round(0.8 * self.row)
            self._fill((start, top, stop, bottom), _WHITE, 0.15)
            if np.isfinite(bar.fraction):
                end = start + round((stop - start) * min(max(bar.fraction, 0.0), 1.0))
                self._fill((start, top, end, bottom), colour if ink == _WHITE else _GREY, 1.0)
                mark = start + round((stop - start) * min(max(bar.threshold, 0.0), 1.0))
                half = max(1, self.line // 2)
                self._fill((mark, top - half, mark + half, bottom + half), _WHITE, 0.9)

    def present(self, face: FaceMark, box: Place) -> None:
        """Name the action units that are present in lines under the box of a face."""
        names = [bar.label for bar in face.bars if bar.present]
        widest = max((box[2] - box[0]) // self.font, 10)  # about two letters in the width of one font size
        lines: list[str] = []
        for name in names:
            if lines and len(lines[-1]) + len(name) < 2 * widest:
                lines[-1] += f" {name}"
            else:
                lines.append(name)
        for k, line in enumerate(lines):
            self.chip(line, box[0], box[3] + self.line + k * self.row, _BLACK)

    def _outline(self, x1: int, y1: int, x2: int, y2: int, width: int, colour: Colour, dashed: bool) -> None:
        near, far = width - 1, 1
        sides = (
            (x1 - near, y1 - near, x2 + near + 1, y1 + far),
            (x1 - near, y2 - far + 1, x2 + near + 1, y2 + near + 1),
            (x1 - near, y1 - near, x1 + far, y2 + near + 1),
            (x2 - far + 1, y1 - near, x2 + near + 1, y2 + near + 1),
        )
        for a, b, c, d in sides:
            step = 2 * self.font if dashed else max(c - a, d - b, 1)
            for at in range(0, max(c - a, d - b), step):
                long = step // 2 if dashed else step
                across = c - a > d - b
                part = (
                    (a + at, b, min(a + at + long, c), d) if across else (a, b + at, c, min(b + at + long, d))
                )
                self._fill(part, colour, 1.0)

    def _disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        x1, y1, x2, y2 = int(x - radius), int(y - radius), int(x + radius) + 2, int(y + radius) + 2
        if x1 < 0 or y1 < 0 or x2 > self.width or y2 > self.height:
            return
        rows, columns = np.ogrid[y1:y2, x1:x2]
        cover = np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1)
        _blend(self.rgb[y1:y2, x1:x2], (cover * 255).astype(np.uint8)[..., None], colour)

    def _text(self, mask: NDArray[np.uint8], x: int, y: int, colour: Colour) -> None:
        y += (self.row - mask.shape[0]) // 2
        left, top = max(x, 0), max(y, 0)
        area = self.rgb[top : y + mask.shape[0], left : x + mask.shape[1]]
        mask = mask[top - y :, left - x :][: area.shape[0], : area.shape[1]]
        _blend(area, mask[..., None], colour)

    def _fill(self, place: Place, colour: Colour, opacity: float) -> None:
        x1, y1, x2, y2 = place
        area = self.rgb[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
        if opacity >= 1:
            area[:] = colour
        elif area.size:
            _blend(area, np.uint8(255 * opacity), colour)


def _blend(area: NDArray[np.uint8], cover: "NDArray[np.uint8] | np.uint8", colour: Colour) -> None:
    """Paint a colour over an area, with an opacity of 0..255."""
    weight = np.asarray(cover, np.uint16)
    area[:] = (area * (255 - weight) + np.array(colour, np.uint16) * weight + 127) // 255


@lru_cache(maxsize=2048)
def _mask(text: str, size: int) -> NDArray[np.uint8]:
    """Return a line of text as opacity (H, W); all texts of a size have one height."""
    font = _font(size)
    ascent, descent = font.getmetrics()
    image = Image.new("L", (max(1, round(font.getlength(text)) + 1), ascent + descent))
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    return np.asarray(image)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # with a size, Pillow returns no bitmap font
    return font
