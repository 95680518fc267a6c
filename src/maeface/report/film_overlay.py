"""The table of a film, drawn over its frames."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface.report.au_bars import bars_of
from maeface.report.overlay import FaceMark, Overlay

_BOX = ("x1", "y1", "x2", "y2")
_POINTS = tuple(
    f"{name}_{axis}"
    for name in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    for axis in "xy"
)
_REASONS = {
    "damaged": "is damaged: the one before it is shown",
    "lost": "is lost: the one before it is shown",
    "truncated": "and all after it are missing: the file is not complete",
}


class FilmOverlay:
    """Draws the rows of a table over the frames of their film; to be called for each frame in order.

    A frame without a row (``--every``, ``--fps``) has those of the last frame before it, and its caption
    says so.

    Args:
        rows: the rows of one film, whole or piece by piece, in order; read as they are needed.
        aus: the action units to show.
        thresholds: action unit -> probability from which it counts as present; see ``au_bars.bars_of``.
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
        self._aus, self._thresholds, self._titles = aus, thresholds, titles
        self._frames = _read_frames(pieces)
        self._next = next(self._frames, None)
        self._now: _Rows | None = None
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
            self._now, self._next = self._next, next(self._frames, None)
        caption = f"{format_time(time_s)}  frame {index}"
        if reason:
            warning = f"frame {index} {_REASONS.get(reason, reason)}"
            return self._overlay.draw(rgb, [], caption, warning)
        if self._now is None:
            return self._overlay.draw(rgb, [], caption)
        faces = [self._mark(row) for row in self._now.rows if row["face"] >= 0]
        if not faces:
            caption += f"  {self._now.rows[0]['status']}".replace("_", " ")
        if self._now.frame < index:
            caption += f"  (values of frame {self._now.frame})"
        return self._overlay.draw(rgb, faces, caption)

    def _mark(self, row: Mapping[str, Any]) -> FaceMark:
        track = row.get("track")
        points = np.array([row.get(name, np.nan) for name in _POINTS], float).reshape(5, 2)
        return FaceMark(
            [row[name] for name in _BOX],
            None if pd.isna(track) else int(track),
            points if np.isfinite(points).all() else None,
            bars_of(row, self._aus, self._thresholds, self._titles),
            doubtful=row["status"] == "low_quality",
        )


def format_time(time_s: float) -> str:
    """Return a time as hours, minutes, seconds and milliseconds: ``3723.5 -> "1:02:03.500"``."""
    ms = round(time_s * 1000)
    return f"{ms // 3_600_000}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


class _Rows(NamedTuple):
    """The rows of a frame."""

    frame: int
    rows: list[dict[str, Any]]


def _read_frames(pieces: Iterable[pd.DataFrame]) -> Iterator[_Rows]:
    """Yield the rows of each frame, whole, wherever the table is cut."""
    rows = (row for piece in pieces for row in _read_piece(piece))
    for frame, group in groupby(rows, key=lambda row: int(row["frame"])):
        yield _Rows(frame, list(group))


def _read_piece(piece: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table, a few at a time: as dicts they need much memory."""
    for start in range(0, len(piece), 256):
        for row in piece.iloc[start : start + 256].to_dict("records"):
            yield {str(name): value for name, value in row.items()}
