"""Photographs and frames to cut-outs: a face with its points, ready to be pasted at any size and angle."""

import hashlib
import io
import math
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from maeface import console
from maeface.errors import ConfigError, DataError
from maeface.faces import media
from maeface.faces.detector import Detector
from maeface.faces.finder import find_crops

FRAMES_PER_S = 4.0  # of a video: nearer ones show the same face
MAX_SIDE = 560  # px; a larger photograph is shrunk to it, faces being pasted at up to 400 px
SURE = 0.9  # least score of the teacher for a face to become a cut-out
LEAST_SIDE = 40  # px; a smaller face gives no cut-out


@dataclass(frozen=True)
class Cutout:
    """An image with one known face.

    Attributes:
        levels: the image (RGB), and it halved again and again.
        box: (4,) x1 y1 x2 y2 of the face, px of the first level.
        points: (5, 2) px of the first level.
    """

    levels: tuple[Image.Image, ...]
    box: NDArray[np.float32]
    points: NDArray[np.float32]


@dataclass(frozen=True)
class Material:
    """What canvases are composed of.

    Attributes:
        cutouts: faces, one tuple a source.
        scenes: whole images in which the teacher alone says what is a face.
        plain: images and parts of images without a face.
    """

    cutouts: tuple[tuple[Cutout, ...], ...]
    scenes: tuple[Image.Image, ...]
    plain: tuple[Image.Image, ...]

    def digest(self) -> str:
        """The same for the same material."""
        hashed = hashlib.sha256()
        for group in self.cutouts:
            hashed.update(b"source")
            for one in group:
                hashed.update(one.levels[0].tobytes() + one.box.tobytes() + one.points.tobytes())
        for picture in (*self.scenes, *self.plain):
            hashed.update(picture.tobytes())
        return hashed.hexdigest()

    def draw(self, random: Generator) -> Cutout:
        """A cut-out. Sources weigh as the square root of their faces: no one of them is all there is."""
        weights = np.sqrt([len(group) for group in self.cutouts])
        group = self.cutouts[int(random.choice(len(weights), p=weights / weights.sum()))]
        return group[int(random.integers(len(group)))]


@dataclass(frozen=True)
class Placed:
    """A cut-out on a canvas.

    Attributes:
        box: (4,) px of the canvas.
        points: (5, 2) px of the canvas.
    """

    box: NDArray[np.float64]
    points: NDArray[np.float64]


def collect(sources: Sequence[Path], detector: Detector, exclude: Collection[str] = ()) -> Material:
    """Read photographs, videos, folders of them, and tar files of photographs.

    Args:
        sources: what to read.
        detector: the teacher; finds the faces.
        exclude: file names that must not be read (test material).

    Raises:
        ConfigError: a source does not exist.
        DataError: no face in any of them.
    """
    cutouts: dict[Path, list[Cutout]] = {}
    scenes: list[Image.Image] = []
    plain: list[Image.Image] = []
    for source, image, still in _images(sources, frozenset(exclude)):
        (found,) = find_crops(detector, [image], 32, "all")
        picture = Image.fromarray(image)
        faces = [one.face for one in found if one.face.score >= SURE and one.looked_twice]
        if not still:
            scenes.append(picture)
        if not detector.find([image])[0] and not found:
            plain.append(picture)
        if len(found) != 1 or not faces or min(faces[0].box[2:] - faces[0].box[:2]) < LEAST_SIDE:
            continue
        cutouts.setdefault(source, []).append(Cutout(_levels(picture), faces[0].box, faces[0].points))
        plain += _beside(picture, faces[0].box)
    if not cutouts:
        raise DataError(f"no face to learn from in {', '.join(map(str, sources))}")
    count = sum(map(len, cutouts.values()))
    console.say(f"{count} faces to paste, {len(scenes)} frames, {len(plain)} images without a face")
    return Material(tuple(map(tuple, cutouts.values())), tuple(scenes), tuple(plain))


def paste(
    canvas: Image.Image, owner: Image.Image, number: int, cutout: Cutout, side: float, random: Generator
) -> Placed:
    """Paste a face somewhere on ``canvas``, in place, as head, bust or whole picture.

    Args:
        canvas: RGB.
        owner: L, of the canvas's size: gets ``number`` where the cut-out covers it.
        number: 1..255.
        cutout: what.
        side: px that the longer side of its box shall have.
        random: draws place, angle, shape and light.
    """
    forward = _shape(side / float((cutout.box[2:] - cutout.box[:2]).max()), random)
    middle = (cutout.box[:2].astype(np.float64) + cutout.box[2:]) / 2
    width, height = canvas.size
    margin = 0.35 * side if random.random() < 0.85 else -0.2 * side
    place = np.array([_between(random, margin, v - margin) for v in (width, height)])

    level = int(np.clip(-math.log2(max(abs(np.linalg.det(forward)) ** 0.5, 1e-3)), 0, len(cutout.levels) - 1))
    picture = cutout.levels[level]
    shrink = 2**level  # not the ratio of the widths: halving rounds odd ones up
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * cutout.levels[0].size
    reached = (corners - middle) @ forward.T + place
    low = np.clip(np.floor(reached.min(axis=0)), 0, canvas.size).astype(int)
    high = np.clip(np.ceil(reached.max(axis=0)), 0, canvas.size).astype(int)
    points = (cutout.points - middle) @ forward.T + place
    if np.linalg.det(forward) < 0:  # mirrored: left and right change places
        points = points[[1, 0, 2, 4, 3]]
    half = np.abs(forward) @ (cutout.box[2:] - cutout.box[:2]).astype(np.float64) / 2
    half *= side / (2 * half.max())  # a turned face has no larger box: heads are round
    placed = Placed(np.concatenate([place - half, place + half]), points)
    if (high <= low).any():
        return placed

    back = np.linalg.inv(forward)
    offset = (back @ (low - place) + middle) / shrink
    matrix = (back / shrink).tolist()
    data = (*matrix[0], offset[0], *matrix[1], offset[1])
    layer = lit(picture, random).convert("RGB")
    layer.putalpha(_mask(picture.size, cutout.box / shrink, random))
    layer = layer.transform(
        tuple((high - low).tolist()), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC
    )
    corner = (int(low[0]), int(low[1]))
    canvas.paste(layer, corner, layer)
    owner.paste(number, corner, layer.getchannel("A").point([0] * 128 + [255] * 128))
    return placed


