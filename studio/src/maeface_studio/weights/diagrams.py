"""Pictures of how often probabilities come true, before and after calibration; drawn with matplotlib."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from maeface import facts
from maeface.report.charts import COLOURS
from maeface_studio.weights import calibration
from maeface_studio.weights.calibration import Faces, Reliability

COLUMNS = 4
SIDE = 2.1
"""Of a panel, inches."""
DPI = 120
Values = NDArray[np.float64]


def reliability(
    aus: Sequence[int], on_real: Sequence[int], before: Sequence[Faces], after: Sequence[Faces]
) -> Image.Image:
    """Draw how often the probabilities of AUs come true: a panel for each AU on real faces, one for renders.

    A dot stands for the faces of a tenth of the probabilities; its area grows with their number. Its place
    is their mean probability, and the fraction of them that shows the AU. On the diagonal they are equal.

    Args:
        aus: in the order of the columns of the faces.
        on_real: those with a panel of their own, on real faces.
        before: real faces and renders, with probabilities before calibration.
        after: the same faces, with probabilities after it.

    Returns:
        RGB. The panel of the renders has the pairs of a face and an AU, of all AUs.
    """
    panels = list(_panels(aus, on_real, before, after))
    rows, columns = -(-len(panels) // COLUMNS), min(COLUMNS, len(panels))
    figure = Figure(figsize=(columns * SIDE, rows * (SIDE + 0.2) + 0.5), layout="constrained")
    for place, (title, present, *scores) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        bins = [calibration.reliability(one, present) for one in scores]
        axes.set_title(f"{title}\nECE {bins[0].error:.3f} → {bins[1].error:.3f}", fontsize=8)
        lines = [_draw(axes, one, COLOURS[1 - k]) for k, one in enumerate(bins)]
    names = ["before calibration", "after"]
    figure.legend(lines, names, loc="outside upper left", ncols=2, fontsize=8, frameon=False)
    figure.supxlabel("probability", fontsize=9)
    figure.supylabel("fraction with the AU", fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return Image.open(buffer).convert("RGB")


def _panels(
    aus: Sequence[int], on_real: Sequence[int], before: Sequence[Faces], after: Sequence[Faces]
) -> Iterator[tuple[str, Values, Values, Values]]:
    """Yield the title of each panel, the labels, and the probabilities before and after, (N,) each."""
    for au in on_real:
        column = list(aus).index(au)
        known = before[0].labelled(column)
        present = before[0].present[known, column]
        title = f"{facts.au_name(au)}, {int(present.sum())} of {len(present)} faces"
        yield title, present, before[0].scores[known, column], after[0].scores[known, column]
    pairs = ~np.isnan(before[1].present) & ~np.isnan(before[1].scores)
    title = f"{len(aus)} AUs, {len(pairs)} renders"
    yield title, before[1].present[pairs], before[1].scores[pairs], after[1].scores[pairs]


def _draw(axes: Axes, bins: Reliability, colour: str) -> Line2D:
    """Draw the dots of one calibration, and return the line that joins them."""
    filled = bins.count > 0
    mean, fraction = bins.mean[filled], bins.fraction[filled]
    axes.plot((0, 1), (0, 1), color="0.7", lw=0.8)
    sizes = 4 + 60 * bins.count[filled] / bins.count.sum()
    axes.scatter(mean, fraction, sizes, colour, alpha=0.7, lw=0)
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
    axes.tick_params(labelsize=7)
    return axes.plot(mean, fraction, color=colour, lw=1)[0]
