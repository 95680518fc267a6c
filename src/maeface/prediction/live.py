"""Prediction of the newest frame of a camera, with a table that is written as the rows come."""

import os
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from maeface import checks, process
from maeface.data.ingest.images import SourceImage
from maeface.errors import ConfigError
from maeface.faces.finder import crop_faces, find_faces
from maeface.faces.live_following import LiveFollower
from maeface.faces.media import Frame
from maeface.faces.quality import measure_quality
from maeface.faces.search import WINDOW_PX
from maeface.prediction.chimeras import add_sides
from maeface.prediction.newest import NewestFrame
from maeface.prediction.rows import HIDDEN, ImagePrediction, number_array, rows_of
from maeface.prediction.table_writer import to_csv

if TYPE_CHECKING:
    from maeface.prediction.predictor import Predictor

Predict = Callable[[Frame], pa.Table]
"""Returns the rows of a frame: one for each face, or one without a face."""
WAIT_S = 0.1
"""How long to wait for a frame before the end is asked for again."""
_SYNC_S = 1.0  # from one sync of the table to the next
_RATE_S = 2.0  # over which the rate is measured


@dataclass(frozen=True)
class LiveFrame:
    """A predicted frame.

    Attributes:
        frame: the frame.
        rows: its rows in the table.
        latency_ms: from the moment at which it was read to the one at which its rows are there.
        fps: predicted frames per second, of the last seconds.
        dropped: number of frames that were dropped so far.
    """

    frame: Frame
    rows: pa.Table
    latency_ms: float
    fps: float
    dropped: int


@dataclass
class LiveSummary:
    """What was predicted.

    Attributes:
        out: the table; None without one.
        frames: number of predicted frames.
        dropped: number of frames that were dropped because newer ones came.
        faces: number of rows with a face.
        seconds: from the first frame to the end.
        latencies_ms: of each frame.
    """

    out: Path | None = None
    frames: int = 0
    dropped: int = 0
    faces: int = 0
    seconds: float = 0.0
    latencies_ms: "array[float]" = field(default_factory=lambda: array("f"))

    def __str__(self) -> str:
        """One line."""
        line = f"{self.out or 'predicted'}: {self.frames} frames in {self.seconds:.1f} s"
        if self.seconds > 0:
            line += f" ({self.frames / self.seconds:.1f}/s)"
        line += f"; dropped: {self.dropped}; faces: {self.faces}"
        if self.frames > 1:
            cuts = quantiles(self.latencies_ms, n=20)
            line += f"; latency: {cuts[9]:.0f} ms, at most {cuts[18]:.0f} ms for 95 %"
        return line


