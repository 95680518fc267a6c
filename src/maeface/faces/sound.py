"""The sound of a film, copied into another one."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av

from maeface.faces import container as containers
from maeface.faces import media
from maeface.faces.timestamps import zero_of

COPIED = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
"""Codecs whose sound players find in an MP4; others become AAC."""
_BIT_RATE = 96_000  # of a channel
_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # that AAC has


@dataclass
class _Track:
    """A track of sound.

    Attributes:
        source: its stream in the film.
        target: its stream in the new file.
        encodes: whether it is encoded anew.
        last: timestamp of its last packet.
    """

    source: Any
    target: Any
    encodes: bool
    last: int | None = None


class Sound:
    """The sound of a film, read along with its pictures; a context manager.

    All tracks are kept. Sound that cannot be decoded is left out, and what is there keeps its time.

    Args:
        film: the file.
        target: an open container to write to.

    Attributes:
        kind: "copied"; "encoded" if a track had to be encoded as AAC; "" without sound.
    """

    def __init__(self, film: Path, target: Any) -> None:  # noqa: ANN401 - PyAV has no types
        self._target = target
        with ExitStack() as stack:
            file, demuxer = stack.enter_context(media.open_video(film))
            container, video = stack.enter_context(containers.open_container(file, demuxer))
            self._zero_s = zero_of(container, video)
            tracks = [_add_track(stream, target) for stream in container.streams.audio]
            self._tracks = {track.source.index: track for track in tracks if track is not None}
            sources = [track.source for track in self._tracks.values()]
            self._packets: Iterator[Any] = (
                containers.read_packets(container, sources) if sources else iter(())
            )
            self._stack = stack.pop_all()
        self._next: Any = None

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def kind(self) -> Literal["", "copied", "encoded"]:
        """See ``Sound``."""
        if not self._tracks:
            return ""
        return "encoded" if any(track.encodes for track in self._tracks.values()) else "copied"

    def copy_until(self, time_s: float) -> None:
        """Write the sound up to a time of the film in s; infinity: all, and the ends of encoders."""
        while True:
            if self._next is None:
                self._next = next((one for one in self._packets if one is not None and one.size), None)
            packet = self._next
            if packet is None:
                break
            if packet.dts is not None and packet.dts * packet.time_base - self._zero_s > time_s:
                return
            self._next = None
            self._write(self._tracks[packet.stream.index], packet)
        if time_s == float("inf"):
            for track in self._tracks.values():
                if track.encodes:
                    self._mux(track, track.target.encode(None))

    def _write(self, track: _Track, packet: Any) -> None:  # noqa: ANN401
        if track.encodes:
            try:
                frames = packet.decode()
            except av.FFmpegError:
                return
            for frame in frames:
                if frame.pts is not None:
                    frame.pts -= round(self._zero_s / frame.time_base)
                self._mux(track, track.target.encode(frame))
            return
        if packet.dts is None or packet.pts is None:
            return
        shift = round(self._zero_s / packet.time_base)
        packet.dts -= shift
        packet.pts -= shift
        packet.stream = track.target
        self._mux(track, [packet])

    def _mux(self, track: _Track, packets: list[Any]) -> None:
        """Write packets; those that go back in time, as in joined recordings, are left out."""
        for packet in packets:
            if packet.dts is None or (track.last is not None and packet.dts <= track.last):
                continue
            track.last = packet.dts
            self._target.mux(packet)


def _add_track(source: Any, target: Any) -> _Track | None:  # noqa: ANN401
    """Add a stream for a track of sound; None if it can neither be copied nor decoded."""
    context = source.codec_context
    if context is None:
        return None
    if context.codec.canonical_name in COPIED:
        return _Track(source, target.add_stream_from_template(source), encodes=False)
    if not context.sample_rate or not context.layout.nb_channels:
        return None
    channels = min(context.layout.nb_channels, 2)
    rate = next((rate for rate in _RATES if rate >= context.sample_rate), _RATES[-1])
    stream = target.add_stream("aac", rate=rate, layout="mono" if channels == 1 else "stereo")
    stream.bit_rate = _BIT_RATE * channels
    return _Track(source, stream, encodes=True)
