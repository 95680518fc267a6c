"""Pictures of photos, with the boxes of faces and bars of their action units."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maeface import files
from maeface.data.ingest.images import SourceImage
from maeface.prediction.rows import ImagePrediction
from maeface.prediction.units import picture_path

if TYPE_CHECKING:
    from maeface.prediction.predictor import Predictor


def draw_photos(predictor: "Predictor", folder: Path, batch: Sequence[ImagePrediction]) -> int:
    """Write a picture of each photo, named as the photo; return how many."""
    from maeface.report import figures  # Matplotlib takes long to import

    aus, task = predictor.metadata.aus, predictor.metadata.task
    threshold = predictor.metadata.thresholds or 0.5
    count = 0
    for prediction in batch:
        if not isinstance(prediction.image, SourceImage) or prediction.image.video:
            continue
        bars = [
            figures.FaceBars(
                box=tuple(crop.face.box),
                score=np.nan if predictor.detector is None else crop.face.score,
                probabilities=None if task == "intensity" else values[: len(aus)],
                intensities=None if task == "detection" else values[-len(aus) :],
            )
            for crop, values in zip(prediction.crops, prediction.values, strict=True)
        ]
        picture = figures.au_bars(prediction.image.frame.rgb, aus, bars, threshold)
        files.write_bytes(picture_path(folder, prediction.image.name), figures.png(picture))
        count += 1
    return count
