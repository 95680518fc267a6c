"""The settings of the service: what predicts, and the limits of what a client may ask for."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from maeface import config
from maeface.faces.picture import MAX_PIXELS

MB = MILLION = 1_000_000
MOST_KEEP = 8760
"""Hours of a year."""
PHOTOS_TOGETHER = 8
"""Photos that a worker process predicts together. With more, the first of them wait longer for the last."""


class Settings(config.Settings):
    """How to serve.

    Attributes:
        folder: of the uploads, the results and the list of jobs.
        weights: as in ``Predictor``.
        device: the devices: a worker process for photos, and a place for one film, on each.
        detector: as in ``Predictor``.
        backend: as in ``Predictor``.
        precision: as in ``Predictor``.
        sides: as in ``Predictor``.
        workers: processes for each film; see ``predict.run``.
        keep: hours after which an ended job is deleted.
        max_photos_mb: largest request with photos, in MB.
        max_film_mb: largest request with a film, in MB.
        max_pixels: largest photo, in millions of pixels.
        max_seconds: longest film, by its header and by the number of its frames.
        queue: most photos that wait.
        jobs: most films that wait or are received.
        photos: most photos of a request.
        clients: most requests that are answered at a time.
        slow_s: seconds after which a client that sends nothing, or almost nothing, is given up.
        answer_s: seconds that photos may wait for their values.
        log_polls: whether successful requests have a line in the log that programs repeat: ``/health``,
            ``/ready``, ``/metrics`` and the state of a job.
    """

    folder: Path
    weights: Path | str | None = None
    device: tuple[str, ...] = ("auto",)
    detector: Literal["auto", "public", "embedded"] = "auto"
    backend: Literal["auto", "torch", "openvino", "onnxruntime"] = "auto"
    precision: config.Precision = "auto"
    sides: bool = False
    workers: int | None = Field(None, gt=0)
    keep: float = Field(24.0, gt=0, le=MOST_KEEP)
    max_photos_mb: float = Field(64.0, gt=0)
    max_film_mb: float = Field(2000.0, gt=0)
    max_pixels: float = Field(50.0, gt=0, le=MAX_PIXELS / MILLION)
    max_seconds: float = Field(3600.0, gt=0)
    queue: int = Field(256, gt=0)
    jobs: int = Field(32, gt=0)
    photos: int = Field(32, gt=0)
    clients: int = Field(256, gt=0)
    slow_s: float = Field(20.0, gt=0)
    answer_s: float = Field(60.0, gt=0)
    log_polls: bool = False

    @property
    def keep_s(self) -> float:
        """Seconds after which an ended job is deleted."""
        return self.keep * 3600

    @property
    def photo_bytes(self) -> int:
        """Largest body of a request with photos."""
        return round(self.max_photos_mb * MB)

    @property
    def film_bytes(self) -> int:
        """Largest body of a request with a film."""
        return round(self.max_film_mb * MB)

    @property
    def pixels(self) -> int:
        """Most pixels of a photo."""
        return round(self.max_pixels * MILLION)
