"""The faces that an export is checked on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from maeface.data import manifest
from maeface.data.ingest.images import SourceImage, load_images
from maeface.data.loading.dataset import gather_manifests
from maeface.data.tables import labels as label_tables
from maeface.errors import DataError
from maeface.faces import finder
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED
from maeface.prediction.crops import read_crops

SAMPLE_STEP = 4
"""Of the packaged faces every fourth is used: enough for each AU, and a large network takes no hour."""
IMAGES = 16
"""Images that the detector is checked on."""
IMAGE_PX = 640
"""Longer images are shrunk to this for the check of the detector."""

RENDERED = "rendered faces that come with the package, no photographs"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Faces:
    """Faces with labels as far as there are.

    Attributes:
        source: where they are from, for readers.
        rendered: whether they are the packaged rendered faces, not photographs.
        crops: (S, S, 3) uint8 RGB each, F of them.
        images: (H, W, 3) uint8 RGB each, for the detector.
        labels: action unit -> (F,) float, 1 present, 0 absent, NaN unknown.
    """

    source: str
    rendered: bool
    crops: Sequence[Pixels]
    images: Sequence[Pixels]
    labels: dict[int, NDArray[np.float32]]

    def __str__(self) -> str:
        """Return how many there are, and where from."""
        return f"{len(self.crops)} {self.source}"

    def part(self, start: int, step: int) -> "Faces":
        """Return every ``step``-th face, from the number ``start`` on."""
        chosen = {au: values[start::step] for au, values in self.labels.items()}
        return replace(self, crops=self.crops[start::step], labels=chosen)


def load_faces(folder: Path | None, labels: Path | None, image_size: int) -> Faces:
    """Return the faces of a folder.

    Args:
        folder: photos, of each of which the largest face is used, or a folder that ``maeface prepare`` wrote;
            None: rendered faces that come with the package, with their labels.
        labels: table of AU labels of the folder's faces.
        image_size: side of the network's input, px.

    Raises:
        ConfigError: no such folder or file.
        DataError: no face, or labels that cannot be read or match none.
    """
    if folder is None:
        sample = Path(str(resources.files("maeface") / "sample"))
        rows = gather_manifests([sample])[::SAMPLE_STEP].reset_index(drop=True)
        crops = _read_prepared(sample, rows, image_size)
        return Faces(RENDERED, True, crops, crops[:IMAGES], _match(rows, sample / "labels.parquet"))
    if (folder / manifest.FILE).is_file():
        rows = gather_manifests([folder])
        crops = _read_prepared(folder, rows, image_size)
        images: list[Pixels] = crops[:IMAGES]
    else:
        rows, crops, images = _find(folder)
    known = _match(rows, labels) if labels is not None else {}
    return Faces(f"faces of {folder.resolve().name}", False, crops, images, known)


def _read_prepared(folder: Path, rows: pd.DataFrame, image_size: int) -> list[Pixels]:
    return [crop for _, crops in read_crops([folder], rows, image_size) for crop in crops]


def _find(folder: Path) -> tuple[pd.DataFrame, list[Pixels], list[Pixels]]:
    """Return a row, as of a manifest, and the crop of the largest face of each photo; and some photos."""
    detector = Detector(EMBEDDED, backend="auto")
    names: list[str] = []
    crops: list[Pixels] = []
    images: list[Pixels] = []
    for photo in load_images(folder):
        if not isinstance(photo, SourceImage) or photo.video:
            continue
        pixels = photo.frame.rgb
        (found,) = finder.find_crops(detector, [pixels], faces="largest")
        if not found:
            continue
        names.append(photo.name)
        crops.append(np.asarray(found[0].pixels))
        if len(images) < IMAGES:
            small = Image.fromarray(pixels)
            small.thumbnail((IMAGE_PX, IMAGE_PX))
            images.append(np.asarray(small))
    if not crops:
        raise DataError(f"{folder} has no photo with a face; give a folder with photos of faces (--photos)")
    rows = pd.DataFrame({"id": [f"{name}#0.0" for name in names], "source": names, "frame": 0, "face": 0})
    return rows.assign(status="ok", subject=None, clip=None), crops, images


def _match(rows: pd.DataFrame, labels: Path) -> dict[int, NDArray[np.float32]]:
    """Return the occurrence labels of faces; see ``Faces.labels``."""
    joined = label_tables.join_labels(rows, labels)
    places = pd.Index(rows["id"]).get_indexer(pd.Index(joined.rows["id"]))
    found: dict[int, NDArray[np.float32]] = {}
    for k, au in enumerate(joined.aus_occurrence):
        values = np.full(len(rows), np.nan, np.float32)
        values[places] = np.where(joined.occurrence_mask[:, k], joined.occurrence[:, k], np.nan)
        found[au] = values
    return found
