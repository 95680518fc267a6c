"""Inputs to images, one by one: photos, and frames of videos. What cannot be read is told and counted."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface import console
from maeface.data.ingest.inputs import Input, find
from maeface.errors import ConfigError, DataError
from maeface.faces import media

Images = Path | str | NDArray[np.uint8]

SKIPS_SHOWN = 20


class Shot(NamedTuple):
    """A photo, or a frame of a video: its ``input`` in the table, and the pixels."""

    name: str
    frame: media.Frame
    video: bool


@dataclass
class Skipped:
    """Inputs that could not be read, by reason; each is told in a line, up to twenty."""

    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, error: media.BadMedia) -> None:
        """Count an input and say why it is skipped."""
        self.reasons[error.reason] += 1
        if self.reasons.total() <= SKIPS_SHOWN:
            console.say(f"skipped {name}: {error}")
        elif self.reasons.total() == SKIPS_SHOWN + 1:
            console.say("further skipped inputs are only counted")

    def __str__(self) -> str:
        """``3 truncated, 1 not_an_image``."""
        return ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())


def read(
    found: Sequence[Input],
    every: int = 1,
    fps: float | None = None,
    skipped: Skipped | None = None,
    advance: Callable[..., None] = lambda n: None,
) -> Iterator[Shot]:
    """The photos and frames of some inputs, in order; what cannot be read is put into ``skipped``."""
    for item in found:
        try:
            if item.video:
                for frame in media.frames(Path(item.path), every, fps):
                    yield Shot(item.source, frame, video=True)
            else:
                frame = media.Frame(media.read_image(Path(item.path)), 0, 0.0)
                yield Shot(item.source, frame, video=False)
        except media.BadMedia as error:
            if skipped is None:
                raise
            skipped.add(item.source, error)
        advance(1)


def of(images: Images | Iterable[Images], every: int = 1, fps: float | None = None) -> Iterator[Shot]:
    """The shots of whatever a caller has: paths of photos, videos and folders, or RGB uint8 arrays (H, W, 3).

    Raises:
        ConfigError: paths and arrays in one call; no such file.
        DataError: not such an array, or none of the inputs could be read.
    """
    if isinstance(images, (Path, str)) or (isinstance(images, np.ndarray) and images.ndim == 3):
        images = [images]
    given = list(images)
    paths = [Path(image) for image in given if not isinstance(image, np.ndarray)]
    if not given:
        raise DataError("no image was given; give paths, or RGB uint8 arrays (H, W, 3)")
    if paths and len(paths) < len(given):
        raise ConfigError("give paths or arrays, not both in one call")
    return _of_paths(paths, every, fps) if paths else _of_arrays(given)


def _of_paths(paths: Sequence[Path], every: int, fps: float | None) -> Iterator[Shot]:
    skipped = Skipped()
    found = find(paths)
    some = False
    for shot in read(found, every, fps, skipped):
        some = True
        yield shot
    if not some:
        raise DataError(f"none of {len(found)} inputs could be read: {skipped}")


def _of_arrays(arrays: Sequence[object]) -> Iterator[Shot]:
    for k, array in enumerate(arrays):
        if not (isinstance(array, np.ndarray) and array.dtype == np.uint8 and array.shape[2:] == (3,)):
            raise DataError(f"image {k} is not an RGB uint8 array (H, W, 3)")
        yield Shot(str(k), media.Frame(array, 0, 0.0), video=False)
