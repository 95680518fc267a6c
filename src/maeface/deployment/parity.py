"""Whether an exported network computes what PyTorch computes with the same weights."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Column, Table

from maeface import checks, facts, metrics
from maeface.deployment.faces import Faces, Pixels
from maeface.errors import WeightsError
from maeface.facts import INTENSITY_MAX
from maeface.model.file_format.metadata import Metadata

MAX_DIFFERENCE = {"fp32": 0.001, "fp16": 0.01, "bf16": 0.05, "int8": math.inf}
"""Largest difference of an output that is accepted, as a fraction of its range."""
MAX_FALL = 0.01
"""Largest fall that is accepted: of an AU's AUC, or of a correlation with PyTorch, from 1."""
MAX_SHIFT_PX = 0.1
"""Largest difference of boxes and landmarks that is accepted."""
MIN_FACES = 20
"""Fewer faces tell nothing about the accuracy of int8."""
BATCHES = (1, 3, 2, 32)
"""Sizes of the batches of a check, in turn; the last one is for all others. PyTorch's exporter sees 2, and an
exporter may fix the size that it sees without a word."""

CAPTION = (
    "differs by: the largest difference of a face between PyTorch and the files; probabilities have 0 to 1, "
    "intensities 0 to 5\n"
    "correlation: 1 if the files rank the faces as PyTorch does"
)
CAPTION_AUC = (
    "\nAUC: how well the values tell faces with the AU from faces without it, by the labels; 0.5 is chance, "
    "1 is perfect. A change of -0.01 or less is a loss"
)
"""What the columns of the table mean."""
Floats = NDArray[np.float32]
AUFunction = Callable[[Pixels], Floats]
"""From crops (B, S, S, 3) uint8 RGB to (B, O): probabilities, intensities, ``unlike`` if there is that."""


@dataclass(frozen=True)
class AUParity:
    """How far the outputs for an action unit are the same; None where it does not apply.

    Attributes:
        probability: largest difference of the probability, 0 to 1.
        intensity: largest difference of the intensity, 0 to 5.
        correlation: Pearson's, of what orders faces by the AU; the probability, or else the intensity.
        auc: area under the ROC curve in PyTorch, on the labels.
        auc_exported: the same of the exported network.
        intensity_correlation: of the intensity, where the probability orders the faces.
    """

    probability: float | None
    intensity: float | None
    correlation: float | None
    auc: float | None
    auc_exported: float | None
    intensity_correlation: float | None = None

    @property
    def fall(self) -> float | None:
        """How much the AUC falls; without labels, how much the correlation is below 1."""
        if self.auc is not None and self.auc_exported is not None:
            return self.auc - self.auc_exported
        return None if self.correlation is None else 1 - self.correlation

    @property
    def difference(self) -> float:
        """The largest difference as a fraction of the output's range."""
        return max(self.probability or 0.0, (self.intensity or 0.0) / INTENSITY_MAX)


@dataclass(frozen=True)
class UnlikeParity:
    """How far the output ``unlike`` is the same.

    Attributes:
        difference: the largest, as a fraction of the range: of 1, or of the largest value if that is above 1.
        correlation: Pearson's; None where PyTorch gives all faces the same value.
    """

    difference: float
    correlation: float | None


@dataclass(frozen=True)
class Bounds:
    """What is accepted; see ``MAX_DIFFERENCE`` and ``MAX_FALL``. An infinite one accepts all."""

    difference: float
    fall: float


def compute(network: AUFunction, crops: Sequence[Pixels]) -> Floats:
    """Return the outputs of a network for crops, (F, O), computed in batches of each size of ``BATCHES``."""
    count = max(len(crops), sum(BATCHES[:-1]))  # of few crops some are computed again
    repeated = [crops[k % len(crops)] for k in range(count)]
    return np.concatenate([network(np.stack(group)) for group in _batches(repeated)])[: len(crops)]


