"""Scores of tools within clips: how an action unit's score follows MediaPipe's blendshape over time.

The frames of one person in one clip are a track. A track counts where the blendshape moves in it. Pearson's
correlation is taken over its frames; then the mean over the tracks of each person, and the mean over people.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts, metrics
from maeface_studio.weights.bench.scores import Score
from maeface_studio.weights.bench.tool_tables import Floats, ToolTable

AUS = (1, 2, 4, 5, 10, 12, 25, 26, 43)
MOVES = 0.05
"""Least standard deviation of a blendshape (0 to 1) over a track, for it to count as moving."""
LEAST_FRAMES = 20
"""Fewest frames of a track that are compared."""
LEAST_SIDE = 64.0
"""Smallest face that is compared, longer side of its box in px: of smaller ones blendshapes are noise."""
LEAST_PEOPLE = 3
"""Fewest people that give an interval."""
OVERLAP = 0.3
"""Least intersection over union of the boxes of one face."""
BOX = ("x1", "y1", "x2", "y2")
RESAMPLES = 2000


def score(
    reference: pd.DataFrame,
    tools: Mapping[str, Sequence[ToolTable]],
    people: Mapping[tuple[str, int], str] = MappingProxyType({}),
    resamples: int = RESAMPLES,
) -> tuple[list[Score], list[str]]:
    """Score tools on clips.

    A score that does not vary where the blendshape does has r = 0. Where a tool has fewer than
    ``LEAST_FRAMES`` frames of a track, the track is left out of its mean; ``Score.used`` counts the people
    who are in it.

    Args:
        reference: a row for each face of each frame: ``source``, ``frame``, ``track``, ``x1 y1 x2 y2`` in px,
            and ``AU01_p``... from MediaPipe, 0 to 1 or NaN.
        tools: the tables of each tool.
        people: who is shown, by source and track; a track that it lacks is a person of its own.
        resamples: of the bootstrap over people.

    Returns:
        The scores, and remarks: how many people there are, and how many faces of frames each tool has.
    """
    sides = reference[["x2", "y2"]].to_numpy() - reference[["x1", "y1"]].to_numpy()
    reference = reference[sides.max(axis=1) >= LEAST_SIDE].reset_index(drop=True)
    shapes = reference[[f"{facts.au_name(au)}_p" for au in AUS]].to_numpy(np.float64)
    places = reference.groupby(["source", "track"]).ngroup().to_numpy()
    first = reference.drop_duplicates(["source", "track"]).sort_values(["source", "track"])
    tracks = [np.flatnonzero(places == number) for number in range(len(first))]
    names = [
        people.get((source, int(track)), f"{source}, track {track}")
        for source, track in zip(first["source"], first["track"], strict=True)
    ]
    moving = np.array([[_moves(shapes[rows, k]) for k in range(len(AUS))] for rows in tracks], dtype=np.bool_)
    moving = moving.reshape(len(tracks), len(AUS))
    frames = np.array([len(rows) for rows in tracks])
    clips = reference["source"].nunique()
    scores: list[Score] = []
    remarks = [f"People: {len(set(names))}, in {len(tracks)} tracks of {clips} clips."]
    for tool, tables in tools.items():
        of_kinds = _align(tables, reference)
        found = int((~np.isnan(of_kinds["r"])).any(axis=1).sum())
        remarks.append(f"{tool}: {found} of {len(reference)} faces of frames.")
        for measure, values in of_kinds.items():
            for k, au in enumerate(AUS):
                chosen = np.flatnonzero(moving[:, k])
                of_tracks = pd.Series(
                    [_correlation(shapes[tracks[n], k], values[tracks[n], k]) for n in chosen],
                    index=[names[n] for n in chosen],
                    dtype=np.float64,
                )
                of_people = of_tracks.groupby(level=0).mean()
                known = np.array(of_people.dropna(), dtype=np.float64)
                counts = len(of_people), int(frames[chosen].sum())
                scores.append(_score(au, measure, tool, known, counts, resamples))
    return scores, remarks


def _score(
    au: int, measure: str, tool: str, values: Floats, counts: tuple[int, int], resamples: int
) -> Score:
    """Return the mean over people, with an interval if there are enough of them."""
    low = high = np.nan
    if len(values) >= LEAST_PEOPLE:
        interval = metrics.bootstrap(lambda rows: values[rows].mean(), len(values), resamples)
        low, high = float(interval.low), float(interval.high)
    return Score("clips", au, measure, tool, metrics.mean(values), low, high, *counts, len(values))


def _moves(shape: Floats) -> bool:
    known = shape[~np.isnan(shape)]
    return len(known) >= LEAST_FRAMES and bool(known.std() >= MOVES)


def _correlation(shape: Floats, values: Floats) -> float:
    """Return Pearson's r over the frames that both have; NaN for too few, 0 where the tool does not vary."""
    both = ~np.isnan(shape) & ~np.isnan(values)
    if both.sum() < LEAST_FRAMES:
        return float("nan")
    if not np.ptp(values[both]) or not np.ptp(shape[both]):
        return 0.0
    return float(np.corrcoef(shape[both], values[both])[0, 1])


def _align(tables: Sequence[ToolTable], reference: pd.DataFrame) -> dict[str, Floats]:
    """Return scores and intensities of a tool for the rows of the reference, (N, A); NaN where none."""
    values = {name: np.full((len(reference), len(AUS)), np.nan) for name in ("r", "r of intensity")}
    sources = sorted(reference["source"].unique())
    for table in (table.with_sources(sources) for table in tables):
        rows, faces = _match(reference, table)
        for of_kind, target in zip((table.scores, table.intensity), values.values(), strict=True):
            for column, au in enumerate(AUS):
                if au in of_kind:
                    target[rows, column] = of_kind[au][faces]
    return values


def _match(reference: pd.DataFrame, table: ToolTable) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows of the reference and of the table that are one face.

    With boxes, those that overlap most. Without, faces that are alone in their frame in both tables.
    """
    one = reference[["source", "frame", *BOX]].reset_index(drop=True).rename_axis("row").reset_index()
    other = table.predictions.rows[["source", "frame"]].assign(face=np.arange(len(table.boxes)))
    other[list(map("their_{}".format, BOX))] = table.boxes
    pairs = one.merge(other[table.predictions.rows["found"]], on=["source", "frame"])
    if np.isnan(table.boxes).all():
        alone = ~pairs.duplicated("row", keep=False) & ~pairs.duplicated("face", keep=False)
        pairs = pairs[alone]
    else:
        overlaps = _overlaps(pairs[list(BOX)].to_numpy(), pairs.filter(like="their_").to_numpy())
        pairs = pairs.assign(overlap=overlaps).sort_values("overlap", ascending=False, kind="stable")
        pairs = pairs[pairs["overlap"] >= OVERLAP].drop_duplicates("row").drop_duplicates("face")
    return pairs["row"].to_numpy(np.intp), pairs["face"].to_numpy(np.intp)


def _overlaps(one: Floats, other: Floats) -> Floats:
    """Return the intersection over union of pairs of boxes (N, 4)."""
    size = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    common = np.clip(size, 0, None).prod(axis=1)
    areas = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1)
    overlaps: Floats = common / np.maximum(areas - common, 1e-9)
    return overlaps
