"""Predictions of images, and the table that they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maeface.data.ingest.images import SourceImage, UnreadableInput
from maeface.faces.finder import FaceCrop
from maeface.prediction.table_writer import WHERE

if TYPE_CHECKING:
    import pandas as pd

BOX = ("x1", "y1", "x2", "y2")
OK, NO_FACE = "ok", "no_face"
"""The ``status`` of a row with a face, and of an image without one, as in a manifest."""


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction of one image.

    Attributes:
        image: the photo or frame, or the entry of an input that cannot be read.
        crops: its F faces, best score first; none if the input cannot be read.
        values: (F, K) float32: the AU columns of the table, or the features.
    """

    image: SourceImage | UnreadableInput
    crops: list[FaceCrop]
    values: NDArray[np.float32]


def table(predictions: Sequence[ImagePrediction], columns: Sequence[str]) -> "pd.DataFrame":
    """Return the table of images: one row for each face, one with face -1 for an image without a face.

    Args:
        predictions: the images.
        columns: ``WHERE``, the box, the score, and the columns of ``ImagePrediction.values``.
    """
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    for one in predictions:
        if isinstance(one.image, UnreadableInput):
            where, status = one.image[:3], one.image.reason
        else:
            where, status = (one.image.name, one.image.frame.index, one.image.frame.time_s), NO_FACE
        for k, crop in enumerate(one.crops):
            score = np.nan if np.isnan(crop.face.landmarks).all() else crop.face.score  # NaN: a ready crop
            rows.append((*where, k, OK, *crop.face.box, score, *one.values[k])[: len(columns)])
        if not one.crops:
            rows.append((*where, -1, status, *[np.nan] * (len(columns) - len(WHERE))))
    frame = pd.DataFrame(rows, columns=list(columns))
    floats = dict.fromkeys(columns[len(WHERE) :], np.float32)
    return frame.astype({"frame": np.int64, "time_s": np.float64, "face": np.int16, **floats})
