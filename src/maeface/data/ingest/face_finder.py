"""The function that finds and crops the faces of a preparation, as its settings ask for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maeface.data.ingest.units import FaceFinder, Settings
from maeface.faces import finder
from maeface.faces.detector import Detector
from maeface.faces.finder import FaceCrop
from maeface.faces.following import follow_faces


def make_find(settings: Settings, weights: Path | None) -> FaceFinder:
    """Return a finder of the paper's steps, or one that resizes ready crops; runs in a worker process."""
    if settings.aligned:
        return lambda images, film: [[finder.centre_crop(image, settings.size)] for image in images]

    backbone, device, threshold = settings.backbone, settings.device, settings.threshold
    detector = Detector(weights, backbone, device, "auto", threshold, settings.backend, threads=1)

    def find(images: Sequence[NDArray[np.uint8]], film: bool) -> list[list[FaceCrop]]:
        if not film:
            return finder.find_crops(detector, images, settings.size, settings.faces)
        (located,) = follow_faces(detector, [images], settings.faces, settings.min_face)
        return finder.crop_faces(images, located, settings.size)

    return find
