"""Cameras, and films that are read at their own pace.

Cameras are opened with FFmpeg's devices (PyAV): ``v4l2`` on Linux, ``avfoundation`` on macOS, ``dshow`` on
Windows.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from maeface import checks
from maeface.errors import ConfigError, ResourceError
from maeface.faces import media
from maeface.faces.media import Frame
from maeface.faces.picture import convert_frame

_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
_DEVICES = ("v4l2", "avfoundation", "dshow", "x11grab", "gdigrab", "lavfi")
_RETRY_S = 0.002  # until a camera that has no new frame is asked again


def read_camera(camera: str, size: str = "", fps: float | None = None) -> Iterator[Frame]:
    """Return the frames of a camera as they come, without end; their times begin at 0.

    The camera is opened when the first frame is asked for.

    Args:
        camera: its number from 0 on (Linux, macOS), its file (Linux: "/dev/video2") or its name (macOS;
            Windows: "video=Integrated Camera"); or one of FFmpeg's devices and what it opens, such as
            "x11grab::0.0", "lavfi:testsrc".
        size: "640x480"; "": what the camera offers first.
        fps: frames per second; None: what the camera offers first.

    Raises:
        ConfigError: a wrong ``size``, a file instead of a camera, or on Windows, a number instead of a name.
        ResourceError: there is no such camera, or (at a frame) it cannot be opened, or stops.
    """
    if size and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", size):
        raise ConfigError(
            f"{checks.name_of('camera_size')} is {size!r}; expected WIDTHxHEIGHT in pixels, such as 1280x720"
        )
    device, name = _locate(camera)
    if device == "v4l2" and not Path(name).is_char_device():
        if Path(name).exists():
            raise ConfigError(f"{name} is no camera; a film needs {checks.name_of('realtime')} too")
        there = ", ".join(map(str, sorted(Path(os.sep, "dev").glob("video*"))))
        raise ResourceError(f"there is no camera {camera} ({name}); this machine has {there or 'none'}")
    return _read(camera, device, name, size, fps)


def _read(camera: str, device: str, name: str, size: str, fps: float | None) -> Iterator[Frame]:
    options = {"video_size": size} if size else {}
    if fps is not None:
        options["framerate"] = f"{fps:g}"
    try:
        container = av.open(name, format=device, options=options)
    except (av.FFmpegError, ValueError, OSError) as error:
        text = getattr(error, "strerror", None) or str(error)
        wish = f" with {size or 'any size'}, {f'{fps:g}' if fps else 'any'} frames/s" if options else ""
        raise ResourceError(
            f"the camera {camera} cannot be opened{wish} ({device}: {text}); check its name, that no other "
            "program uses it, and that this user may read it"
        ) from error
    with container:
        frames = _decode(container, camera)
        yield from pace(frames) if device == "lavfi" else frames


def read_film(film: Path) -> Iterator[Frame]:
    """Yield the frames of a film that can be decoded, as fast as they are taken; see ``pace``.

    Raises:
        MediaError: the film cannot be read.
    """
    return (one for one in media.read_frames(film) if isinstance(one, Frame))


def pace(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Yield frames not before their times, counted from when the first one is there, as a camera would.

    A late frame comes at once.
    """
    start: float | None = None
    never = threading.Event()  # ``Event.wait`` is more precise than ``time.sleep`` on some systems
    for one in frames:
        if start is None:
            start = time.monotonic() - one.time_s
        never.wait(max(0.0, start + one.time_s - time.monotonic()))
        yield one


def _locate(camera: str) -> tuple[str, str]:
    """Return the device format of FFmpeg, and the name of a camera in it."""
    device, _, name = camera.partition(":")
    if name and device in _DEVICES:
        return device, name
    device = _FORMATS.get(sys.platform, "v4l2")
    if camera.isdecimal() and device == "v4l2":
        return device, str(Path(os.sep, "dev", f"video{camera}"))
    if camera.isdecimal() and device == "dshow":
        raise ConfigError(f"cameras have no numbers on Windows; name it instead of {camera}: video=NAME")
    return device, camera


def _decode(container: Any, camera: str) -> Iterator[Frame]:  # noqa: ANN401 - PyAV has no types
    if not container.streams.video:
        raise ResourceError(f"the camera {camera} has no pictures")
    stream = container.streams.video[0]
    reformatter = VideoReformatter()
    count, zero, last = 0, None, -1.0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            return
        except (BlockingIOError, av.error.InvalidDataError):  # no new frame yet; a damaged one
            time.sleep(_RETRY_S)
            packets = container.demux(stream)
            continue
        except (av.FFmpegError, OSError) as error:
            raise ResourceError(f"the camera {camera} stopped after {count} frames: {error}") from error
        for frame in frames:
            now = time.monotonic() if frame.time is None else frame.time
            zero = now if zero is None else zero
            rgb = convert_frame(frame, stream.sample_aspect_ratio or Fraction(1), reformatter)
            if rgb is None:
                continue
            last = max(now - zero, last + 1e-6)  # a clock that was set back
            yield Frame(rgb, count, last)
            count += 1
