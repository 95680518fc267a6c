"""Smoothing over time: a centred Gaussian in seconds, for each person of a film."""

import re

import numpy as np
import pandas as pd

from maeface.analysis.timeline import Bools, Floats, Person, numbers, people
from maeface.errors import ConfigError

LOST_S = 0.2
"""Gaps without values that are longer are not smoothed across, as ``EventRules.lost_s``."""
REACH = 3.0
"""Where the Gaussian ends, in standard deviations."""


def smooth(table: pd.DataFrame, sigma_s: float) -> pd.DataFrame:
    """Return the table with smoothed values of films: ``AU12_p``, ``_i``, ``_d``, ``_L`` and ``_R``.

    Each value becomes the mean of the values of this person near it in time, weighted by a Gaussian and by
    the time for which each frame stands. Only rows with values are changed, and nothing is filled in.
    Values on the other side of a gap of more than 0.2 s have no weight, nor have those more than three
    standard deviations away. Photos stay as they are.

    A centred mean moves no peak of a symmetric movement, but it makes every movement wider and lower:
    onsets come earlier, offsets later, and a blink may no longer reach the threshold.

    Args:
        table: the table of ``maeface predict``.
        sigma_s: standard deviation of the Gaussian in s; 0 changes nothing.

    Returns:
        A copy with the same rows. The columns of occurrence (``AU12``) are left out, because they belong to
        the values before; ``find_events``, ``summarize`` and ``co_occurrence`` then use ``AU12_p``.

    Raises:
        ConfigError: ``sigma_s`` is below 0 or not finite.
        DataError: the table is not one of predictions.
    """
    if not (np.isfinite(sigma_s) and sigma_s >= 0):
        raise ConfigError(f"the smoothing is {sigma_s:g} s; expected a number of seconds, 0 or more")
    if sigma_s == 0:
        return table.copy()
    result = table.drop(columns=[name for name in table if re.fullmatch(r"AU\d\d", str(name))])
    columns = [str(name) for name in result if re.fullmatch(r"AU\d\d_[pidLR]", str(name))]
    values = np.array([numbers(result, name) for name in columns]).T
    for person in people(table):
        if person.is_film and columns:
            smoothed = _smooth_person(person, np.stack([person.column(name) for name in columns], 1), sigma_s)
            values[person.places[person.valid]] = smoothed[person.valid]
    return result.assign(**dict(zip(columns, values.T, strict=True)))


def _smooth_person(person: Person, values: Floats, sigma_s: float) -> Floats:
    """Return the smoothed values, (N, K); rows without values stay so."""
    rows = np.flatnonzero(person.valid)
    times, spans, values_of = person.times[rows], person.spans[rows], values[rows]
    parts = np.r_[0, np.cumsum(np.diff(times) - spans[:-1] > LOST_S)]
    centres = times + spans / 2
    spans = np.where(spans > 0, spans, 1e-9)
    known = ~np.isnan(values_of)
    filled = np.where(known, values_of, 0.0)
    total = filled * spans[:, None]
    weight = known * spans[:, None]
    for lag in range(1, len(rows)):
        distance = (centres[lag:] - centres[:-lag]) / sigma_s
        near: Bools = (distance <= REACH + 1e-6) & (parts[lag:] == parts[:-lag])
        if not near.any():
            break
        factor = (np.exp(-(distance**2) / 2) * near)[:, None]
        for to, source in ((slice(lag, None), slice(None, -lag)), (slice(None, -lag), slice(lag, None))):
            total[to] += factor * filled[source] * spans[source, None]
            weight[to] += factor * known[source] * spans[source, None]
    result = values.copy()
    smoothed = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
    result[rows] = np.where(known, smoothed, np.nan)
    return result