def _batches(crops: Sequence[Pixels]) -> Iterator[Sequence[Pixels]]:
    start = turn = 0
    while start < len(crops):
        size = BATCHES[min(turn, len(BATCHES) - 1)]
        yield crops[start : start + size]
        start, turn = start + size, turn + 1


def compare(reference: Floats, exported: Floats, metadata: Metadata, faces: Faces) -> dict[int, AUParity]:
    """Return action unit -> how far two networks agree on faces.

    Args:
        reference: (F, O) of PyTorch.
        exported: (F, O) of the exported network.
        metadata: of the weights.
        faces: the F faces.

    Raises:
        WeightsError: outputs of another shape, or that are not finite.
    """
    require_finite("AU", reference, exported)
    count = len(metadata.aus)
    second = 0 if metadata.task == "intensity" else count  # of the first intensity
    shift = np.abs(exported - reference).max(axis=0)
    result = {}
    for k, au in enumerate(metadata.aus):
        scores, new_scores = reference[:, k], exported[:, k]
        auc, auc_exported = (_auc(faces.labels.get(au), one) for one in (scores, new_scores))
        result[au] = AUParity(
            None if metadata.task == "intensity" else float(shift[k]),
            None if metadata.task == "detection" else float(shift[second + k]),
            _correlation(scores, new_scores),
            auc,
            auc_exported,
            _correlation(reference[:, count + k], exported[:, count + k])
            if metadata.task == "both"
            else None,
        )
    return result


def compare_unlike(reference: Floats, exported: Floats, metadata: Metadata) -> UnlikeParity | None:
    """Return how far ``unlike``, the last output, agrees; None for weights without it. See ``compare``."""
    if metadata.unlike is None:
        return None
    first, second = reference[:, -1], exported[:, -1]
    span = max(1.0, float(first.max()))
    return UnlikeParity(float(np.abs(first - second).max()) / span, _correlation(first, second))


def require_finite(name: str, reference: Floats, exported: Floats) -> None:
    """Refuse outputs of another shape than those of PyTorch, or with values that are not finite.

    Args:
        name: of the network: "AU", "detector" or "points".
        reference: of PyTorch.
        exported: of the exported network.

    Raises:
        WeightsError: they are.
    """
    if exported.shape != reference.shape or not np.isfinite(exported).all():
        values = "values" if np.isfinite(exported).all() else "values that are not finite"
        raise WeightsError(
            f"refused, nothing was written: the {name} network differs from PyTorch: it gives {values} of "
            f"shape {exported.shape}, expected finite ones of {reference.shape}"
        )


def _auc(labels: Floats | None, scores: Floats) -> float | None:
    if labels is None:
        return None
    known = ~np.isnan(labels)
    value = float(metrics.auc(labels[known, None], scores[known, None])[0]) if known.any() else math.nan
    return None if math.isnan(value) else value


def _correlation(first: Floats, second: Floats) -> float | None:
    """Return the correlation of values of PyTorch with others; 0 if only the others are all the same."""
    if len(first) < 2 or not first.std():
        return None
    if not second.std():
        return 0.0
    return float(np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1])


def refuse(aus: dict[int, AUParity], bounds: Bounds, unlike: UnlikeParity | None = None) -> None:
    """Refuse outputs that differ by more than the bounds.

    Raises:
        WeightsError: they do; the message names the worst output.
    """
    differences = {facts.au_name(au): one.difference for au, one in aus.items()}
    if unlike is not None:
        differences["unlike"] = unlike.difference
    worst = max(differences, key=lambda name: differences[name])
    if differences[worst] > bounds.difference:
        raise WeightsError(
            f"refused, nothing was written: {worst} differs from PyTorch by {differences[worst]:.2g} of its "
            f"range, accepted is {bounds.difference:g} ({checks.name_of('max_difference')}); choose a finer "
            "precision"
        )
    if bounds.difference == math.inf and all(one.fall is None for one in aus.values()):
        raise WeightsError("refused, nothing was written: on these faces no AU's accuracy can be compared")
    fall, what = max(_falls(aus, unlike), default=(0.0, ""))
    if fall > bounds.fall:
        raise WeightsError(
            f"refused, nothing was written: the {what} falls by {fall:.2g}, accepted is {bounds.fall:g} "
            f"({checks.name_of('max_fall')}); choose a finer precision"
        )


