"""Pictures that show on which parts of a face of a photo the value of an action unit rests."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maeface import facts, files
from maeface.data.ingest.images import SourceImage
from maeface.errors import ConfigError
from maeface.faces import imaging
from maeface.prediction.rows import ImagePrediction

if TYPE_CHECKING:
    from maeface.prediction.predictor import Predictor

SHOWN_SIDE = 256
"""Side of the crops in the pictures, px; the model reads a smaller one."""


def require_explainable(predictor: "Predictor", aus: Sequence[int]) -> None:
    """Refuse action units that the model does not have, before anything is read.

    Raises:
        ConfigError: the model has no such action unit; those that it has are listed.
    """
    if unknown := [facts.au_name(au) for au in aus if au not in predictor.metadata.aus]:
        names = " ".join(facts.au_name(au) for au in predictor.metadata.aus)
        raise ConfigError(f"the model has no {' '.join(unknown)} to explain; it has {names}")


def explanation_path(folder: Path, name: str, au: int) -> Path:
    """Return the path of the explanation of a photo: ``photo.jpg.AU12.png``."""
    return folder / f"{files.fit_name(name)}.{facts.au_name(au)}.png"


def draw_explanations(
    predictor: "Predictor", aus: Sequence[int], folder: Path, batch: Sequence[ImagePrediction]
) -> int:
    """Write a picture of each photo with a face and each action unit; return how many.

    Each face is a row of the picture (``report.relevance``). Frames of videos, and photos without a face,
    have none. The model runs in PyTorch, whatever the back end of the predictor is.

    Args:
        predictor: the networks.
        aus: action units of the model.
        folder: for the pictures.
        batch: predictions with ``columns.au_columns`` as values.

    Raises:
        ConfigError: the model has no such action unit.
    """
    from maeface.model.explain import explain
    from maeface.report.figures import png
    from maeface.report.relevance import relevance_picture

    metadata, count = predictor.metadata, 0
    number, task = len(metadata.aus), metadata.task
    first = number * (2 if task == "both" else 1)  # intensity
    for one in batch:
        if not isinstance(one.image, SourceImage) or one.image.video or not one.crops:
            continue
        relevance = np.concatenate(
            [
                explain(predictor.model, np.asarray(crop.pixels)[None], aus, metadata.preprocessing)
                for crop in one.crops
            ]
        )
        shown = imaging.crop(
            [one.image.frame.rgb] * len(one.crops), [crop.square for crop in one.crops], SHOWN_SIDE
        )
        for k, au in enumerate(aus):
            place = metadata.aus.index(au)
            picture = relevance_picture(
                [np.asarray(crop) for crop in shown],
                relevance[:, k],
                au,
                None if task == "intensity" else [*one.values[:, number + place]],
                None if task == "detection" else [*one.values[:, first + place]],
            )
            files.write_bytes(explanation_path(folder, one.image.name, au), png(picture))
            count += 1
    return count
