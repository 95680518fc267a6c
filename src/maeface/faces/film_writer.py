"""Writing a copy of a film whose frames are drawn on, with the times and the sound of the film.

The file is an MP4 with H.264, or with MPEG-4 if this build of FFmpeg has no encoder for H.264. Its frames are
those of ``media.read_frames``: upright, with square pixels, one for each frame of the film, at the same time.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from maeface import checks, files
from maeface.errors import ConfigError, ResourceError
from maeface.faces import container as containers
from maeface.faces import media
from maeface.faces.numbering import TRUNCATED, MissingFrames
from maeface.faces.sound import Sound
from maeface.faces.timestamps import frame_period
from maeface.faces.video_index import VideoIndex

Draw = Callable[[NDArray[np.uint8], int, float, str], NDArray[np.uint8]]
"""``draw(rgb, number, time_s, reason)`` returns what is shown for a frame, (H, W, 3) uint8 of the same size.

Of a frame that is missing, ``rgb`` is the frame before it, and ``reason`` says why; otherwise it is "".
"""
_X264 = {"preset": "veryfast", "crf": "20"}
_MPEG4 = {"flags": "+qscale", "global_quality": str(118 * 3)}  # FF_QP2LAMBDA times the quantiser
_HD_HEIGHT = 720
_MAX_RATE = 65_535  # ticks per second that MPEG-4 allows


@dataclass(frozen=True)
class FilmSummary:
    """What was written.

    Attributes:
        out: the file.
        frames: number of its frames.
        missing: how many of them stand for frames that cannot be decoded.
        codec: of the pictures: "h264" or "mpeg4".
        sound: "copied", "encoded" (as AAC), or "" without sound.
    """

    out: Path
    frames: int
    missing: int
    codec: str
    sound: str

    def __str__(self) -> str:
        missing = f" ({self.missing} missing in the film)" if self.missing else ""
        return f"{self.out}: frames: {self.frames}{missing}; {self.codec}; sound: {self.sound or 'none'}"


def require_film_output(film: Path, out: Path) -> None:
    """Check that a copy of a film can be written.

    Raises:
        ConfigError: another extension than ``.mp4``, a folder, or the film itself.
        ResourceError: it cannot be written there.
    """
    checks.require_writable_file(out, "an annotated film", (".mp4",))
    if out.exists() and out.samefile(film):
        raise ConfigError(f"the annotated film would replace the film {film.name}; name another file")


def write_film(
    film: Path,
    out: Path,
    draw: Draw,
    advance: Callable[[int], object] = lambda n: None,
    threads: int = 1,
) -> FilmSummary:
    """Write a copy of a film with its frames drawn on, in one pass and with constant memory.

    A size that is odd is padded to an even one by repeating the last row or column. Frames of another size
    than the first one, which some films have, are fitted into it. Frames that cannot be decoded are there
    too; at a truncated end there is one.

    Args:
        film: a video.
        out: ``.mp4``; it appears when it is complete.
        draw: called for each frame in order.
        advance: called with 1 after each frame.
        threads: of the decoder and of the encoder.

    Raises:
        ConfigError: ``out`` is no ``.mp4`` file, or the film itself.
        MediaError: the film cannot be read.
        ResourceError: it cannot be written.
    """
    require_film_output(film, out)
    index = media.index_video(film)
    time_base, period = _clock_of(film)
    frames = missing = 0
    with files.atomic(out) as temporary, temporary.open("wb") as file, ExitStack() as stack:
        writer: _Writer | None = None
        decoded = media.read_frames(film, index=index, threads=threads)
        for rgb, number, time_s, reason in _shown(decoded, index, period):
            if writer is None:
                writer = stack.enter_context(_Writer(file, film, rgb.shape, time_base, period, threads))
            writer.add(draw(rgb, number, time_s, reason), time_s)
            frames, missing = frames + 1, missing + bool(reason)
            advance(1)
        assert writer is not None  # without a frame, reading raises
        writer.finish()
    return FilmSummary(out, frames, missing, writer.codec, writer.sound.kind)


def _clock_of(film: Path) -> tuple[Fraction, float]:
    """Return the time base of a film, and the usual duration of its frames in s."""
    with media.open_video(film) as (file, demuxer), containers.open_container(file, demuxer) as (_, stream):
        return Fraction(stream.time_base or Fraction(1, 90_000)), frame_period(stream)


def _shown(
    frames: Iterator[media.Frame | MissingFrames], index: VideoIndex | None, period: float
) -> Iterator[tuple[NDArray[np.uint8], int, float, str]]:
    """Yield the arguments of ``Draw`` for each frame; for missing ones the picture before, at first black."""
    waiting: list[MissingFrames] = []  # before the first picture
    picture: NDArray[np.uint8] | None = None
    for one in frames:
        if isinstance(one, MissingFrames):
            waiting.append(one)
        else:
            if picture is None:
                picture = np.zeros_like(one.rgb)
            for gap in waiting:
                yield from _fill(picture, gap, index, period)
            waiting.clear()
            picture = one.rgb
            yield picture, one.index, one.time_s, ""
    for gap in waiting:
        if picture is not None:
            yield from _fill(picture, gap, index, period)


def _fill(
    picture: NDArray[np.uint8], gap: MissingFrames, index: VideoIndex | None, period: float
) -> Iterator[tuple[NDArray[np.uint8], int, float, str]]:
    """Yield a picture for each missing frame."""
    for k in range(1 if gap.reason == TRUNCATED else max(gap.count, 1)):
        number = gap.index + k
        known = index is not None and number < len(index)
        time_s = float(index.times_s[number]) if index is not None and known else gap.time_s + k * period
        yield picture, number, time_s, gap.reason


class _Writer:
    """An open MP4; a context manager."""

    def __init__(
        self,
        file: BinaryIO,
        film: Path,
        shape: tuple[int, ...],
        time_base: Fraction,
        period: float,
        threads: int,
    ) -> None:
        self._height, self._width = shape[:2]
        self._time_base = time_base
        with _convert_errors(film), ExitStack() as stack:
            self._container = stack.enter_context(av.open(file, "w", format="mp4"))
            self._stream = _add_stream(self._container, shape, period, threads)
            self._stream.time_base = time_base
            self.sound = stack.enter_context(Sound(film, self._container))
            self._stack = stack.pop_all()
        self.codec = str(self._stream.codec_context.codec.canonical_name)
        self._duration = max(1, round(period / time_base))
        self._reformatter = VideoReformatter()
        self._stamps: deque[int] = deque()
        self._last, self._count = -1, 0
        self._film = film

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._stack.close()
            return
        with suppress(av.FFmpegError, OSError):  # the first error says it
            self._stack.close()

    def add(self, rgb: NDArray[np.uint8], time_s: float) -> None:
        """Add a frame."""
        rgb = _fit(rgb, self._height, self._width)
        if self._height % 2 or self._width % 2:
            rgb = np.pad(rgb, ((0, self._height % 2), (0, self._width % 2), (0, 0)), "edge")
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format="rgb24")
        matrix = Colorspace.ITU709 if self._height >= _HD_HEIGHT else Colorspace.ITU601
        frame = self._reformatter.reformat(frame, format="yuv420p", dst_colorspace=matrix)
        # The encoder counts frames, and there are no B-frames: its packets come in the order of the frames.
        frame.pts, frame.time_base = self._count, self._stream.codec_context.time_base
        self._count += 1
        self._last = max(round(time_s / self._time_base), self._last + 1)
        self._stamps.append(self._last)
        with _convert_errors(self._film):
            self._mux(self._stream.encode(frame))
            self.sound.copy_until(time_s)

    def finish(self) -> None:
        """Write what is left."""
        with _convert_errors(self._film):
            self._mux(self._stream.encode(None))
            self.sound.copy_until(float("inf"))

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.time_base = self._time_base
            packet.pts = packet.dts = self._stamps.popleft()
            packet.duration = self._duration
            self._container.mux(packet)


@contextmanager
def _convert_errors(film: Path) -> Iterator[None]:
    """Raise ResourceError for an error of FFmpeg that is not one of the disk."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise ResourceError(f"FFmpeg cannot write the annotated film of {film.name}: {error}") from error


