"""Scores of held-out faces during a training, and the thresholds that they choose."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from maeface import facts, metrics

THRESHOLD = 0.5
CANDIDATES = np.round(np.arange(1, 100) / 100, 2)
LEAST = 10
"""Fewest faces with and without an AU that choose its threshold."""


def compute_scores(aus: tuple[int, ...], arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Return ``f1/AU12`` ... and ``f1_mean``, and the same for ``icc``; means leave out what is undefined.

    Args:
        aus: A action units.
        arrays: ``labels`` and ``mask`` as in ``Split``, and the model's ``occurrence`` (probabilities) and
            ``intensity`` (0 to 5), (N, A) each, as far as its task has them.
    """
    scores: dict[str, float] = {}
    kinds = [kind for kind in ("occurrence", "intensity") if kind in arrays]
    columns = np.split(np.arange(len(aus) * len(kinds)), len(kinds))
    for kind, own in zip(kinds, columns, strict=True):
        labels, mask = arrays["labels"][:, own], arrays["mask"][:, own]
        if kind == "occurrence":
            name, values = "f1", metrics.f1(labels, arrays[kind] >= THRESHOLD, mask)
        else:
            name, values = "icc", metrics.icc31(labels, arrays[kind], mask)
        scores |= {f"{name}/{facts.au_name(number)}": float(v) for number, v in zip(aus, values, strict=True)}
        scores[f"{name}_mean"] = metrics.mean(values)
    return scores


def choose_thresholds(
    labels: NDArray[np.floating], probabilities: NDArray[np.floating], mask: NDArray[np.bool_]
) -> tuple[float, ...]:
    """Return for each AU the threshold with the highest F1; of equals, the one nearest to 0.5.

    Thresholds are multiples of 0.01. An AU that fewer than ``LEAST`` faces have or lack keeps 0.5.

    Args:
        labels: (N, A), 0 or 1; any value where missing.
        probabilities: (N, A).
        mask: (N, A) bool, True where the label is there (not missing).
    """
    f1 = np.array([metrics.f1(labels, probabilities >= value, mask) for value in CANDIDATES])  # (99, A)
    nearest = np.argsort(np.abs(CANDIDATES - THRESHOLD), kind="stable")
    chosen = CANDIDATES[nearest][np.nan_to_num(f1[nearest], nan=-1.0).argmax(axis=0)]
    present = (mask & (labels > 0)).sum(axis=0)
    enough = np.minimum(present, mask.sum(axis=0) - present) >= LEAST
    return tuple(float(value) for value in np.where(enough, chosen, THRESHOLD))


def positive_weights(
    labels: NDArray[np.floating], mask: NDArray[np.bool_], limit: float
) -> NDArray[np.float32]:
    """Return the weight of the faces with each AU, (A,): the number without it over that with it.

    Args:
        labels: (N, A), 0 or 1; any value where missing.
        mask: (N, A) bool, True where the label is there (not missing).
        limit: largest weight; the smallest is its inverse. An AU without any label has 1.
    """
    present = (mask & (labels > 0)).sum(axis=0)
    absent = mask.sum(axis=0) - present
    ratio = np.where(mask.any(axis=0), absent / np.maximum(present, 1e-9), 1.0)
    return np.clip(ratio, 1 / limit, limit).astype(np.float32)


def by_au(aus: Iterable[int], values: Iterable[float]) -> str:
    """Return values by action unit, for a note to the user."""
    return ", ".join(f"{facts.au_name(au)} {v:.3g}" for au, v in zip(aus, values, strict=True))
