"""The picture that a player shows for a video frame: deinterlaced, in RGB, with square pixels, upright."""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

MAX_PIXELS = 100_000_000
_HD_HEIGHT = 720
_MAX_PIXEL_ASPECT = 5
# Values of ITU-T H.273, as in FFmpeg's AVColorSpace, AVColorTransferCharacteristic, AVColorPrimaries.
_BT709, _UNTAGGED, _PQ, _HLG, _BT2020 = 1, 2, 16, 18, 9
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # AVColorSpace to the numbers of swscale (SWS_CS)
_FULL_RANGE = 2
_REFERENCE_WHITE = 203.0  # cd/m2, ITU-R BT.2408
_PEAK = 1000.0 / _REFERENCE_WHITE
_KNEE = 0.3  # up to which light is not compressed; FFmpeg's default for the curve "mobius"
_TO_BT709 = np.array(  # linear RGB of BT.2020 to BT.709; ITU-R BT.2407, section 2
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


Other = TypeVar("Other")


@dataclass(frozen=True)
class DecodedFrame:
    """A frame as the decoder returns it, with its number and its time in seconds."""

    frame: Any
    index: int
    time_s: float


def deinterlace(frames: Iterator[DecodedFrame | Other]) -> Iterator[DecodedFrame | Other]:
    """Yield the frames with the lines of both their moments made one picture.

    Frames are untouched up to the first that is flagged as interlaced, and so are all that are not flagged.
    FFmpeg's filter ``bwdif`` interpolates one of the two fields, from the frames before and after too. What
    is no frame stays in its place, and the frames before and after it are not used together.
    """
    graph: _Deinterlacer | None = None
    for one in frames:
        if not isinstance(one, DecodedFrame):
            if graph is not None:
                yield from graph.flush()
                graph = None
            yield one
            continue
        layout = (one.frame.width, one.frame.height, one.frame.format.name)
        if graph is not None and graph.layout != layout:
            yield from graph.flush()
            graph = None
        if graph is None and one.frame.interlaced_frame:
            graph = _Deinterlacer(layout, one.frame)
        if graph is None:
            yield one
        else:
            yield from graph.push(one)
    if graph is not None:
        yield from graph.flush()


class _Deinterlacer:
    """A filter graph for frames of one size and format; each frame comes out one frame later."""

    def __init__(self, layout: tuple[int, int, str], frame: Any) -> None:  # noqa: ANN401 - PyAV has no types
        self.layout = layout
        self._waiting: deque[DecodedFrame] = deque()
        self._works = True
        try:
            graph = Graph()
            self._source = graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base or Fraction(1, 25),
            )
            bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
            self._sink = graph.add("buffersink")
            graph.link_nodes(self._source, bwdif, self._sink)
            graph.configure()
            self._graph = graph
        except (av.FFmpegError, ValueError):  # such as a picture of a few lines
            self._works = False

    def push(self, one: DecodedFrame) -> Iterator[DecodedFrame]:
        """Add a frame, and yield those that are complete."""
        self._waiting.append(one)
        yield from self._pull(one.frame)

    def flush(self) -> Iterator[DecodedFrame]:
        """Yield the frames that are left."""
        yield from self._pull(None)
        while self._waiting:
            yield self._waiting.popleft()

    def _pull(self, frame: Any) -> Iterator[DecodedFrame]:  # noqa: ANN401
        pictures = []
        if self._works:
            try:
                self._source.push(frame)
                while True:
                    pictures.append(self._sink.pull())
            except (BlockingIOError, EOFError):
                pass
            except (av.FFmpegError, ValueError):
                self._works = False
        for picture in pictures[: len(self._waiting)]:
            one = self._waiting.popleft()
            yield DecodedFrame(picture if one.frame.interlaced_frame else one.frame, one.index, one.time_s)
        while not self._works and self._waiting:
            yield self._waiting.popleft()


