"""``maeface-studio unlike``: what weights need to say that a face is unlike the faces they learned from.

The distance is Mahalanobis's, of the features that the head reads: from their mean over the training faces,
in units of their covariance. Renders and real faces count the same, however many there are. Renders alone
look too different from photographs, and the real faces alone are of too few people and cameras: ordinary
films of other people would be far from them. A ridge keeps directions in which the training faces do not
differ from counting without bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maeface.data.loading.dataset import gather_manifests
from maeface.errors import WeightsError
from maeface.model import weights as weights_files
from maeface.model.file_format.metadata import Unlike
from maeface.prediction.crops import read_crops
from maeface.prediction.predictor import Predictor

RIDGE = 0.005
"""Variance that is added in each direction, as a fraction of the mean one."""
WITHIN = 0.99
"""Fraction of the real training faces whose ``unlike`` is at most 1."""
MOST = 2000
"""Real faces, and renders, that are measured; of more, every n-th."""
DATA = "training faces"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """What was measured.

    Attributes:
        files: the files of the weights.
        real, renders: number of faces.
        beyond: fraction of the renders that are beyond 1.
    """

    files: tuple[Path, ...]
    real: int
    renders: int
    beyond: float

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"{', '.join(map(str, self.files))}: unlike is at most 1 for {WITHIN:.0%} of {self.real} real "
            f"faces, and for {1 - self.beyond:.0%} of {self.renders} renders"
        )


def run(weights: Path | str, real: Sequence[Path], renders: Sequence[Path]) -> Summary:
    """Measure the training faces of weights, and write into the weights what ``unlike`` needs.

    What the file had before is replaced; nothing else changes. The same faces lead to the same file.

    Args:
        weights: a file, or the name of packaged weights.
        real: prepared folders of the real faces that the weights learned from.
        renders: prepared folders of the rendered ones.

    Raises:
        ConfigError: no such folder.
        DataError: a folder without faces, or a damaged crop.
        WeightsError: not an AU model.
    """
    path = weights_files.find(weights)
    metadata = weights_files.read_metadata(path)
    if metadata.kind != "au":
        raise WeightsError(f"{path} has a masked autoencoder; give weights that predict AUs")
    predictor = Predictor(path, "cpu", aligned=True, precision="fp32")
    groups = [read_features(predictor, folders) for folders in (real, renders)]
    mean, factor = fit(*groups)
    of_real, of_renders = (np.linalg.norm((features - mean) @ factor, axis=1) for features in groups)
    limit = float(np.quantile(of_real, WITHIN))
    tensors = {"unlike.mean": _tensor(mean), "unlike.factor": _tensor(factor / limit)}
    count = len(groups[0])
    described = Unlike(data=DATA, n=count, within=float((of_real <= limit).mean()))
    changed = metadata.model_copy(update={"unlike": described})
    files = weights_files.write_metadata(path, changed, tensors)
    return Summary(files, count, len(groups[1]), float((of_renders > limit).mean()))


def read_features(predictor: Predictor, folders: Sequence[Path]) -> Floats:
    """Return the features of the faces of prepared folders, of at most ``MOST``, (N, D)."""
    rows = gather_manifests(folders)
    rows = rows.iloc[:: -(-len(rows) // MOST)]
    batches = read_crops(folders, rows, predictor.metadata.preprocessing.image_size)
    return np.concatenate(
        [predictor.predict_crops(crops, "features") for _, crops in batches], dtype=np.float64
    )


def fit(real: Floats, renders: Floats) -> tuple[Floats, Floats]:
    """Return the mean (D,) of features, and the factor (D, D) of their inverse covariance.

    Args:
        real: (N, D).
        renders: (M, D); they weigh as much as the real faces, whatever their number.
    """
    groups = real, renders
    mean = np.mean([group.mean(axis=0) for group in groups], axis=0)
    offsets = [group - mean for group in groups]
    covariance = np.mean([one.T @ one / len(one) for one in offsets], axis=0)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return mean, np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float64)


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
