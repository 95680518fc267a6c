"""The prediction of a camera, shown in the terminal."""

from collections.abc import Callable, Sequence
from pathlib import Path

from maeface import checks
from maeface.faces import camera as cameras
from maeface.faces.camera import pace
from maeface.faces.quality import describe_low_quality
from maeface.model.trust import shown_aus
from maeface.prediction.live import LivePredictor, LiveSummary, require_new_table, run_live
from maeface.prediction.predictor import Predictor
from maeface.report.live_view import LiveView


def predict_camera(
    make: Callable[[], Predictor],
    camera: str,
    realtime: bool = False,
    size: str = "",
    fps: float | None = None,
    seconds: float | None = None,
    out: Path | None = None,
    all_aus: bool = False,
) -> LiveSummary:
    """Predict a camera until q is pressed, and show bars of the action units.

    Args:
        make: makes the predictor; called once all else is checked.
        camera: as for ``camera.read_camera``; with ``realtime`` the path of a film.
        realtime: read a film at its own pace instead of a camera.
        size: of the camera's pictures, "640x480"; "": its own.
        fps: of the camera; None: its own.
        seconds: end after so many; None: with q.
        out: a new ``.csv``; None: no table.
        all_aus: whether to show action units that are not to be trusted, too.

    Raises:
        ConfigError: a wrong option, or ``out`` has content.
        ResourceError: the camera cannot be opened, or stops; or as ``make``.
    """
    if out is not None:
        require_new_table(out)
    if seconds is not None:
        checks.require_positive("seconds", seconds)
    if realtime:
        checks.require_inputs([Path(camera)], "film")
    source = cameras.read_film(Path(camera)) if realtime else cameras.read_camera(camera, size, fps)
    name = Path(camera).name if realtime else f"camera {camera}"
    predictor = make()
    live = LivePredictor(predictor, name)
    frames = live.prepare(source)
    aus: Sequence[int] = shown_aus(predictor.metadata, all_aus)
    thresholds = dict(zip(predictor.metadata.aus, predictor.thresholds, strict=True))
    with LiveView(name, aus, thresholds, doubt=describe_low_quality) as view:
        return run_live(
            pace(frames) if realtime else frames,
            live,
            lambda one: view.show(one.rows.to_pylist(), one.latency_ms, one.fps, one.dropped),
            out,
            view.stops,
            seconds,
        )
