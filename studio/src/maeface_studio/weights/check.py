"""``maeface-studio check``: how far to trust each AU of weights; calibrated probabilities, and thresholds.

The check of an AU is its AUC, with an interval over people, on faces that the weights did not learn from:
the held-out portraits, or, for AUs that they do not show, renders of people who are in no training.

The output for an AU gets a scale and an offset, with which its probability is as often right as it says
(``calibration``). They become part of the weights. Then the threshold is chosen: the lowest one with few
false alarms in each of three groups of faces that are known to be without the AU, the held-out portraits,
those renders, and the annotated portraits, from which the weights learned. Calibration error, false alarms,
faces found and F1 are reported ``crosswise``.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from maeface import files
from maeface.errors import ConfigError, WeightsError
from maeface.model import weights as weights_files
from maeface.model.file_format.metadata import Calibration, Check, Metadata
from maeface.report.figures import png
from maeface_studio.weights import calibration, crosswise, diagrams, known_faces
from maeface_studio.weights.calibration import Faces
from maeface_studio.weights.crosswise import DEFAULT, Fold
from maeface_studio.weights.known_faces import KnownFaces, Source

FALSE_ALARMS = 0.03
LEAST = 2 * calibration.LEAST_OF_EACH
"""Fewest faces with an AU, and without it, to calibrate on: enough for the halves of ``crosswise`` too."""
SAME = 1e-3
"""A scale or an offset that differs less from the one in the file is no news, and the tensors stay."""


@dataclass(frozen=True)
class Result:
    """The result for one AU. Fractions are ``crosswise``; NaN where there are no faces.

    Attributes:
        au: the action unit.
        check: None if it could not be checked.
        calibration: None if there were too few faces for it; then its output is that of the training.
        errors: expected calibration error (``calibration.Reliability``) before and after the calibration,
            each on the real faces and on the renders.
        threshold: probability from which it counts as present.
        chosen: whether the threshold was chosen on faces; otherwise it is ``DEFAULT``.
        negatives: number of faces without it that the threshold was chosen on: held-out portraits, renders,
            annotated portraits.
        false_alarms: fraction called present of the real faces, and of the renders, without it.
        found: fraction called present of the real faces, and of the renders, with it.
        f1: on the real faces, and on the renders.
    """

    au: int
    check: Check | None
    calibration: Calibration | None
    errors: tuple[tuple[float, ...], tuple[float, ...]]
    threshold: float
    chosen: bool
    negatives: tuple[int, ...]
    false_alarms: tuple[float, ...]
    found: tuple[float, ...]
    f1: tuple[float, ...]


def run(
    weights: Path | str,
    photos: Path,
    renders: Path,
    write: bool = False,
    detector: Source = "embedded",
    false_alarms: float = FALSE_ALARMS,
    diagram: Path | None = None,
) -> tuple[Result, ...]:
    """Check the AUs of weights, calibrate their probabilities and choose their thresholds.

    Weights that were calibrated before are calibrated anew: the scale and the offset in their metadata are
    taken back first. So the same faces lead to the same file.

    Args:
        weights: a file, or the name of packaged weights.
        photos: folder of the official portraits.
        renders: folder that ``maeface-studio render`` wrote, of people who are in no training.
        write: also write calibration, checks and thresholds into the file. Of its tensors, only those of the
            last layer change; they are then stored as float32, and not rounded.
        detector: weights of the face detector for the portraits.
        false_alarms: largest fraction of the faces without an AU that may be called present, above 0, at
            most 1.
        diagram: PNG file for a picture of the probabilities before and after the calibration.

    Returns:
        One result for each AU, in the order of the outputs. They are those of the calibrated weights, also
        without ``write``.

    Raises:
        ConfigError: a portrait is missing, there are no renders, or ``false_alarms`` is out of range.
        WeightsError: not an AU model, or one that gives no probabilities.
    """
    if not 0 < false_alarms <= 1:
        raise ConfigError(f"false_alarms is {false_alarms:g}; expected a fraction above 0, at most 1")
    path = weights_files.find(weights)
    metadata = weights_files.read_metadata(path)
    if metadata.kind != "au" or metadata.task == "intensity":
        raise WeightsError(f"{path} gives no probabilities; give weights that detect AUs")
    known = known_faces.find(path, photos, renders, detector)
    before = _predict(known, path, {})
    calibrations = _calibrate(metadata, before)
    after = _predict(known, path, calibrations)
    folds = crosswise.make_folds(before, metadata.aus)
    results = tuple(
        _examine(au, column, before, after, folds, calibrations.get(au), false_alarms)
        for column, au in enumerate(metadata.aus)
    )
    if diagram is not None:
        on_real = [result.au for result in results if result.check and result.check.on == "real"]
        joined = [calibration.join(parts) for parts in zip(*(one.to_report for one in folds), strict=True)]
        raw = [calibration.join(calibration.split_by_subject(faces)[::-1]) for faces in before[:2]]
        picture = diagrams.reliability(metadata.aus, on_real, raw, joined)
        files.write_bytes(diagram, png(picture))
    if write:
        changed = _updated(metadata, results, detector)
        weights_files.write_metadata(path, changed, calibrated_head(path, changed.calibration))
    return results


def _predict(
    known: KnownFaces, path: Path, calibrations: Mapping[int, Calibration]
) -> tuple[Faces, Faces, Faces]:
    """Predict the known faces with a copy of weights that is calibrated in this way."""
    with TemporaryDirectory() as name:
        for file in weights_files.files_of(path):
            shutil.copy(file, name)
        copy = Path(name)
        changed = weights_files.read_metadata(copy).model_copy(update={"calibration": dict(calibrations)})
        weights_files.write_metadata(copy, changed, calibrated_head(copy, calibrations))
        return known.predict(copy)


def _calibrate(metadata: Metadata, before: Sequence[Faces]) -> dict[int, Calibration]:
    """Return the calibration of each AU that has enough faces; the one in the file if it is the same."""
    calibrations = {}
    for column, au in enumerate(metadata.aus):
        new, old = calibration.calibrate(before[:2], column, LEAST), metadata.calibration.get(au)
        if new and old and abs(new.scale - old.scale) < SAME and abs(new.offset - old.offset) < SAME:
            new = new.model_copy(update={"scale": old.scale, "offset": old.offset})
        if new:
            calibrations[au] = new
    return calibrations


def calibrated_head(path: Path, calibrations: Mapping[int, Calibration]) -> dict[str, Tensor]:
    """Return the last layer of weights, with this calibration in place of the one in their metadata.

    Intensities, and AUs whose calibration stays, keep their values.

    Args:
        path: of an AU model that gives probabilities.
        calibrations: by AU; AUs that are missing get the output of the training.

    Returns:
        ``head.weight`` and ``head.bias``, float32; empty if nothing changes.
    """
    model, metadata = weights_files.load_model(path)
    weight, bias = (tensor.detach().double() for tensor in (model.head.weight, model.head.bias))
    changed = False
    for row, au in enumerate(metadata.aus):  # occurrences come first
        (scale, offset), (old_scale, old_offset) = (
            (one.scale, one.offset) if (one := entries.get(au)) else (1.0, 0.0)
            for entries in (calibrations, metadata.calibration)
        )
        if (scale, offset) != (old_scale, old_offset):
            weight[row] *= scale / old_scale
            bias[row] = (bias[row] - old_offset) * (scale / old_scale) + offset
            changed = True
    return {"head.weight": weight.float(), "head.bias": bias.float()} if changed else {}


def _updated(metadata: Metadata, results: Sequence[Result], detector: str) -> Metadata:
    """Return the metadata with checks, calibration and thresholds."""
    return metadata.model_copy(
        update={
            "thresholds": tuple(result.threshold for result in results),
            "checks": {result.au: result.check for result in results if result.check is not None},
            "calibration": {one.au: one.calibration for one in results if one.calibration is not None},
            "provenance": metadata.provenance | {"checked_with": f"face detector: {detector}"},
        }
    )


def _examine(
    au: int,
    column: int,
    before: Sequence[Faces],
    after: Sequence[Faces],
    folds: Sequence[Fold],
    calibrated: Calibration | None,
    most: float,
) -> Result:
    """Return the result for one AU; ``most`` is the largest fraction of false alarms."""
    absent = [crosswise.scores_without(faces, column) for faces in after]
    threshold = calibration.choose_threshold(absent, most)
    outcomes = [crosswise.outcome(folds, place, column, most) for place in range(2)]
    alarms, found, f1 = zip(*outcomes, strict=True)
    joined = [calibration.join([one.to_report[place] for one in folds]) for place in range(2)]
    errors = [
        tuple(crosswise.calibration_error(faces, column) for faces in groups)
        for groups in (before[:2], joined)
    ]
    return Result(
        au=au,
        check=calibration.check(after[:2], column),
        calibration=calibrated,
        errors=(errors[0], errors[1]),
        threshold=DEFAULT if threshold is None else threshold,
        chosen=threshold is not None,
        negatives=tuple(map(len, absent)),
        false_alarms=alarms,
        found=found,
        f1=f1,
    )


HEADS = (
    "AU",
    "checked on",
    "n",
    "present",
    "AUC [95 %]",
    "calibrated on",
    "scale, offset",
    "ECE, real",
    "ECE, renders",
    "threshold",
    "chosen on",
    "false alarms: real, renders",
    "found: real, renders",
    "F1: real, renders",
)


def render(results: Sequence[Result]) -> str:
    """Return the results as a table in Markdown."""
    rows = [HEADS, ("---",) * len(HEADS), *(tuple(_cells(result)) for result in results)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{table}\n\n{_means(results)}"


def _means(results: Sequence[Result]) -> str:
    """Return the mean calibration errors as a line."""
    parts = []
    for place, name in enumerate(("real faces", "renders")):
        pairs = [tuple(errors[place] for errors in result.errors) for result in results]
        pairs = [pair for pair in pairs if not np.isnan(pair).any()]
        if pairs:
            parts.append(f"{name} {_change(np.mean(pairs, axis=0))} ({len(pairs)} AUs)")
    return f"Mean ECE, before → after calibration: {'; '.join(parts) or '–'}"


def _change(pair: Sequence[float] | NDArray[np.float64]) -> str:
    """Return a value before and after as text."""
    return "–" if np.isnan(pair).any() else f"{pair[0]:.3f} → {pair[1]:.3f}"


def _cells(result: Result) -> Iterator[str]:
    check = result.check
    yield str(result.au)
    yield check.on if check else "–"
    yield str(check.n) if check else "–"
    yield str(check.present) if check else "–"
    yield f"{check.auc:.3f} [{check.low:.3f}, {check.high:.3f}]" if check else "–"
    fitted = result.calibration
    yield f"{fitted.on}, {fitted.present} of {fitted.n}" if fitted else "–"
    yield f"{fitted.scale:.2f}, {fitted.offset:+.2f}" if fitted else "–"
    for place in range(2):
        yield _change([errors[place] for errors in result.errors])
    yield f"{result.threshold:.2f}{'' if result.chosen else ' (default)'}"
    yield ", ".join(map(str, result.negatives))
    for pair, form in ((result.false_alarms, ".1%"), (result.found, ".0%"), (result.f1, ".3f")):
        yield ", ".join("–" if np.isnan(value) else format(value, form) for value in pair)