def _images(
    sources: Sequence[Path], exclude: frozenset[str]
) -> Iterator[tuple[Path, NDArray[np.uint8], bool]]:
    """The source, every image of it, and whether that is a still."""
    for source in sources:
        if not source.exists():
            raise ConfigError(f"no file or folder {source} to learn faces from")
        paths = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        for path in paths:
            if path.name in exclude:
                continue
            if path.suffix == ".tar":
                with tarfile.open(path) as archive:
                    for member in archive:
                        if (file := archive.extractfile(member)) is not None:
                            yield (
                                source,
                                np.array(Image.open(io.BytesIO(file.read()), formats=["JPEG"])),
                                True,
                            )
                continue
            what = media.kind(path)
            if what is not None:
                for frame in media.frames(path, fps=FRAMES_PER_S):
                    yield source, _shrunk(frame.rgb), what == "image"


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = max(image.shape[:2]) / MAX_SIDE
    if factor <= 1:
        return image
    size = (round(image.shape[1] / factor), round(image.shape[0] / factor))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _levels(picture: Image.Image) -> tuple[Image.Image, ...]:
    levels = [picture]
    while min(levels[-1].size) >= 32:
        levels.append(levels[-1].reduce(2))
    return tuple(levels)


def _beside(picture: Image.Image, box: NDArray[np.float32]) -> list[Image.Image]:
    """The parts of a portrait under, left and right of the head: clothes, hair, backgrounds."""
    x1, y1, x2, y2 = (float(v) for v in box)
    width, height = picture.size
    reach = 0.35 * (x2 - x1)
    parts = [
        (0, y2 + 0.08 * (y2 - y1), width, height),
        (0, 0, x1 - reach, height),
        (x2 + reach, 0, width, height),
    ]
    return [picture.crop(p) for p in parts if p[2] - p[0] >= 24 and p[3] - p[1] >= 24]


def _shape(scale: float, random: Generator) -> NDArray[np.float64]:
    """Size, angle, mirror, a little shear and foreshortening as one matrix (2, 2)."""
    limit = 45 if random.random() < 0.15 else 22
    angle = math.radians(random.uniform(-limit, limit))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    narrow = random.uniform(0.62, 0.9) if random.random() < 0.25 else random.uniform(0.9, 1.1)
    mirror = -1.0 if random.random() < 0.5 else 1.0
    shear = random.uniform(-0.1, 0.1)
    matrix: NDArray[np.float64] = (
        scale * turn @ np.array([[1, 0], [shear, 1]]) @ np.diag([mirror * narrow, 1.0])
    )
    return matrix


def lit(picture: Image.Image, random: Generator) -> Image.Image:
    """Other light: gain of each channel and, often, a ramp as from a window at one side."""
    if random.random() < 0.3:
        return picture
    pixels = np.asarray(picture, np.float32)
    gain = random.uniform(0.5, 1.25) * (1 + random.uniform(-0.12, 0.12, 3))
    if random.random() < 0.5:
        height, width = pixels.shape[:2]
        angle, depth = random.uniform(0, 2 * math.pi), random.uniform(0.2, 0.9)
        ramp = (
            math.cos(angle) * np.linspace(-1, 1, width)[None]
            + math.sin(angle) * np.linspace(-1, 1, height)[:, None]
        )
        gain = gain * (1 + depth * ramp[..., None])
    return Image.fromarray(np.clip(pixels * gain, 0, 255).astype(np.uint8))


def _mask(size: tuple[int, int], box: NDArray[np.floating], random: Generator) -> Image.Image:
    """What of a picture is pasted: the whole, the head, or head and shoulders; with a soft edge."""
    way = random.random()
    if way < 0.25:
        return Image.new("L", size, 255)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    width, height = box[2] - box[0], box[3] - box[1]
    across, up, down = random.uniform(0.55, 0.85), random.uniform(0.6, 0.85), random.uniform(0.5, 0.75)
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((x - across * width, y - up * height, x + across * width, y + down * height), fill=255)
    if way > 0.55:
        neck = y + 0.4 * height
        wide = random.uniform(0.9, 1.6) * width
        outline = [(x - 0.35 * width, neck), (x + 0.35 * width, neck), (x + wide, y + height)]
        outline += [(x + wide, size[1]), (x - wide, size[1]), (x - wide, y + height)]
        draw.polygon(outline, fill=255)
    return mask.filter(ImageFilter.GaussianBlur(float(random.uniform(0.01, 0.06) * width)))


def _between(random: Generator, low: float, high: float) -> float:
    return float(random.uniform(low, high)) if low < high else (low + high) / 2
