"""Images of files and of memory, one by one: photos and frames of videos, and entries for what is missing.

This is the one reader of ``prepare`` and ``predict``.
"""

import operator
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface import checks, console
from maeface.data.ingest import memory
from maeface.data.ingest.inputs import Input, find_inputs, note_unused_options
from maeface.data.ingest.records import read_image_bytes
from maeface.errors import DataError
from maeface.faces import media
from maeface.faces.numbering import DAMAGED, TRUNCATED, MissingFrames
from maeface.faces.timestamps import block_of
from maeface.faces.video_index import VideoIndex

ImageLike = Path | str | memory.InMemory

IMAGES_TOGETHER = 32
PIXELS_TOGETHER = 50_000_000


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
    """An input that cannot be read, or frames of a video that are missing.

    Attributes:
        name: its ``input`` in the table of predictions.
        frame: the first frame that is missing; 0 for a photo.
        time_s: of that frame if some are missing in a video; where reading ends for another reason, of the
            last frame that was read; without one, that of the first frame, 0 if it is not known.
        reason: one word, as in the ``status`` of a manifest.
        detail: a short explanation; "" if there is none.
        count: how many frames are missing; 0 if that is not known, or the input cannot be read.
        chosen: how many of them would have been read, by ``every`` or ``fps``; None: all.
    """

    name: str
    frame: int
    time_s: float
    reason: str
    detail: str = ""
    count: int = 0  # type: ignore[assignment] # hides the method of tuples
    chosen: int | None = None

    @property
    def images(self) -> int:
        """How many images could not be read; 1 if that is not known."""
        return max(self.count, 1) if self.chosen is None else self.chosen


@dataclass
class SkippedInputs:
    """The number of unreadable inputs by reason, and of films with missing frames.

    The first of each are named in a message.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    _inputs: console.FewNotes = field(default_factory=lambda: console.FewNotes("skipped inputs"))
    _films: console.FewNotes = field(default_factory=lambda: console.FewNotes("damaged films"))

    @property
    def damaged_films(self) -> int:
        """Number of films with missing frames."""
        return self._films.count

    def add(self, name: str, error: media.MediaError) -> None:
        """Count an input and show why it is skipped."""
        self.reasons[error.reason] += 1
        self._inputs.add(f"skipped {name}: {error}")

    def add_film(self, name: str, missing: Mapping[str, int], is_known: bool = True) -> None:
        """Count a film of which frames are missing, and show how many.

        Args:
            name: of the film.
            missing: frames by reason.
            is_known: whether all are counted.
        """
        self._films.add(describe_damage(name, "frames", missing, is_known))

    def __str__(self) -> str:
        """``3 truncated, 1 not_an_image; films with damage: 3``."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
        films = f"films with damage: {self.damaged_films}" if self.damaged_films else ""
        return "; ".join(filter(None, (reasons, films)))


def describe_damage(name: str, what: str, missing: Mapping[str, int], is_known: bool = True) -> str:
    """Return the message that frames of a film are missing.

    Args:
        name: of the film.
        what: is counted, "frames" or "rows".
        missing: their number by reason.
        is_known: whether all are counted.
    """
    counts = [f"{count} {reason}" for reason, count in missing.items() if count]
    counts += [] if is_known else ["an unknown number at the end"]
    return f"{name} is damaged; {what} without values: {', '.join(counts)}"