def convert_frame(
    frame: Any,  # noqa: ANN401
    pixel_aspect: Fraction | None,
    reformatter: VideoReformatter | None = None,
) -> NDArray[np.uint8] | None:
    """Convert a frame to (H, W, 3) RGB uint8 as a player shows it.

    Pixels become square: the shorter side is enlarged (bicubic). Frames without a tag are BT.709 from 720
    lines on, otherwise BT.601. HDR (PQ, HLG) becomes SDR. The display matrix is applied.

    Args:
        frame: a decoded frame.
        pixel_aspect: width by height of a stored pixel; None if unknown.
        reformatter: keeps what it has set up for the frames of a film: setting it up takes ten times as long
            as converting a frame. None: a new one.

    Returns:
        None if the frame is too large or cannot be converted.
    """
    width, height = _square_size(frame.width, frame.height, pixel_aspect)
    if width * height > MAX_PIXELS:
        return None
    reformatter = reformatter or VideoReformatter()
    settings: dict[str, Any] = {}
    if (width, height) != (frame.width, frame.height):
        settings = {"width": width, "height": height, "interpolation": "BICUBIC"}
    matrix = int(frame.colorspace)
    if matrix == _UNTAGGED and frame.height >= _HD_HEIGHT:
        settings["src_colorspace"] = _BT709
    elif matrix in _MATRICES:
        settings["src_colorspace"] = _MATRICES[matrix]
    if int(frame.color_range) == _FULL_RANGE:
        settings["src_color_range"] = "JPEG"
    if settings:
        settings["dst_colorspace"] = "DEFAULT"  # PyAV 15 and 16 convert only between different ones
    try:
        if _tag(frame, "color_trc") in (_PQ, _HLG):
            wide: Any = reformatter.reformat(frame, format="rgb48le", **settings).to_ndarray()
            pixels = _to_sdr(wide, frame)
        else:
            narrow: Any = reformatter.reformat(frame, format="rgb24", **settings).to_ndarray()
            pixels = narrow
    except (av.FFmpegError, ValueError):
        return None
    return np.ascontiguousarray(_apply_display_matrix(pixels, frame))


def _square_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    if not pixel_aspect or not 1 / _MAX_PIXEL_ASPECT <= pixel_aspect <= _MAX_PIXEL_ASPECT:
        return width, height
    if pixel_aspect > 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


def _apply_display_matrix(pixels: NDArray[np.uint8], frame: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    """Turn and mirror a picture; x' = a x + c y and y' = b x + d y, rounded to a multiple of 90 degrees."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None or len(bytes(data)) != 36:
        return pixels
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        left, up = a < 0, d < 0
    else:
        pixels = pixels.transpose(1, 0, 2)
        left, up = c < 0, b < 0
    return pixels[:: -1 if up else 1, :: -1 if left else 1]


def _tag(frame: Any, name: str) -> int:  # noqa: ANN401
    return int(getattr(frame, name, _UNTAGGED))  # PyAV 15 and 16 do not have them


def _to_sdr(pixels: NDArray[np.uint16], frame: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    """Convert RGB of PQ or HLG (ITU-R BT.2100) to sRGB; bright light is compressed as by FFmpeg's mobius."""
    transfer = _tag(frame, "color_trc")
    light = _linear(transfer)[pixels]
    if transfer == _HLG:  # from the light of the scene to that of a display of 1000 cd/m2
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= _PEAK * np.power(luminance, 0.2, out=luminance)[..., None]
    if _tag(frame, "color_primaries") in (_UNTAGGED, _BT2020):
        light = np.maximum(light @ _TO_BT709.T, 0)
    brightest = np.clip(light.max(-1, keepdims=True), 1e-6, _PEAK)
    a = -_KNEE * _KNEE * (_PEAK - 1) / (_KNEE * _KNEE - 2 * _KNEE + _PEAK)
    b = (_KNEE * _KNEE - 2 * _KNEE * _PEAK + _PEAK) / (_PEAK - 1)
    scale = (b * b + 2 * b * _KNEE + _KNEE * _KNEE) / (b - a)
    mapped = np.where(brightest <= _KNEE, brightest, scale * (brightest + a) / (brightest + b))
    light = np.clip(light * (mapped / brightest), 0, 1)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * srgb), np.uint8)


@cache
def _linear(transfer: int) -> NDArray[np.float32]:
    """Return the light of each 16-bit value: HLG of the scene, 0 to 1; PQ in multiples of reference white."""
    signal = np.arange(65536) / 65535
    if transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal * signal / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = signal ** (1 / m2)
        light = 10_000 / _REFERENCE_WHITE * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return light.astype(np.float32)
