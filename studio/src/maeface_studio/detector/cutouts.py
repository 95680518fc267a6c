"""Faces cut from photographs and video frames, from which training images are composed."""

import hashlib
import io
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from maeface import console
from maeface.errors import ConfigError, DataError
from maeface.faces import media
from maeface.faces.detector import Detector
from maeface.faces.finder import find_crops

FRAMES_PER_S = 4.0  # of a video: the faces of closer frames are nearly the same
MAX_SIDE = 560  # px; larger photographs are reduced to it, as faces are pasted at up to 400 px
MIN_SCORE = 0.9  # of the teacher, for a face to become a cutout
MIN_SIDE = 40  # px; smaller faces give no cutout


@dataclass(frozen=True)
class Cutout:
    """An image with exactly one face.

    Attributes:
        levels: image pyramid (RGB): the image, and reductions of it by 2, 4, 8, ...
        box: (4,) x1 y1 x2 y2 of the face, px of the first level.
        points: (5, 2) px of the first level.
    """

    levels: tuple[Image.Image, ...]
    box: NDArray[np.float32]
    points: NDArray[np.float32]

    @property
    def turn(self) -> float:
        """How far the head is turned to a side: distance of the nose from the middle of the eyes / theirs."""
        left, right, nose = self.points[:3].astype(np.float64)
        eyes = right - left
        return float(abs((nose - (left + right) / 2) @ eyes) / max(eyes @ eyes, 1.0))


@dataclass(frozen=True)
class Material:
    """The images from which training images are composed.

    Attributes:
        cutouts: faces, one tuple per source.
        scenes: whole images whose faces only the teacher can tell.
        plain: images and parts of images without a face.
    """

    cutouts: tuple[tuple[Cutout, ...], ...]
    scenes: tuple[Image.Image, ...]
    plain: tuple[Image.Image, ...]

    def digest(self) -> str:
        """Return a hash of the material."""
        hashed = hashlib.sha256()
        for group in self.cutouts:
            hashed.update(b"source")
            for cutout in group:
                hashed.update(cutout.levels[0].tobytes() + cutout.box.tobytes() + cutout.points.tobytes())
        for image in (*self.scenes, *self.plain):
            hashed.update(image.tobytes())
        return hashed.hexdigest()

    def draw(self, random: Generator) -> Cutout:
        """Draw a cutout; sources have weights of the square root of their number of faces.

        Some are the most turned of several, as most faces in photographs of people look at the camera.
        """
        weights = np.sqrt([len(group) for group in self.cutouts])
        group = self.cutouts[int(random.choice(len(weights), p=weights / weights.sum()))]
        several = 6 if random.random() < 0.2 else 1
        drawn = [group[int(i)] for i in random.integers(len(group), size=several)]
        return max(drawn, key=lambda one: one.turn)


def collect(sources: Sequence[Path], detector: Detector, exclude: Collection[str] = ()) -> Material:
    """Read photographs, videos, folders of them, and tar files of photographs.

    Args:
        sources: files and folders.
        detector: the teacher; finds the faces.
        exclude: names of files that must not be read (test data).

    Raises:
        ConfigError: a source does not exist.
        DataError: no source contains a face.
    """
    cutouts: dict[Path, list[Cutout]] = {}
    scenes: list[Image.Image] = []
    plain: list[Image.Image] = []
    for source, pixels, is_still in _read_images(sources, frozenset(exclude)):
        (crops,) = find_crops(detector, [pixels], 32, "all")
        image = Image.fromarray(pixels)
        faces = [crop.face for crop in crops if crop.face.score >= MIN_SCORE and crop.confirmed]
        if not is_still:
            scenes.append(image)
        if not detector.find([pixels])[0] and not crops:
            plain.append(image)
        if len(crops) != 1 or not faces or min(faces[0].box[2:] - faces[0].box[:2]) < MIN_SIDE:
            continue
        cutouts.setdefault(source, []).append(Cutout(_build_pyramid(image), faces[0].box, faces[0].landmarks))
        plain += _cut_surroundings(image, faces[0].box)
    if not cutouts:
        raise DataError(f"no face to learn from in {', '.join(map(str, sources))}")
    count = sum(map(len, cutouts.values()))
    console.note(f"{count} faces to paste, {len(scenes)} frames, {len(plain)} images without a face")
    return Material(tuple(map(tuple, cutouts.values())), tuple(scenes), tuple(plain))


def _read_images(
    sources: Sequence[Path], exclude: frozenset[str]
) -> Iterator[tuple[Path, NDArray[np.uint8], bool]]:
    """Yield the source of each image, the image, and whether it is a photograph (not a frame)."""
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
                            image = Image.open(io.BytesIO(file.read()), formats=["JPEG"])
                            yield source, np.array(image), True
                continue
            kind = media.detect_kind(path)
            if kind is not None:
                for frame in media.read_frames(path, fps=FRAMES_PER_S):
                    if isinstance(frame, media.Frame):
                        yield source, _reduce(frame.rgb), kind == "image"


def _reduce(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image with sides of ``MAX_SIDE`` px at most."""
    factor = max(image.shape[:2]) / MAX_SIDE
    if factor <= 1:
        return image
    size = (round(image.shape[1] / factor), round(image.shape[0] / factor))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _build_pyramid(image: Image.Image) -> tuple[Image.Image, ...]:
    levels = [image]
    while min(levels[-1].size) >= 32:
        levels.append(levels[-1].reduce(2))
    return tuple(levels)


def _cut_surroundings(image: Image.Image, box: NDArray[np.float32]) -> list[Image.Image]:
    """Return the parts of a portrait below, left and right of the head: clothes, hair, background."""
    x1, y1, x2, y2 = (float(v) for v in box)
    width, height = image.size
    margin = 0.35 * (x2 - x1)
    parts = [
        (0, y2 + 0.08 * (y2 - y1), width, height),
        (0, 0, x1 - margin, height),
        (x2 + margin, 0, width, height),
    ]
    return [image.crop(p) for p in parts if p[2] - p[0] >= 24 and p[3] - p[1] >= 24]