def _falls(aus: dict[int, AUParity], unlike: UnlikeParity | None) -> Iterator[tuple[float, str]]:
    """Yield how much each output's accuracy falls, and what that is."""
    for au, one in aus.items():
        name = facts.au_name(au)
        if one.fall is not None:
            yield one.fall, f"{'AUC' if one.auc is not None else 'correlation with PyTorch'} of {name}"
        if one.intensity_correlation is not None:
            yield 1 - one.intensity_correlation, f"correlation with PyTorch of the intensity of {name}"
    if unlike is not None and unlike.correlation is not None:
        yield 1 - unlike.correlation, "correlation with PyTorch of unlike"


def compare_candidates(reference: Sequence[Floats], exported: Sequence[Floats]) -> dict[str, float]:
    """Return how far two detectors agree: largest difference of scores, and of boxes and landmarks in px.

    Args:
        reference: (A, 15) candidates of each image: box, landmarks, score, of PyTorch.
        exported: the same of the exported detector.

    Raises:
        WeightsError: candidates of another shape, or that are not finite.
    """
    score = shift = 0.0
    faces = 0
    for one, other in zip(reference, exported, strict=True):
        require_finite("detector", one, other)
        found = one[:, 14] > 0.5
        faces += int(found.sum())
        score = max(score, float(np.abs(one[:, 14] - other[:, 14]).max()))
        shift = max(shift, float(np.abs(one[found, :14] - other[found, :14]).max(initial=0.0)))
    return {"score": score, "px": shift, "images": len(reference), "candidates": faces}


def refuse_detector(differences: dict[str, dict[str, float]]) -> None:
    """Refuse a detector or landmarks that differ too much; see ``MAX_SHIFT_PX``.

    Raises:
        WeightsError: they do.
    """
    for name, values in differences.items():
        score, px = values.get("score", 0.0), values["px"]
        if not (score <= MAX_DIFFERENCE["fp32"] and px <= MAX_SHIFT_PX):
            raise WeightsError(
                f"refused, nothing was written: the {name} network differs from PyTorch by {px:.2g} px and "
                f"{score:.2g} of the score, accepted are {MAX_SHIFT_PX} px and {MAX_DIFFERENCE['fp32']}"
            )


def to_table(aus: dict[int, AUParity]) -> Table:
    """Return a table for the terminal: a row an action unit, and below what the columns mean."""
    labelled = any(one.auc is not None for one in aus.values())
    headers = ["AU", "probability\ndiffers by", "intensity\ndiffers by", "correlation\nwith PyTorch"]
    headers += ["AUC of\nPyTorch", "AUC of\nfiles", "change\nof AUC"] if labelled else []
    caption = CAPTION + (CAPTION_AUC if labelled else "")
    columns = (Column(header, no_wrap=True) for header in headers)
    table = Table(*columns, box=box.SIMPLE, caption=caption, caption_justify="left")
    for au, one in aus.items():
        cells = [_text(one.probability, ".6f"), _text(one.intensity, ".6f"), _text(one.correlation, ".5f")]
        if labelled:
            change = None if one.auc is None or one.auc_exported is None else one.auc_exported - one.auc
            cells += [_text(one.auc, ".3f"), _text(one.auc_exported, ".3f"), _text(change, "+.4f")]
        table.add_row(facts.au_name(au), *cells)
    return table


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def to_json(aus: dict[int, AUParity]) -> dict[str, dict[str, Any]]:
    """Return plain values by the name of the action unit."""
    return {facts.au_name(au): asdict(one) for au, one in aus.items()}
