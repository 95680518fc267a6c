"""Segments of a video: parts that are read one by one, on several cores or after an interruption.

A segment begins at a key frame or soon after, so that reading begins there, and with the first frame of a
block (``timestamps.block_of``), so that what works block by block gives the same as for the whole film.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from maeface.data.ingest.inputs import Input
from maeface.faces import media
from maeface.faces.timestamps import Spans, block_of
from maeface.faces.video_index import VideoIndex, write_index

SEGMENT_S = 10.0
"""Least duration of a segment in seconds."""


def cut_film(film: Input, index_file: Path, advance: Callable[[], None] = lambda: None) -> list[Input]:
    """Return the segments of a film, in order, after writing its index for those who read them.

    Args:
        film: a whole film.
        index_file: where the index is written, if there are segments; see ``video_index.read_index``.
        advance: called while the film is read, to show that there is progress.

    Returns:
        no segments if the film is short or has no index.
    """
    try:
        index = media.index_video(Path(film.path), advance)
    except media.MediaError:  # its row will say why
        return []
    segments = cut_into_segments(index)
    if index is None or len(segments) < 2:
        return []
    write_index(index, index_file)
    return [film._replace(frames=spans) for spans in segments]


def cut_into_segments(index: VideoIndex | None) -> list[Spans]:
    """Return the segments of a film, in order. They depend on the film alone, and hold each frame once.

    A segment begins with the first block at or after a key frame that leaves ``SEGMENT_S`` before and after.

    Args:
        index: of the film; None if it has none.

    Returns:
        The ``spans`` of ``media.read_frames`` for each segment: one [start, stop) span of frames, or () for a
        film that is one segment: without an index, or shorter than two segments.
    """
    if index is None or not len(index):
        return [()]
    times = index.times_s.tolist()
    blocks = [block_of(time_s) for time_s in times]
    end_s = times[-1] + (times[-1] - times[0]) / max(len(times) - 1, 1)
    starts = [0]
    frame = 0
    for key in index.key_frames.tolist():
        if key < frame:
            continue
        frame = next((k for k in range(max(key, 1), len(blocks)) if blocks[k] > blocks[k - 1]), len(blocks))
        if frame == len(blocks):
            break
        if times[frame] - times[starts[-1]] >= SEGMENT_S <= end_s - times[frame]:
            starts.append(frame)
    if len(starts) == 1:
        return [()]
    return [((start, stop),) for start, stop in pairwise([*starts, len(times)])]