def _add_stream(container: Any, shape: tuple[int, ...], period: float, threads: int) -> Any:  # noqa: ANN401
    """Add a stream of pictures of a shape (H, W, 3)."""
    rate = Fraction(1 / period).limit_denominator(1001)
    if max(rate.numerator, rate.denominator) > _MAX_RATE or rate <= 0:
        rate = Fraction(min(max(round(1 / period), 1), 1000))
    try:
        stream = container.add_stream("libx264", rate=rate, options=_X264)
    except (av.FFmpegError, ValueError):  # a build without it
        stream = container.add_stream("mpeg4", rate=rate, options=_MPEG4)
    stream.height, stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.max_b_frames = 0
    context.thread_count = threads
    context.time_base = 1 / rate
    tag = 1 if shape[0] >= _HD_HEIGHT else 6  # BT.709, BT.601 of 525 lines (ITU-T H.273)
    context.colorspace = context.color_primaries = context.color_trc = tag
    context.color_range = 1  # 16 to 235
    return stream


def _fit(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture of a size, with black bars where its sides have another ratio."""
    if rgb.shape[:2] == (height, width):
        return rgb
    scale = min(height / rgb.shape[0], width / rgb.shape[1])
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    fitted = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
    fitted[top : top + size[1], left : left + size[0]] = small[: height - top, : width - left]
    return fitted
