"""The table of a film, drawn over its frames."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts
from maeface.report.overlay import Bar, FaceMark, Overlay

POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_REASONS = {
    "damaged": "damaged: the frame before it is shown",
    "lost": "lost: the frame before it is shown",
    "truncated": "the file ends here, before its end",
}
_DOUBTFUL = "low_quality"


def trusted_aus(trust: Mapping[str, Mapping[str, Any]] | None, columns: Iterable[str]) -> list[int]:
    """Return the action units of a table that may be used, in ascending order.

    Args:
        trust: the entry ``trust`` of the table's record; None: nothing is known, and all are returned.
        columns: of the table.
    """
    numbers = sorted({column[0] for name in columns if (column := facts.au_column(name))})
    if trust is None:
        return numbers
    return [au for au in numbers if trust.get(facts.au_name(au), {}).get("use")]


class FilmOverlay:
    """Draws the rows of a table over the frames of their film; to be called for each frame in order.

    A frame without a row (``--every``, ``--fps``) has those of the last frame before it, and its caption
    says so.

    Args:
        rows: the rows of one film, whole or piece by piece, in order; read as they are needed.
        aus: the action units to show.
        thresholds: action unit -> probability from which it counts as present; 0.5 for others. Only for
            tables without a column of occurrence.
        titles: whether to write "AU12 Lip corner puller" and not only "AU12".
    """

    def __init__(
        self,
        rows: pd.DataFrame | Iterable[pd.DataFrame],
        aus: Sequence[int],
        thresholds: Mapping[int, float] | None = None,
        titles: bool = False,
    ) -> None:
        pieces = [rows] if isinstance(rows, pd.DataFrame) else rows
        self._frames = _read(pieces, aus, thresholds or {}, titles)
        self._next = next(self._frames, None)
        self._rows = _Rows(-1, "", [])
        self._overlay = Overlay()

    def __call__(
        self, rgb: NDArray[np.uint8], index: int, time_s: float, reason: str = ""
    ) -> NDArray[np.uint8]:
        """Return a copy of a frame with its rows drawn over it.

        Args:
            rgb: (H, W, 3) uint8; of a missing frame, what is shown for it.
            index: number of the frame.
            time_s: its time in s.
            reason: why the frame is missing ("damaged", "lost", "truncated"); "" if it is there.
        """
        while self._next is not None and self._next.frame <= index:
            self._rows, self._next = self._next, next(self._frames, None)
        caption = f"{format_time(time_s)}  frame {index}"
        if reason:
            warning = f"frame {index} {_REASONS.get(reason, reason)}"
            return self._overlay.draw(rgb, [], caption, warning)
        rows = self._rows
        if rows.frame < 0:
            return self._overlay.draw(rgb, [], caption)
        if not rows.faces:
            caption += "  no face" if rows.status == "no_face" else f"  {rows.status}"
        if rows.frame < index:
            caption += f"  (values of frame {rows.frame})"
        return self._overlay.draw(rgb, rows.faces, caption)


def format_time(time_s: float) -> str:
    """Return a time as hours, minutes, seconds and milliseconds: ``3723.5 -> "1:02:03.500"``."""
    ms = round(time_s * 1000)
    return f"{ms // 3_600_000}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


class _Rows(NamedTuple):
    """The rows of a frame."""

    frame: int
    status: str
    faces: list[FaceMark]


def _read(
    pieces: Iterable[pd.DataFrame], aus: Sequence[int], thresholds: Mapping[int, float], titles: bool
) -> Iterator[_Rows]:
    """Yield the rows of each frame; the frames of a table that is cut anywhere are whole."""
    rows = (row for piece in pieces for row in _read_piece(piece, aus, thresholds, titles))
    for frame, group in groupby(rows, key=itemgetter(0)):
        found = list(group)
        yield _Rows(frame, found[0][1], [mark for _, _, mark in found if mark is not None])


def _read_piece(
    piece: pd.DataFrame, aus: Sequence[int], thresholds: Mapping[int, float], titles: bool
) -> Iterator[tuple[int, str, FaceMark | None]]:
    """Yield frame, status and face of each row."""
    boxes = _numbers(piece, ("x1", "y1", "x2", "y2"))
    points = _numbers(piece, [f"{name}_{axis}" for name in POINTS for axis in "xy"]).reshape(-1, 5, 2)
    tracks = _numbers(piece, ("track",))[:, 0]
    readers = [(au, *_values(piece, au, thresholds.get(au, 0.5))) for au in aus]
    labels = [facts.au_title(au) if titles else facts.au_name(au) for au in aus]
    places = zip(piece["frame"].tolist(), piece["status"].tolist(), piece["face"].tolist(), strict=True)
    for k, (frame, status, face) in enumerate(places):
        if face < 0 or not np.isfinite(boxes[k]).all():
            yield int(frame), str(status), None
            continue
        bars = [
            Bar(label, values[k] / scale, threshold, bool(present[k]), _format(values[k], scale))
            for label, (_, values, present, scale, threshold) in zip(labels, readers, strict=True)
        ]
        track = int(tracks[k]) if np.isfinite(tracks[k]) else None
        known = points[k] if np.isfinite(points[k]).all() else None
        yield int(frame), str(status), FaceMark(boxes[k], track, known, bars, status == _DOUBTFUL)


def _values(
    piece: pd.DataFrame, au: int, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_], float, float]:
    """Return the values of an action unit, whether it is present, the highest value and the threshold / it.

    The values are intensities where the table has them, otherwise probabilities.
    """
    name = facts.au_name(au)
    occurrence, probability, intensity = _numbers(piece, (name, f"{name}_p", f"{name}_i")).T
    has_intensity = f"{name}_i" in piece.columns
    if name in piece.columns:
        present = occurrence > 0
    else:
        present = probability >= threshold if f"{name}_p" in piece.columns else intensity >= 1
    if has_intensity:
        return intensity, present, facts.INTENSITY_MAX, 1 / facts.INTENSITY_MAX
    return probability, present, 1.0, threshold


def _format(value: float, scale: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.2f}" if scale == 1 else f"{value:.1f}"


def _numbers(piece: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """Return columns as numbers (N, K); NaN where one is missing."""
    columns = [
        pd.to_numeric(piece[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if name in piece.columns
        else np.full(len(piece), np.nan)
        for name in names
    ]
    return np.stack(columns, axis=1)
