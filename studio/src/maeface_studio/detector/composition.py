"""Composed training images: varied backgrounds with pasted faces of many sizes.

Image ``i`` is a function of (seed, size, i).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from maeface_studio.detector.augmentation import change_light
from maeface_studio.detector.cutouts import Cutout, Material

MIN_FACE = 11.0  # px, longer side of the box of a face
MAX_FACE = 400.0
_CROWD = 60.0  # px; images with more than three faces have smaller ones than this
_VISIBLE = (
    0.62  # least visible fraction of a face that is a target; less visible ones are left to the teacher
)


@dataclass(frozen=True)
class PlacedFace:
    """A face on a composed image.

    Attributes:
        box: (4,) x1 y1 x2 y2 in px.
        points: (5, 2) px.
    """

    box: NDArray[np.float64]
    points: NDArray[np.float64]

    @property
    def angle(self) -> float:
        """By how much the head is turned in the plane, to either side: 0..180 degrees, 0 is upright."""
        across, down = self.points[3:].mean(axis=0) - self.points[:2].mean(axis=0)
        return math.degrees(math.atan2(abs(across), down))

    @property
    def middle(self) -> NDArray[np.float64]:
        """Centre of the box, px."""
        return (self.box[:2] + self.box[2:]) / 2


@dataclass(frozen=True)
class Composition:
    """A composed image.

    Attributes:
        pixels: (S, S, 3) uint8 RGB.
        faces: faces that are visible.
        hidden: faces that are mostly covered, or cut off by the border.
        complete: whether ``faces`` and ``hidden`` are all faces in the image.
    """

    pixels: NDArray[np.uint8]
    faces: tuple[PlacedFace, ...]
    hidden: tuple[PlacedFace, ...]
    complete: bool


def compose(material: Material, size: int, seed: int, index: int) -> Composition:
    """Compose image number ``index``, a square of ``size`` px."""
    random = np.random.default_rng([seed, size, index])
    complete = not material.scenes or random.random() > 0.12
    draw_canvas = _draw_background if complete else _draw_scene
    canvas = draw_canvas(material, size, random)
    for _ in range(int(random.integers(0, 7))):
        _add_clutter(canvas, material, random)
    owner = Image.new("L", (size, size), 0)
    faces: list[PlacedFace] = []
    sides, is_group = _draw_sides(size, random) if complete or random.random() < 0.3 else ([], False)
    for number, side in enumerate(sides, start=1):
        beside = faces[int(random.integers(len(faces)))] if is_group and faces else None
        faces.append(paste(canvas, owner, number, material.draw(random), side, random, beside))
        if random.random() < 0.12:
            _cover_part(canvas, owner, faces[-1], random)
    if random.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(float(random.uniform(0.3, 1.2))))
    owners = np.asarray(owner)
    visible = [_visible_fraction(owners, face, number) for number, face in enumerate(faces, start=1)]
    return Composition(
        np.array(canvas),
        tuple(face for face, fraction in zip(faces, visible, strict=True) if fraction >= _VISIBLE),
        tuple(face for face, fraction in zip(faces, visible, strict=True) if fraction < _VISIBLE),
        complete,
    )


def paste(
    canvas: Image.Image,
    owner: Image.Image,
    number: int,
    cutout: Cutout,
    side: float,
    random: Generator,
    beside: PlacedFace | None = None,
) -> PlacedFace:
    """Paste a face at a random place of ``canvas``, in place: a head, a bust or the whole image.

    Args:
        canvas: RGB.
        owner: L, of the size of the canvas: set to ``number`` where the cutout covers it.
        number: 1..255.
        cutout: the face.
        side: longer side of its box on the canvas, px.
        random: draws place, angle, shape and light.
        beside: a face to stand close to, or in front of; None for any place.
    """
    forward = _draw_transform(side / float((cutout.box[2:] - cutout.box[:2]).max()), random)
    middle = (cutout.box[:2].astype(np.float64) + cutout.box[2:]) / 2
    width, height = canvas.size
    margin = 0.35 * side if random.random() < 0.85 else -0.2 * side
    target = np.array([_draw_between(random, margin, v - margin) for v in (width, height)])
    if beside is not None:
        distance = random.uniform(0.5, 0.85) * (side + float((beside.box[2:] - beside.box[:2]).max()))
        direction = random.uniform(0, 2 * math.pi)
        target = beside.middle + distance * np.array([math.cos(direction), 0.6 * math.sin(direction)])

    level = int(np.clip(-math.log2(max(abs(np.linalg.det(forward)) ** 0.5, 1e-3)), 0, len(cutout.levels) - 1))
    image = cutout.levels[level]
    reduction = 2**level  # not the ratio of the widths: odd ones are rounded up when halved
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * cutout.levels[0].size
    corners_on_canvas = (corners - middle) @ forward.T + target
    low = np.clip(np.floor(corners_on_canvas.min(axis=0)), 0, canvas.size).astype(int)
    high = np.clip(np.ceil(corners_on_canvas.max(axis=0)), 0, canvas.size).astype(int)
    points = (cutout.points - middle) @ forward.T + target
    if np.linalg.det(forward) < 0:  # mirrored: left and right points are swapped
        points = points[[1, 0, 2, 4, 3]]
    half = np.abs(forward) @ (cutout.box[2:] - cutout.box[:2]).astype(np.float64) / 2
    half *= side / (2 * half.max())  # the box of a rotated head is no larger, as heads are round
    face = PlacedFace(np.concatenate([target - half, target + half]), points)
    if (high <= low).any():
        return face

    back = np.linalg.inv(forward)
    offset = (back @ (low - target) + middle) / reduction
    matrix = (back / reduction).tolist()
    data = (*matrix[0], offset[0], *matrix[1], offset[1])
    layer = change_light(image, random).convert("RGB")
    layer.putalpha(_draw_mask(image.size, cutout.box / reduction, random))
    layer = layer.transform(
        tuple((high - low).tolist()), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC
    )
    corner = (int(low[0]), int(low[1]))
    canvas.paste(layer, corner, layer)
    owner.paste(number, corner, layer.getchannel("A").point([0] * 128 + [255] * 128))
    return face


def _draw_sides(size: int, random: Generator) -> tuple[list[float], bool]:
    """Draw the sizes of the faces of one image, and whether they stand close together.

    Faces at any place are in descending order, so that small ones stay visible.
    """
    choice = random.random()
    if choice < 0.08:
        return [], False
    if choice < 0.25:  # heads beside and in front of each other
        middle = float(np.exp(random.uniform(np.log(MIN_FACE + 8), np.log(size / 2.5))))
        return (middle * np.exp(random.normal(0, 0.15, int(random.integers(2, 7))))).tolist(), True
    if choice < 0.5:  # many faces of similar size
        middle = float(np.exp(random.uniform(np.log(MIN_FACE + 3), np.log(_CROWD))))
        count = int(random.integers(3, 3 + max(2, min(14, int((size / middle) ** 2 / 3)))))
        sides = middle * np.exp(random.normal(0, 0.25, count))
    else:
        most = min(1.3 * size, MAX_FACE)
        sides = np.exp(random.uniform(np.log(MIN_FACE), np.log(most), int(random.integers(1, 4))))
    return sorted(np.clip(sides, MIN_FACE, MAX_FACE).tolist(), reverse=True), False


def _draw_transform(scale: float, random: Generator) -> NDArray[np.float64]:
    """Draw scale, angle, mirroring, a little shear and foreshortening as one matrix, (2, 2)."""
    limit = float(random.choice([22, 45, 180], p=[0.7, 0.15, 0.15]))
    angle = math.radians(random.uniform(-limit, limit))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    narrow = random.uniform(0.62, 0.9) if random.random() < 0.25 else random.uniform(0.9, 1.1)
    mirror = -1.0 if random.random() < 0.5 else 1.0
    shear = random.uniform(-0.1, 0.1)
    matrix: NDArray[np.float64] = (
        scale * turn @ np.array([[1, 0], [shear, 1]]) @ np.diag([mirror * narrow, 1.0])
    )
    return matrix


def _draw_mask(size: tuple[int, int], box: NDArray[np.floating], random: Generator) -> Image.Image:
    """Draw the part of an image that is pasted: all, the head, or head and shoulders, with a soft edge."""
    choice = random.random()
    if choice < 0.25:
        return Image.new("L", size, 255)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    width, height = box[2] - box[0], box[3] - box[1]
    across, up, down = random.uniform(0.55, 0.85), random.uniform(0.6, 0.85), random.uniform(0.5, 0.75)
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((x - across * width, y - up * height, x + across * width, y + down * height), fill=255)
    if choice > 0.55:
        neck = y + 0.4 * height
        wide = random.uniform(0.9, 1.6) * width
        outline = [(x - 0.35 * width, neck), (x + 0.35 * width, neck), (x + wide, y + height)]
        outline += [(x + wide, size[1]), (x - wide, size[1]), (x - wide, y + height)]
        draw.polygon(outline, fill=255)
    return mask.filter(ImageFilter.GaussianBlur(float(random.uniform(0.01, 0.06) * width)))


def _draw_between(random: Generator, low: float, high: float) -> float:
    return float(random.uniform(low, high)) if low < high else (low + high) / 2


def _visible_fraction(owners: NDArray[np.uint8], face: PlacedFace, number: int) -> float:
    """Return the visible fraction of the central part of the box of a face."""
    middle, half = face.middle, (face.box[2:] - face.box[:2]) / 2 * 0.8
    (x1, y1), (x2, y2) = np.round(middle - half).astype(int), np.round(middle + half).astype(int)
    inside = owners[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    return float((inside == number).sum()) / max(float((x2 - x1) * (y2 - y1)), 1.0)


def _draw_colour(random: Generator) -> tuple[int, int, int]:
    if random.random() < 0.25:  # the colour of skin, which alone must not make a face
        tone = random.uniform(0.25, 1.0)
        return int(235 * tone), int(190 * tone**1.2), int(165 * tone**1.4)
    red, green, blue = random.integers(0, 256, 3).tolist()
    return red, green, blue


def _draw_background(material: Material, size: int, random: Generator) -> Image.Image:
    """Draw a background without a face: a photograph or coloured noise."""
    choice = random.random()
    if choice < 0.7 and material.plain:
        return _cut_window(material.plain, size, random)
    base = np.empty((size, size, 3), np.float32)
    base[:] = _draw_colour(random)
    for scale in (2, 3, 5, 9, 17, 40, 100, size):
        if random.random() < 0.5:
            grid = random.normal(0, random.uniform(3, 45), (scale, scale, 3)).astype(np.float32)
            if random.random() < 0.5:
                grid[:] = grid[..., :1]
            base += _enlarge(grid, size)
    return Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))


def _enlarge(grid: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    if len(grid) == size:
        return grid
    levels = Image.fromarray(np.clip(grid / 2 + 128, 0, 255).astype(np.uint8))
    return (np.asarray(levels.resize((size, size), Image.Resampling.BICUBIC), np.float32) - 128) * 2


def _draw_scene(material: Material, size: int, random: Generator) -> Image.Image:
    return _cut_window(material.scenes, size, random)


def _cut_window(images: tuple[Image.Image, ...], size: int, random: Generator) -> Image.Image:
    """Cut a window from a random image, a third to all of it, stretched a little."""
    image = images[int(random.integers(len(images)))]
    width, height = image.size
    side = min(width, height) * random.uniform(0.35, 1.0)
    across, down = side, min(height, side * random.uniform(0.8, 1.25))
    x, y = random.uniform(0, width - across), random.uniform(0, height - down)
    window = image.resize((size, size), Image.Resampling.BILINEAR, (x, y, x + across, y + down))
    return window.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else window


def _add_clutter(canvas: Image.Image, material: Material, random: Generator) -> None:
    """Draw one object that is no face: a rectangle, an ellipse, lines, text or a part of a photograph."""
    size = canvas.width
    draw = ImageDraw.Draw(canvas)
    x, y = random.uniform(-0.1 * size, size, 2).tolist()
    w, h = (size * np.exp(random.uniform(np.log(0.03), np.log(0.6), 2))).tolist()
    choice = random.random()
    if choice < 0.2:
        draw.rectangle((x, y, x + w, y + h), fill=_draw_colour(random), outline=_draw_colour(random))
    elif choice < 0.4:
        draw.ellipse((x, y, x + w, y + h), fill=_draw_colour(random))
    elif choice < 0.55:
        step = max(2.0, w / random.integers(2, 12))
        for i in range(int(w / step)):
            line = (x + i * step, y, x + i * step, y + h)
            draw.line(line, fill=_draw_colour(random), width=int(random.integers(1, 4)))
    elif choice < 0.65:
        letters = "".join(chr(c) for c in random.integers(33, 127, int(random.integers(2, 20))))
        draw.text((x, y), letters, fill=_draw_colour(random))
    elif material.plain:
        image = material.plain[int(random.integers(len(material.plain)))]
        patch = image.resize((max(4, int(w)), max(4, int(h))), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            patch = patch.rotate(float(random.uniform(0, 360)))
        mask = Image.new("L", patch.size, 0)
        shape = ImageDraw.Draw(mask)
        (shape.ellipse if random.random() < 0.5 else shape.rectangle)(
            (1, 1, patch.width - 2, patch.height - 2), 255
        )
        canvas.paste(patch, (int(x), int(y)), mask.filter(ImageFilter.GaussianBlur(1)))


def _cover_part(canvas: Image.Image, owner: Image.Image, face: PlacedFace, random: Generator) -> None:
    """Cover a part of a face with a shape at its edge, as a hand, a cup or a shoulder would."""
    middle, extent = face.middle, face.box[2:] - face.box[:2]
    angle = random.uniform(0, 2 * np.pi)
    centre = middle + extent * 0.6 * np.array([np.cos(angle), np.sin(angle)])
    half = extent * random.uniform(0.12, 0.42, 2)
    bounds = (*(centre - half).tolist(), *(centre + half).tolist())
    colour = _draw_colour(random)
    for image, fill in ((canvas, colour), (owner, 0)):
        draw = ImageDraw.Draw(image)
        (draw.ellipse if angle % 1 < 0.5 else draw.rectangle)(bounds, fill=fill)
