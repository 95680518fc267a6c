"""Predictions as plain objects: frames, their faces, and the action units of each face."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from maeface.prediction.columns import BOX, POINTS, QUALITY, is_occurrence

if TYPE_CHECKING:
    import pandas as pd


Progress = Callable[[int, int | None], None]
"""Called with the number of images that are done, and the number of all; None if that is not known."""


@dataclass(frozen=True)
class ActionUnit:
    """An action unit of a face.

    Attributes:
        present: whether it occurs, by the threshold of the weights.
        probability: of occurrence, 0 to 1; None if the weights have learned intensities only.
        intensity: 0 to 5; None if the weights have learned occurrence only.
        left, right: intensities of the subject's sides, 0 to 5; None without ``sides``, of an action unit
            without them, and where a side cannot be seen.
    """

    present: bool
    probability: float | None = None
    intensity: float | None = None
    left: float | None = None
    right: float | None = None

    def __repr__(self) -> str:
        parts = [
            "present" if self.present else "absent",
            *([] if self.probability is None else [f"p={self.probability:.2f}"]),
            *([] if self.intensity is None else [f"i={self.intensity:.1f}"]),
        ]
        return f"<{' '.join(parts)}>"


@dataclass(frozen=True)
class FaceResult:
    """A face of a photo or frame; all in px of it.

    Attributes:
        box: x1, y1, x2, y2.
        score: of the detector, 0 to 1; NaN for a ready crop.
        status: "ok" or "low_quality".
        track: number of the person in a video; None in a photo.
        landmarks: (5, 2): left eye, right eye, nose, corners of the mouth; left is left in the picture.
        quality: {column of the table: value}: ``yaw``, ``pitch``, ``roll`` (degrees), ``sharpness``, ...
        aus: {"AU12": its prediction}.
    """

    box: tuple[float, float, float, float]
    score: float
    status: str
    track: int | None
    landmarks: NDArray[np.float32] = field(repr=False)
    quality: dict[str, float] = field(repr=False)
    aus: dict[str, ActionUnit]

    def __repr__(self) -> str:
        x1, y1, x2, y2 = self.box
        present = [f"{name}={one!r}" for name, one in self.aus.items() if one.present]
        who = "" if self.track is None else f"track={self.track}, "
        place = f"{x2 - x1:.0f}x{y2 - y1:.0f} px at {x1:.0f}, {y1:.0f}"
        aus = ", ".join(present) or "no AU"
        return f"FaceResult({who}{place}, {self.status}, score={self.score:.2f}, {aus})"


@dataclass(frozen=True)
class FrameResult:
    """A photo, or a frame of a video.

    Attributes:
        input: its name in the table.
        frame: number of the frame; 0 for a photo.
        time_s: presentation time in seconds; 0 for a photo.
        status: "ok", "no_face", or the reason why there is no picture ("damaged", "not_an_image", ...).
        faces: best score first.
    """

    input: str
    frame: int
    time_s: float
    status: str
    faces: tuple[FaceResult, ...] = ()


class VideoResult:
    """The frames of a video, predicted while they are iterated over.

    A second iteration does not predict again. ``to_pandas`` returns the table that ``maeface predict``
    writes, of all frames.
    """

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._coming = tables
        self._tables: list[pa.Table] = []

    def __iter__(self) -> Iterator[FrameResult]:
        for table in self._all():
            yield from frames_of([table])

    def __repr__(self) -> str:
        rows = sum(table.num_rows for table in self._tables)
        return f"VideoResult({rows} rows so far)"

    def to_pandas(self) -> "pd.DataFrame":
        """Return the table of all frames, those that are not predicted yet included."""
        table: pd.DataFrame = pa.concat_tables(self._all()).to_pandas()
        return table

    def _all(self) -> Iterator[pa.Table]:
        position = 0
        while True:
            while position < len(self._tables):
                yield self._tables[position]
                position += 1
            table = next(self._coming, None)
            if table is None:
                return
            self._tables.append(table)


def frames_of(tables: Iterable[pa.Table]) -> Iterator[FrameResult]:
    """Yield the frames of tables, each of which holds whole frames."""
    for table in tables:
        rows = table.to_pylist()
        for (name, frame), group in groupby(rows, lambda row: (row["input"], row["frame"])):
            of_frame = list(group)
            first = of_frame[0]
            faces = tuple(_face_of(row) for row in of_frame if row["face"] >= 0)
            status = "ok" if faces else first["status"]
            yield FrameResult(name, frame, first["time_s"], status, faces)


def _face_of(row: Mapping[str, Any]) -> FaceResult:
    names = list(filter(is_occurrence, row))
    return FaceResult(
        box=(*(row[name] for name in BOX),),
        score=_number(row["score"]),
        status=row["status"],
        track=row["track"],
        landmarks=np.array([_number(row[name]) for name in POINTS], np.float32).reshape(5, 2),
        quality={name: _number(row[name]) for name in QUALITY if name in row},
        aus={
            name: ActionUnit(bool(row[name]), *(row.get(f"{name}_{kind}") for kind in "piLR"))
            for name in names
        },
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
