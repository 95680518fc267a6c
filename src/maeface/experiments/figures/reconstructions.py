"""Masked faces and their reconstructions by masked autoencoders: Figs. 1, 5 and 8 of the paper."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from maeface import facts
from maeface.data import manifest
from maeface.data.loading.dataset import FaceDataset, gather_manifests
from maeface.data.loading.loader import load_in_order
from maeface.errors import ConfigError, WeightsError
from maeface.experiments.reporting.comparison import dataset_title
from maeface.experiments.settings import Figure
from maeface.model import preprocessing, weights
from maeface.model.mae import MAE
from maeface.report import figures
from maeface.report.document import Picture

TILE = 112
"""Faces are drawn at this side or larger, px."""


def draw_reconstructions(figure: Figure, data: Mapping[str, Path], models: Mapping[str, Path]) -> Picture:
    """Draw masked, reconstructed and original faces: a row a face.

    Models with the same grid of patches get the same masks. A model that normalises patches predicts no
    brightness, so its patches get the mean and standard deviation of the original (``MAE.reconstruct``), as
    in the paper's pictures.

    Args:
        figure: its settings.
        data: dataset -> prepared folder.
        models: name -> file of a masked autoencoder.

    Raises:
        ConfigError: a dataset or weights of the recipe are missing.
        WeightsError: not a masked autoencoder, or one without its decoder.
    """
    missing = [name for name in figure.weights if name not in models]
    if missing:
        raise ConfigError(
            f"{figure.name} needs weights called {', '.join(missing)}: --weights {missing[0]}=FILE"
        )
    loaded = {name: load_mae(models[name]) for name in figure.weights}
    for name in figure.datasets:
        if name not in data:
            raise ConfigError(f"the figure needs the dataset {name}; there are: {', '.join(data) or 'none'}")
    folders = [data[name] for name in figure.datasets]
    rows = choose_faces(gather_manifests(folders), figure.faces, figure.seed)
    columns: list[tuple[str, NDArray[np.uint8]]] = []
    original: NDArray[np.uint8] | None = None
    for ratio in figure.mask_ratios:
        grid = 0
        for name, model in loaded.items():
            masked, reconstructed, original = _reconstruct(model, folders, rows, ratio, figure.seed)
            if model.encoder.grid != grid:
                grid = model.encoder.grid
                columns.append((f"{ratio:.0%} masked", masked))
            columns.append((name if len(loaded) > 1 else "reconstructed", reconstructed))
    assert original is not None, "a recipe has a mask ratio and weights"
    columns.append(("original", original))
    side = max(TILE, *(len(faces[0]) for _, faces in columns))
    image = figures.stage_grid([(label, _resize(faces, side)) for label, faces in columns])
    descriptions = ", ".join(f"{name}: {_describe(model)}" for name, model in loaded.items())
    titles = [dataset_title(name) for name in figure.datasets if name in facts.datasets()]
    source = f" of {', '.join(titles)}" if titles else ""
    return Picture(image, f"{len(rows)} faces{source}, drawn with seed {figure.seed}. {descriptions}.")


def load_mae(path: Path) -> MAE:
    """Load a masked autoencoder with its decoder, of maeface or a public checkpoint, in evaluation mode.

    Raises:
        WeightsError: damaged, not a masked autoencoder, or without a decoder.
    """
    path = weights.find(str(path)) if not path.is_file() else path
    try:
        return weights.load_mae(path)[0]
    except WeightsError as error:
        try:
            model = MAE(weights.load_encoder(path)[0])
            report = weights.load_encoder_into(model, path)
        except WeightsError:
            raise error from None
        if report.missing:
            raise WeightsError(
                f"{path} has no decoder that fits ({len(report.missing)} tensors are missing), so it cannot "
                "reconstruct faces; give a file of `maeface pretrain`, or the full pre-training checkpoint"
            ) from error
        return model.eval()


def choose_faces(rows: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Return ``count`` rows in the order of a seeded hash: one of each subject first, then a second one."""
    keys = [hashlib.sha256(f"{seed}:{face}".encode()).hexdigest() for face in rows["id"]]
    shuffled = rows.assign(_key=keys, _subject=manifest.subjects(rows)).sort_values("_key", kind="stable")
    nth = shuffled.groupby("_subject", sort=False).cumcount()
    chosen = shuffled.assign(_nth=nth).sort_values(["_nth", "_key"], kind="stable").head(count)
    return chosen.drop(columns=["_key", "_subject", "_nth"]).reset_index(drop=True)


def _describe(model: MAE) -> str:
    norm = "with" if model.normalize_patches else "without"
    return f"{model.loss_kind.upper()} loss, {norm} normalised patches, {model.encoder.image_size} px"


@torch.inference_mode()
def _reconstruct(
    model: MAE, folders: Sequence[Path], rows: pd.DataFrame, ratio: float, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return masked, reconstructed and original faces, (N, S, S, 3) each."""
    size = model.encoder.image_size
    faces = FaceDataset(folders, rows, size, seed, patches=model.encoder.grid**2, training=False)
    batch = next(iter(load_in_order(faces, len(rows))))
    images = preprocessing.to_input(batch["image"], size)
    output = model.reconstruct(images, batch["noise"], ratio)
    masked, reconstructed, original = (
        preprocessing.denormalize(stage).permute(0, 2, 3, 1).numpy()
        for stage in (output.masked, output.reconstructed, images)
    )
    return masked, reconstructed, original


def _resize(faces: NDArray[np.uint8], side: int) -> list[Image.Image]:
    """Return faces at ``side`` px; a whole factor enlarges without smoothing, so that patches stay sharp."""
    own_side = faces.shape[1]
    method = Image.Resampling.NEAREST if side % own_side == 0 else Image.Resampling.BICUBIC
    return [Image.fromarray(np.ascontiguousarray(face)).resize((side, side), method) for face in faces]
