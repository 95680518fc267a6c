"""Pictures of the relevance of each part of a face to an action unit."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from maeface import facts

COLOUR_MAP = "inferno"
ALPHA = 0.6
"""Opacity of the colours over the face, which is drawn in grey."""
DPI = 110
ROW_INCHES = 2.4
LEGEND = "effect of reading the patch\n(1: the strongest of this face)"


def relevance_picture(
    crops: Sequence[NDArray[np.uint8]],
    relevance: NDArray[np.float32],
    au: int,
    probabilities: Sequence[float] | None = None,
    intensities: Sequence[float] | None = None,
) -> Image.Image:
    """Draw a row for each face: the crop, and beside it the relevance of each patch over the grey crop.

    Args:
        crops: F crops, RGB uint8 (S, S, 3), of any sides.
        relevance: (F, rows, columns), 0 to 1.
        au: number of the action unit.
        probabilities: F probabilities of the action unit, 0 to 1; None if there are none.
        intensities: F intensities, 0 to 5; None if there are none.

    Returns:
        RGB, about 600 px wide.
    """
    rows = max(1, len(crops))
    figure = Figure(figsize=(2 * ROW_INCHES + 0.9, rows * (ROW_INCHES + 0.25) + 0.3), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for k, (pair, crop, one) in enumerate(zip(axes, crops, relevance, strict=False)):
        extent = (0, crop.shape[1], crop.shape[0], 0)
        pair[0].imshow(crop, extent=extent)
        grey = crop @ np.array([0.299, 0.587, 0.114])
        pair[1].imshow(grey, cmap="gray", vmin=0, vmax=255, extent=extent)
        pair[1].imshow(one, cmap=COLOUR_MAP, vmin=0, vmax=1, alpha=ALPHA, extent=extent)
        values = []
        if probabilities is not None:
            values.append(f"probability {probabilities[k]:.2f}")
        if intensities is not None:
            values.append(f"intensity {intensities[k]:.1f}")
        pair[0].set_title(f"face {k}", fontsize=9)
        pair[1].set_title(", ".join(values), fontsize=9)
    figure.suptitle(facts.au_title(au), fontsize=11)
    colours = ScalarMappable(Normalize(0, 1), COLOUR_MAP)
    bar = figure.colorbar(colours, ax=axes, alpha=ALPHA, shrink=min(1.0, 1.6 / rows), aspect=16)
    bar.set_label(LEGEND, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return Image.open(buffer).convert("RGB")
