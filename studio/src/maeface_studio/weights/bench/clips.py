"""Scores of tools within clips: how an action unit's score follows MediaPipe's blendshape over time.

The frames of one person in one clip are a track. A track counts where the blendshape moves in it. Pearson's
correlation is taken over its frames; then the mean over the tracks of each person, and the mean over people.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import console, facts, metrics
from maeface.errors import DataError
from maeface_studio.weights.bench.scores import MEAN, Score, common, interval
from maeface_studio.weights.bench.tool_tables import Files, Floats, ToolTable

AUS = (1, 2, 4, 5, 10, 12, 25, 26, 43)
MOVES = 0.05
"""Least standard deviation of a blendshape (0 to 1) over a track, for it to count as moving."""
LEAST_FRAMES = 20
"""Fewest frames of a track that are compared."""
LEAST_SIDE = 64.0
"""Smallest face that is compared, longer side of its box in px: of smaller ones blendshapes are noise."""
OVERLAP = 0.3
"""Least intersection over union of the boxes of one face."""
BOX = ("x1", "y1", "x2", "y2")
RESAMPLES = 2000
MEASURES = ("r", "r of intensity")


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

    Raises:
        DataError: frames are numbered from 1, or it is not clear which table of a tool counts.
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
    lengths = np.array([len(rows) for rows in tracks], dtype=np.intp)
    frames = np.where(moving, lengths[:, None], 0).sum(axis=0)
    clips = reference["source"].nunique()
    remarks = [f"People: {len(set(names))}, in {len(tracks)} tracks of {clips} clips."]
    of_people: dict[str, dict[str, Floats]] = {measure: {} for measure in MEASURES}
    for tool, tables in tools.items():
        of_kinds = _align(tool, tables, reference)
        found = int((~np.isnan(of_kinds["r"])).any(axis=1).sum())
        remarks.append(f"{tool}: {found} of {len(reference)} faces of frames.")
        for measure, values in of_kinds.items():
            of_tracks = np.array(
                [
                    [
                        _correlation(shapes[rows, k], values[rows, k]) if moves[k] else np.nan
                        for k in range(len(AUS))
                    ]
                    for rows, moves in zip(tracks, moving, strict=True)
                ]
            ).reshape(len(tracks), len(AUS))
            of_people[measure][tool] = pd.DataFrame(of_tracks).groupby(names).mean().to_numpy()
    shown = pd.DataFrame(moving).groupby(names).any().sum(axis=0).to_numpy(np.intp)
    scores: list[Score] = []
    for measure, by_tool in of_people.items():
        kept = common([_mean_of_people(values) for values in by_tool.values()])
        for tool, values in by_tool.items():
            scores += _list_scores(measure, tool, values, kept, shown, frames, resamples)
    return scores, remarks


def _list_scores(
    measure: str,
    tool: str,
    values: Floats,
    kept: NDArray[np.bool_],
    shown: NDArray[np.intp],
    frames: NDArray[np.intp],
    resamples: int,
) -> list[Score]:
    """Return the scores of each action unit, and their mean, with intervals if there are enough people.

    Args:
        measure: its name.
        tool: its name.
        values: of the people, (P, A).
        kept: action units of the mean, (A,).
        shown: people in whom the action unit moves, (A,).
        frames: of these people, (A,).
        resamples: of the bootstrap.
    """
    if not len(values):  # nobody is shown
        values = np.full((1, len(AUS)), np.nan)

    def statistic(rows: NDArray[np.intp]) -> Floats:
        means = _mean_of_people(values[rows])
        return np.append(means, means[kept].mean() if kept.any() else np.nan)

    drawn = metrics.bootstrap(statistic, len(values), resamples)
    used = (~np.isnan(values)).sum(axis=0)
    number = int(kept.sum())
    counts = [
        *zip(shown, frames, used, used, strict=True),
        (number, 0, number, used[kept].min(initial=len(values))),
    ]
    scores = []
    for column, (au, of_au) in enumerate(zip([*AUS, MEAN], counts, strict=True)):
        n, present, with_values, rest_on = map(int, of_au)
        low, high = interval(float(drawn.low[column]), float(drawn.high[column]), rest_on)
        value = float(drawn.value[column])
        scores.append(Score("clips", au, measure, tool, value, low, high, n, present, with_values, rest_on))
    return scores


def _mean_of_people(values: Floats) -> Floats:
    """Return the mean over people who have a value, (P, A) to (A,); NaN where nobody has."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    means: Floats = np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0)
    return means


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


def _align(tool: str, tables: Sequence[ToolTable], reference: pd.DataFrame) -> dict[str, Floats]:
    """Return scores and intensities of a tool for the rows of the reference, (N, A); NaN where none."""
    values = {name: np.full((len(reference), len(AUS)), np.nan) for name in MEASURES}
    sources = sorted(reference["source"].unique())
    files = Files(sources)
    tables = [table.with_sources(files) for table in tables]
    _refuse_frames_from_one(tool, tables, reference)
    owners = np.full(len(reference), -1)
    for number, table in enumerate(tables):
        rows, faces = _match(reference, table)
        if (again := rows[owners[rows] >= 0]).size:
            first = tables[owners[again[0]]].predictions.path
            source = reference["source"][again[0]]
            raise DataError(
                f"{first} and {table.predictions.path} both have {source}; give one of them for {tool}"
            )
        owners[rows] = number
        for of_kind, target in zip((table.scores, table.intensity), values.values(), strict=True):
            for column, au in enumerate(AUS):
                if au in of_kind:
                    target[rows, column] = of_kind[au][faces]
    if (owners < 0).all() and tables and sources:
        example = tables[0].predictions.rows.iloc[0]
        console.note(
            f"{tool} has no face of the clips: {tables[0].predictions.path} has source "
            f"{example['source']}, frame {example['frame']}; the clips are {', '.join(sources)}"
        )
    return values


def _refuse_frames_from_one(tool: str, tables: Sequence[ToolTable], reference: pd.DataFrame) -> None:
    """Refuse tables whose frames begin at 1 in each clip that has a face in frame 0."""
    begin = set(reference.loc[reference["frame"] == 0, "source"])
    rows = pd.concat([table.predictions.rows for table in tables]) if tables else reference[:0]
    firsts = rows[rows["source"].isin(begin)].groupby("source")["frame"].min()
    if len(firsts) and (firsts == 1).all():
        raise DataError(
            f"{tool}: the frames of {firsts.index[0]} begin at 1, and there is a face in frame 0; number "
            "frames from 0, or add a row without values for frame 0 if the tool has missed its face"
        )


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
