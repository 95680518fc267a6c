"""Images of files and of memory, one by one: photos and frames of videos; unreadable inputs are counted."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from maeface import checks, console
from maeface.data.ingest import memory
from maeface.data.ingest.batching import image_batches
from maeface.data.ingest.inputs import Input, find_inputs, note_unused_options
from maeface.errors import DataError
from maeface.faces import media

ImageLike = Path | str | memory.InMemory

MESSAGES = 20
"""How many unreadable inputs are named; further ones are only counted."""


class SourceImage(NamedTuple):
    """A photo, or a frame of a video.

    Attributes:
        name: its ``input`` in the table of predictions.
        frame: the pixels, the index and the time in the video (0 for a photo).
        video: whether it is a frame of a video.
    """

    name: str
    frame: media.Frame
    video: bool


class UnreadableInput(NamedTuple):
    """An input that cannot be read, or not to its end.

    Attributes:
        name: its ``input`` in the table of predictions.
        frame: the first frame that is missing; 0 for a photo.
        time_s: of the last frame that was read; 0 without one.
        reason: one word, as in the ``status`` of a manifest.
    """

    name: str
    frame: int
    time_s: float
    reason: str


@dataclass
class SkippedInputs:
    """The number of unreadable inputs by reason; the first twenty are named in a message each."""

    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, error: media.MediaError) -> None:
        """Count an input and show why it is skipped."""
        self.reasons[error.reason] += 1
        if self.reasons.total() <= MESSAGES:
            console.note(f"skipped {name}: {error}")
        elif self.reasons.total() == MESSAGES + 1:
            console.note("further skipped inputs are only counted")

    def __str__(self) -> str:
        """``3 truncated, 1 not_an_image``."""
        return ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())


def read_inputs(
    inputs: Sequence[Input],
    every: int = 1,
    fps: float | None = None,
    skipped: SkippedInputs | None = None,
    advance: Callable[..., None] = lambda n: None,
) -> Iterator[SourceImage | UnreadableInput]:
    """Yield the photos and frames of inputs, in order.

    Args:
        inputs: files.
        every: read every n-th frame of a video.
        fps: read at most this many frames per second of a video, instead of ``every``.
        skipped: counts the inputs that cannot be read, for each of which an ``UnreadableInput`` is yielded.
        advance: called with 1 after each input.

    Raises:
        MediaError: an input cannot be read, and there is no ``skipped``.
    """
    for item in inputs:
        last, time_s = -1, 0.0
        try:
            if item.video:
                for frame in media.read_frames(Path(item.path), every, fps):
                    last, time_s = frame.index, frame.time_s
                    yield SourceImage(item.source, frame, video=True)
            else:
                frame = media.Frame(media.read_image(Path(item.path)), 0, 0.0)
                yield SourceImage(item.source, frame, video=False)
        except media.MediaError as error:
            if skipped is None:
                raise
            skipped.add(item.source, error)
            yield UnreadableInput(item.source, last + 1, time_s, error.reason)
        advance(1)


def load_images(
    images: ImageLike | Iterable[ImageLike], every: int = 1, fps: float | None = None
) -> Iterator[SourceImage | UnreadableInput]:
    """Return an iterator over images: first those of files, sorted by name, then those in memory.

    Args:
        images: one or several of: paths of photos, videos and folders; images in memory
            (``memory.EXPECTED``).
        every: read every n-th frame of a video.
        fps: read at most this many frames per second of a video, instead of ``every``.

    Raises:
        ConfigError: a file does not exist, or ``every`` or ``fps`` is out of range.
        DataError: there is no image, or an object is not an image. From the iterator: no input can be read.
    """
    checks.require_sampling(every, fps)
    try:
        objects: list[object] = [images] if memory.is_one(images) else list(images)  # type: ignore[arg-type]
    except TypeError:
        objects = [images]
    if not objects:
        raise DataError(f"no image was given; {memory.EXPECTED}")
    memory.check_all(objects)
    paths = [Path(os.fspath(image)) for image in objects if isinstance(image, (str, os.PathLike))]
    files = find_inputs(paths) if paths else []
    note_unused_options(files, every, fps)
    return _load(files, dict(enumerate(objects)), every, fps)


def batch_images(
    images: Iterable[SourceImage | UnreadableInput],
) -> Iterator[list[SourceImage | UnreadableInput]]:
    """Yield images in batches, in their order; see ``batching``."""
    return image_batches(
        images, lambda image: image.frame.rgb.size // 3 if isinstance(image, SourceImage) else 0
    )


def _load(
    files: Sequence[Input], objects: Mapping[int, object], every: int, fps: float | None
) -> Iterator[SourceImage | UnreadableInput]:
    skipped = SkippedInputs()
    readable = 0
    for images in (read_inputs(files, every, fps, skipped), _convert(objects, skipped)):
        for image in images:
            readable += isinstance(image, SourceImage)
            yield image
    if not readable:
        raise DataError(f"none of {skipped.reasons.total()} inputs could be read: {skipped}")


def _convert(
    objects: Mapping[int, object], skipped: SkippedInputs
) -> Iterator[SourceImage | UnreadableInput]:
    """Yield the images in memory; paths are left out."""
    for number, image in objects.items():
        if memory.is_path(image):
            continue
        try:
            pixels = memory.pixels(number, image)
        except media.MediaError as error:
            skipped.add(str(number), error)
            yield UnreadableInput(str(number), 0, 0.0, error.reason)
        else:
            yield SourceImage(str(number), media.Frame(pixels, 0, 0.0), video=False)