class LivePredictor:
    """Predicts one frame after another; what is known of the faces is kept from frame to frame.

    Args:
        predictor: with a face detector.
        name: the ``input`` of the rows.

    Raises:
        ConfigError: the predictor detects no faces.
    """

    def __init__(self, predictor: "Predictor", name: str) -> None:
        if predictor.detector is None:
            raise ConfigError("a camera needs the face detector; leave out --aligned")
        self._predictor, self._name = predictor, name
        self._follower = LiveFollower(
            predictor.face_finder.film_detector, predictor.faces, predictor.min_face
        )
        self._size = predictor.metadata.preprocessing.image_size

    def prepare(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield frames; before the first one, set up the networks for frames of its size.

        That takes seconds, in which a camera or a film at its own pace would go on.
        """
        for count, frame in enumerate(frames):
            if count == 0:
                self._set_up(np.zeros_like(frame.rgb))
            yield frame

    def _set_up(self, blank: NDArray[np.uint8]) -> None:
        """Run all networks once: some back ends set up a network for each size of image."""
        detector, points = self._predictor.face_finder.film_detector, np.eye(5, 2, dtype=np.float32) * 32
        find_faces(detector, [blank], "all", self._predictor.min_face, turn_up_to=0.0)
        detector.detect([np.zeros((WINDOW_PX, WINDOW_PX, 3), np.uint8)])
        detector.move_landmarks([blank], [points])
        self._predictor.predict_crops(np.zeros((1, self._size, self._size, 3), np.uint8), mirror=False)

    def __call__(self, frame: Frame) -> pa.Table:
        """Return the rows of the next frame, with tracks."""
        located, tracks = self._follower.update(frame.rgb, frame.time_s)
        crops = crop_faces([frame.rgb], [located], self._size)[0]
        values, unlike = self._predictor.predict_faces([crop.pixels for crop in crops], mirror=False)
        measures = measure_quality(crops, [frame.rgb.shape] * len(crops), unlike)
        values = add_sides(self._predictor, values, crops, measures, mirror=False)
        prediction = ImagePrediction(SourceImage(self._name, frame, video=True), crops, values, measures)
        rows = rows_of([prediction], self._predictor.columns).drop_columns(list(HIDDEN))
        if not tracks:
            return rows
        at = rows.schema.get_field_index("track")
        return rows.set_column(at, rows.schema.field(at), number_array(np.array(tracks, np.int32)))


def predict_live(
    frames: Iterator[Frame],
    predict: Predict,
    stops: Callable[[], bool] = lambda: False,
    seconds: float | None = None,
) -> Iterator[LiveFrame]:
    """Predict the newest frame of a camera, again and again, and yield each at once.

    While a frame is predicted, and while the caller works on it, a thread reads on. Of the frames that come
    in this time, only the last one is predicted.

    Args:
        frames: a source that waits for each frame, such as ``camera.read_camera``.
        predict: such as a ``LivePredictor``.
        stops: asked between frames, at least ten times a second; True ends the prediction.
        seconds: the prediction ends so long after the first frame; None: with the source.

    Raises:
        ConfigError: ``seconds`` is not positive.
        MaefaceError: what the source raises, once the frames that were read are predicted.
    """
    if seconds is not None:
        checks.require_positive("seconds", seconds)
    ends: deque[float] = deque()
    first: float | None = None
    with NewestFrame(frames) as source:
        while not stops() and (seconds is None or first is None or time.monotonic() - first < seconds):
            try:
                taken = source.take(WAIT_S)
            except EOFError:
                return
            if taken is None:
                continue
            first = taken.read_s if first is None else first
            rows = predict(taken.frame)
            now = time.monotonic()
            ends.append(now)
            while ends[0] < now - _RATE_S:
                ends.popleft()
            fps = (len(ends) - 1) / (now - ends[0]) if len(ends) > 1 else 0.0
            yield LiveFrame(taken.frame, rows, (now - taken.read_s) * 1000, fps, source.dropped)


def run_live(
    frames: Iterator[Frame],
    predict: Predict,
    show: Callable[[LiveFrame], object] = lambda one: None,
    out: Path | None = None,
    stops: Callable[[], bool] = lambda: False,
    seconds: float | None = None,
) -> LiveSummary:
    """Predict a camera until the end, show each frame, and write its rows.

    Ctrl-C ends the prediction as ``stops`` does.

    Args:
        frames: as for ``predict_live``.
        predict: as for ``predict_live``.
        show: called for each predicted frame, after its rows are written.
        out: a new table, ``.csv``.
        stops: as for ``predict_live``.
        seconds: as for ``predict_live``.

    Raises:
        ConfigError: ``out`` is no ``.csv``, or exists and is not empty.
        ResourceError: the table cannot be written, or the camera stops.
    """
    summary = LiveSummary(out)
    started: float | None = None
    with ExitStack() as stack:
        table = None if out is None else stack.enter_context(LiveTable(out))
        try:
            for one in predict_live(frames, predict, stops, seconds):
                if started is None:
                    started = time.monotonic() - one.latency_ms / 1000
                if table is not None:
                    table.write(one.rows)
                summary.frames, summary.dropped = summary.frames + 1, one.dropped
                summary.faces += sum(face >= 0 for face in one.rows["face"].to_pylist())
                summary.latencies_ms.append(one.latency_ms)
                summary.seconds = time.monotonic() - started
                show(one)
        except KeyboardInterrupt:
            pass
        except process.Stopped as stopped:
            if stopped.name != "Ctrl-C":
                raise
    return summary


def require_new_table(path: Path) -> None:
    """Check that the table of a camera can be written; errors as of ``LiveTable``."""
    checks.require_writable_file(path, "predictions of a camera", (".csv",))
    if path.exists() and path.stat().st_size:
        raise ConfigError(f"{path} has content, and a recording is never replaced; name a new file")


class LiveTable:
    """A CSV table whose rows are in the file as soon as they are written; a context manager.

    A process that is killed loses no row; a machine that stops loses those of the last second.

    Args:
        path: a file that does not exist yet, or is empty.

    Raises:
        ConfigError: another extension than ``.csv``, or the file has content.
        ResourceError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        require_new_table(path)
        self._path = path
        self._file: BinaryIO | None = None
        self._synced_s = time.monotonic()
        self._columns: Sequence[str] | None = None

    def __enter__(self) -> "LiveTable":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()

    def write(self, rows: pa.Table) -> None:
        """Append rows, after the names of the columns at first."""
        assert self._file is not None
        if self._columns is None:
            self._columns = rows.schema.names
            self._file.write((",".join(self._columns) + "\n").encode())
        self._file.write(to_csv(rows))
        self._file.flush()
        if time.monotonic() - self._synced_s >= _SYNC_S:
            os.fsync(self._file.fileno())
            self._synced_s = time.monotonic()
