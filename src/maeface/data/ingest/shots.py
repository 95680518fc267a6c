"""Inputs to images, one by one: photos, and frames of videos. What cannot be read is told and counted."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from maeface import checks, console
from maeface.data.ingest import memory
from maeface.data.ingest.inputs import Input, find, say_unused
from maeface.errors import DataError
from maeface.faces import media

Images = Path | str | memory.InMemory

SKIPS_SHOWN = 20


class Shot(NamedTuple):
    """A photo, or a frame of a video: its ``input`` in the table, and the pixels."""

    name: str
    frame: media.Frame
    video: bool


class Unread(NamedTuple):
    """An input that cannot be read, or not to its end.

    Attributes:
        name: its ``input`` in the table.
        frame: the frame that is the first to be missing; 0 for a photo.
        time_s: of the last frame that was read; 0 where none was.
        reason: one word, as in the ``status`` of a manifest.
    """

    name: str
    frame: int
    time_s: float
    reason: str


@dataclass
class Skipped:
    """Inputs that could not be read, by reason; each is told in a line, up to twenty."""

    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, error: media.MediaError) -> None:
        """Count an input and say why it is skipped."""
        self.reasons[error.reason] += 1
        if self.reasons.total() <= SKIPS_SHOWN:
            console.note(f"skipped {name}: {error}")
        elif self.reasons.total() == SKIPS_SHOWN + 1:
            console.note("further skipped inputs are only counted")

    def __str__(self) -> str:
        """``3 truncated, 1 not_an_image``."""
        return ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())


def read(
    found: Sequence[Input],
    every: int = 1,
    fps: float | None = None,
    skipped: Skipped | None = None,
    advance: Callable[..., None] = lambda n: None,
) -> Iterator[Shot | Unread]:
    """Yield the photos and frames of some inputs, in order.

    What cannot be read is put into ``skipped``, and an ``Unread`` stands in its place.

    Raises:
        MediaError: an input cannot be read, and there is no ``skipped``.
    """
    for item in found:
        last, time_s = -1, 0.0
        try:
            if item.video:
                for frame in media.read_frames(Path(item.path), every, fps):
                    last, time_s = frame.index, frame.time_s
                    yield Shot(item.source, frame, video=True)
            else:
                frame = media.Frame(media.read_image(Path(item.path)), 0, 0.0)
                yield Shot(item.source, frame, video=False)
        except media.MediaError as error:
            if skipped is None:
                raise
            skipped.add(item.source, error)
            yield Unread(item.source, last + 1, time_s, error.reason)
        advance(1)


def batches(source: Iterable[Shot | Unread], images: int, pixels: int) -> Iterator[list[Shot | Unread]]:
    """Cut shots into groups, in their order.

    Args:
        source: the shots.
        images: no group has more than this.
        pixels: a group ends with the image by which it has this many.
    """
    group: list[Shot | Unread] = []
    size = 0
    for shot in source:
        group.append(shot)
        size += shot.frame.rgb.size // 3 if isinstance(shot, Shot) else 0
        if len(group) >= images or size >= pixels:
            yield group
            group, size = [], 0
    if group:
        yield group


def of(
    images: Images | Iterable[Images], every: int = 1, fps: float | None = None
) -> Iterator[Shot | Unread]:
    """Return the shots of whatever a caller has: first those of files, by name, then images in memory.

    Args:
        images: one or several of: paths of photos, videos and folders; images in memory, as
            ``memory.EXPECTED`` says.
        every: of a video, take every n-th frame.
        fps: of a video, take at most so many frames a second instead.

    Raises:
        ConfigError: no such file, or a choice of frames that means nothing.
        DataError: no image, or something that is none. While the shots are taken: no input could be read.
    """
    checks.sampling(every, fps)
    try:
        given: list[object] = [images] if memory.is_one(images) else list(images)  # type: ignore[arg-type]
    except TypeError:
        given = [images]
    if not given:
        raise DataError(f"no image was given; {memory.EXPECTED}")
    memory.all_checked(given)
    paths = [Path(os.fspath(image)) for image in given if isinstance(image, (str, os.PathLike))]
    files = find(paths) if paths else []
    say_unused(files, every, fps)
    return _all(files, dict(enumerate(given)), every, fps)


def _all(
    files: Sequence[Input], given: Mapping[int, object], every: int, fps: float | None
) -> Iterator[Shot | Unread]:
    skipped = Skipped()
    count = some = 0
    for shots in (read(files, every, fps, skipped), _in_memory(given, skipped)):
        for shot in shots:
            some += isinstance(shot, Shot)
            yield shot
    if not some:
        count = skipped.reasons.total()
        raise DataError(f"none of {count} inputs could be read: {skipped}")


def _in_memory(given: Mapping[int, object], skipped: Skipped) -> Iterator[Shot | Unread]:
    for number, image in given.items():
        if memory.is_path(image):
            continue
        try:
            pixels = memory.pixels(number, image)
        except media.MediaError as error:
            skipped.add(str(number), error)
            yield Unread(str(number), 0, 0.0, error.reason)
        else:
            yield Shot(str(number), media.Frame(pixels, 0, 0.0), video=False)