def read_inputs(
    inputs: Sequence[Input],
    every: int = 1,
    fps: float | None = None,
    skipped: SkippedInputs | None = None,
    advance: Callable[..., None] = lambda n: None,
    min_side: int = 32,
    indexes: Mapping[str, VideoIndex] = MappingProxyType({}),
    indexing: Callable[[], None] = lambda: None,
) -> Iterator[SourceImage | UnreadableInput]:
    """Yield the photos and frames of inputs, in order, and entries for what cannot be read.

    Args:
        inputs: files, records of files, and videos or spans of their frames.
        every: read every n-th frame of a video.
        fps: read at most this many frames per second of a video, instead of ``every``.
        skipped: counts the inputs that cannot be read and the damaged films, with messages.
        advance: called with 1 after each input.
        min_side: lower limit of width and height of a photo in px.
        indexes: {path: index} of videos, to read several parts of them; others are made when needed.
        indexing: called while one is made, to show that there is progress.
    """
    for item in inputs:
        index = indexes.get(item.path)
        start = item.frames[0][0] if item.frames else 0
        last, time_s = start - 1, 0.0 if index is None else float(index.times_s[start])
        missing: Counter[str] = Counter()
        is_known = True
        try:
            if not item.video:
                yield SourceImage(item.source, media.Frame(_read_pixels(item, min_side), 0, 0.0), video=False)
            for one in _read_video(item, every, fps, index, indexing) if item.video else ():
                if isinstance(one, media.Frame):
                    last, time_s = one.index, one.time_s
                    yield SourceImage(item.source, one, video=True)
                    continue
                last = one.index + max(one.count, 1) - 1
                missing[one.reason] += one.count
                is_known &= one.count > 0
                detail = describe_missing(one.reason, one.count)
                where = item.source, one.index, one.time_s
                yield UnreadableInput(*where, one.reason, detail, one.count, one.chosen)
        except media.MediaError as error:
            if skipped is not None:
                skipped.add(item.source, error)
            yield UnreadableInput(item.source, last + 1, time_s, error.reason, error.detail)
        if missing and skipped is not None:
            skipped.add_film(item.source, missing, is_known)
        advance(1)


def _read_video(
    item: Input, every: int, fps: float | None, index: VideoIndex | None, indexing: Callable[[], None]
) -> Iterator[media.Frame | MissingFrames]:
    return media.read_frames(Path(item.path), every, fps, item.frames, index, 1, indexing)


def _read_pixels(item: Input, min_side: int) -> NDArray[np.uint8]:
    if item.offset is None:
        return media.read_image(Path(item.path), min_side)
    try:
        data = read_image_bytes(Path(item.path), item.offset, item.size)
    except OSError as error:
        raise media.MediaError("unreadable", error.strerror or str(error)) from error
    return media.decode_image(data, min_side=min_side)


def describe_missing(reason: str, count: int) -> str:
    """Return a short explanation of missing frames, for their row.

    Args:
        reason: as in ``MissingFrames``.
        count: how many; 0 if that is not known.
    """
    if reason == DAMAGED:
        return "the frame is damaged"
    frames = {0: "an unknown number of frames", 1: "1 frame"}.get(count, f"{count} frames")
    return f"{frames} from here{' to the end' if reason == TRUNCATED else ''}"


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
    """Yield images in batches, in their order: photos together, or frames of one block of one film.

    A batch of photos ends with 32 entries, any batch with 50 million pixels, so that memory is bounded. An
    entry for something that is missing goes into any batch.
    """
    batch: list[SourceImage | UnreadableInput] = []
    pixels = 0
    block: tuple[str, int] | None = None  # of the batch, if it is of a film
    for image in images:
        if isinstance(image, SourceImage):
            other = (image.name, block_of(image.frame.time_s)) if image.video else None
            full = pixels >= PIXELS_TOGETHER or (other is None and len(batch) >= IMAGES_TOGETHER)
            if batch and (full or (other != block and pixels)):
                yield batch
                batch, pixels = [], 0
            block = other
            pixels += image.frame.rgb.size // 3
        batch.append(image)
        if not pixels and len(batch) >= IMAGES_TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch


class GroupLimits(NamedTuple):
    """What makes a group of batches full; it may hold one batch more.

    Attributes:
        batches: in a group.
        images: of its batches.
        pixels: of its images.
    """

    batches: int = 1
    images: int = 1
    pixels: int = 1


def group_blocks(
    batches: Iterable[list[SourceImage | UnreadableInput]], limits: GroupLimits
) -> Iterator[list[list[SourceImage | UnreadableInput]]]:
    """Yield batches (``batch_images``) in groups, in their order: blocks of films, or one batch of photos."""
    group: list[list[SourceImage | UnreadableInput]] = []
    images = pixels = 0
    for batch in batches:
        photos = any(isinstance(image, SourceImage) and not image.video for image in batch)
        if group and photos:
            yield group
            group, images, pixels = [], 0, 0
        group.append(batch)
        images += len(batch)
        pixels += sum(image.frame.rgb.size // 3 for image in batch if isinstance(image, SourceImage))
        if photos or any(map(operator.ge, (len(group), images, pixels), limits)):
            yield group
            group, images, pixels = [], 0, 0
    if group:
        yield group


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
            yield UnreadableInput(str(number), 0, 0.0, error.reason, error.detail)
        else:
            yield SourceImage(str(number), media.Frame(pixels, 0, 0.0), video=False)
