"""Track numbers: the people of a film, in the rows of its faces."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from maeface.faces.tracking import DESCRIPTOR_SIZE, Tracker
from maeface.prediction.columns import BOX
from maeface.prediction.rows import DESCRIPTOR, FOLLOWED, HIDDEN, array_numbers, number_array

ABSENT = "absent"
"""The ``status`` of a frame without the one person that was asked for, if it has other faces."""


def number_tracks(
    pieces: Iterable[pa.Table], keep: int | None = None, seen: set[int] | None = None
) -> Iterator[pa.Table]:
    """Yield rows with ``track`` set in those of films, and without the hidden columns.

    Args:
        pieces: rows of ``rows.rows_of``, input by input, and of a film in order of time; whole frames.
        keep: the only track of each film to keep; frames without it have one row, of status ``ABSENT`` or
            ``no_face``. None: keep all.
        seen: gets the tracks that are there, whether they are kept or not.
    """
    seen = set() if seen is None else seen
    name, numbers = None, _TrackNumbers(keep, seen)
    for rows in pieces:
        if _has_no_followed_face(rows):
            yield rows.drop_columns(list(HIDDEN))
            continue
        names = rows["input"].to_pylist()
        ends = [k for k in range(1, len(names)) if names[k] != names[k - 1]] + [len(names)]
        for start, stop in zip([0, *ends[:-1]], ends, strict=True):
            if start == stop:
                continue
            if names[start] != name:
                name, numbers = names[start], _TrackNumbers(keep, seen)
            yield numbers(rows.slice(start, stop - start))


def _has_no_followed_face(rows: pa.Table) -> bool:
    """Return whether no row is of a face that is followed."""
    return all(one is None or one < 0 for one in rows[FOLLOWED].to_pylist())


class _TrackNumbers:
    """Sets ``track`` in the rows of one film, which come piece by piece in order of time.

    A face that is followed from frame to frame within a block keeps its number. The tracker decides in the
    frames whose faces have descriptors: the first of each block with faces, and those with new faces.
    """

    def __init__(self, keep: int | None, seen: set[int]) -> None:
        self._keep, self._seen = keep, seen
        self._tracker = Tracker()
        self._numbers: dict[int, int] = {}  # by the number within the block
        self._time_s = -np.inf

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return rows, which hold whole frames, with their tracks and without the hidden columns."""
        followed = np.array([-1 if one is None else one for one in rows[FOLLOWED].to_pylist()])
        looks = rows[DESCRIPTOR].to_pylist()
        boxes = np.stack([array_numbers(rows[name]) for name in BOX], axis=1)
        times = array_numbers(rows["time_s"])
        tracks = np.full(len(rows), -1, np.int32)
        for start, stop in _frames(array_numbers(rows["frame"])):
            if followed[start] >= 0:
                frame = slice(start, stop)
                tracks[frame] = self._number(times[start], followed[frame], looks[frame], boxes[frame])
        self._seen.update(tracks[tracks >= 0].tolist())
        column = number_array(tracks, tracks >= 0)
        rows = rows.drop_columns(list(HIDDEN))
        rows = rows.set_column(rows.schema.get_field_index("track"), rows.schema.field("track"), column)
        if self._keep is None:
            return rows
        return _keep_track(rows, (tracks == self._keep) | (followed < 0))

    def _number(
        self,
        time_s: float,
        followed: NDArray[np.int64],
        looks: list[bytes | None],
        boxes: NDArray[np.float32],
    ) -> list[int]:
        known = [np.frombuffer(look, "<f2", DESCRIPTOR_SIZE) for look in looks if look is not None]
        if known:  # then all faces have one
            self._time_s = max(self._time_s, time_s)  # segments of a damaged film may overlap
            numbers = self._tracker.update(self._time_s, boxes, np.stack(known))
            self._numbers = {int(one): int(number) for one, number in zip(followed, numbers, strict=True)}
        return [self._numbers[int(one)] for one in followed]


def _frames(numbers: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield first row and end of each frame."""
    ends = [*(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)] if len(numbers) else []
    yield from zip([0, *ends[:-1]], ends, strict=True) if ends else ()


def _keep_track(rows: pa.Table, keep: NDArray[np.bool_]) -> pa.Table:
    """Return the rows to keep, and a row without a face for each frame without one."""
    chosen: list[int] = []
    is_kept: list[bool] = []
    for start, stop in _frames(array_numbers(rows["frame"])):
        kept = (np.flatnonzero(keep[start:stop]) + start).tolist()
        chosen += kept or [start]
        is_kept += [True] * len(kept) or [False]
    places = np.array(chosen, np.int64)
    every, faces = rows.take(number_array(places)), rows.take(number_array(places, is_kept))
    for name in ("input", "frame", "time_s"):
        faces = faces.set_column(faces.schema.get_field_index(name), faces.schema.field(name), every[name])
    for name, value in (("face", -1), ("status", ABSENT)):
        filled = pc.fill_null(faces[name], pa.scalar(value, faces.schema.field(name).type))
        faces = faces.set_column(faces.schema.get_field_index(name), faces.schema.field(name), filled)
    return faces
