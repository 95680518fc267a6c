"""``maeface-studio bench``: scores of any tool's action units on renders, portraits and clips."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from maeface import checks, facts
from maeface.data.ingest.inputs import find_inputs
from maeface.data.loading.dataset import gather_manifests
from maeface.data.tables import labels as label_tables
from maeface.data.tables.labels import Labels
from maeface.errors import ConfigError, DataError
from maeface.faces.detector_weights import WeightsSource
from maeface_studio.output.shards import LABELS
from maeface_studio.weights.bench import clips, making, render_people, stills
from maeface_studio.weights.bench.scores import Result, Score, write
from maeface_studio.weights.bench.tool_tables import ToolTable, read_tables

MEDIAPIPE = "mediapipe"
WEIGHTS = ".safetensors"

Scored = tuple[list[Score], list[str]]


@dataclass(frozen=True)
class Tool:
    """What is scored; MediaPipe where there are neither weights nor tables.

    Attributes:
        name: in the results.
        weights: a file or a name of weights to predict with.
        tables: tables and folders of tables that the tool wrote.
    """

    name: str
    weights: str | None = None
    tables: tuple[Path, ...] = ()

    def read(
        self, path: Path, of_weights: Callable[[str], pd.DataFrame], of_mediapipe: Callable[[], Path]
    ) -> list[ToolTable]:
        """Return the tool's tables; those of weights and of MediaPipe are made, and written to ``path``."""
        if self.tables:
            return [table for given in self.tables for table in read_tables(given)]
        if self.weights is None:
            return read_tables(of_mediapipe())
        return read_tables(making.write(of_weights(self.weights), path))


def run(
    tools: Sequence[str],
    photos: Path | None = None,
    renders: Path | None = None,
    fold: str | None = None,
    videos: Sequence[Path] = (),
    people: Path | None = None,
    teacher: Path | None = None,
    fps: float | None = None,
    detector: WeightsSource = "embedded",
    tables: Path | None = None,
    out: Path | None = None,
) -> Result:
    """Score tools on the sets whose files are given.

    Args:
        tools: for each a file of weights or the name of packaged weights; ``mediapipe``; or ``NAME=PATH``,
            with the path of weights, a table or a folder of tables. A name with several tables is one tool.
        photos: folder of the official portraits.
        renders: prepared folder with ``labels.parquet``, of people whom no tool has learned from. SynthAU
            (seed 0) is scored by its folds.
        fold: of SynthAU ("1", "2" or "3"): only its test subjects in ``renders``.
        videos: clips, and folders of them.
        people: CSV with ``source``, ``track`` and ``person``, for people who are in several clips.
        teacher: MediaPipe's ``face_landmarker.task``, for ``videos`` and for ``mediapipe``.
        fps: of clips, read at most this many frames per second; None: all.
        detector: weights of the face detector.
        tables: folder for the tables that are made; those of MediaPipe are used again. None: they are not
            kept.
        out: file for the scores, ``.csv``.

    Raises:
        ConfigError: no set, no such file, a portrait is missing, an option without the other it needs, or
            weights learned from the people of ``renders``.
        DataError: a table or labels cannot be read.
        ResourceError: mediapipe is needed and not installed.
        WeightsError: not an AU model.
    """
    checks.require_writable_file(out, "scores", (".csv",))
    checks.require_writable_folders(tables)
    checks.require_sampling(1, fps)
    if photos is None and renders is None and not videos:
        raise ConfigError("nothing to score on; give --renders, --photos or --videos")
    if fold is not None and renders is None:
        raise ConfigError("--fold chooses among --renders; give a folder of them")
    chosen = parse_tools(tools)
    _require_teacher(chosen, bool(videos), teacher)
    scored: dict[str, Scored] = {}
    with TemporaryDirectory() as temporary:
        folder = tables or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        maker = making.Maker(folder, teacher, fps, detector)
        if renders is not None:
            scored["renders"] = _score_renders(chosen, maker, renders, fold)
        if photos is not None:
            scored["portraits"] = _score_portraits(chosen, maker, photos)
        if videos:
            scored["clips"] = _score_clips(chosen, maker, videos, read_people(people))
    result = Result(
        tuple(score for scores, _ in scored.values() for score in scores),
        {name: tuple(remarks) for name, (_, remarks) in scored.items()},
    )
    if out is not None:
        write(result, out)
    return result


def _require_teacher(tools: Sequence[Tool], clips: bool, teacher: Path | None) -> None:
    """Check that MediaPipe's file is given where it is needed, and another tool for clips."""
    of_mediapipe = [tool for tool in tools if tool.weights is None and not tool.tables]
    if (clips or of_mediapipe) and teacher is None:
        raise ConfigError("clips and 'mediapipe' need --teacher, MediaPipe's face_landmarker.task")
    if clips and len(of_mediapipe) == len(tools):
        raise ConfigError("MediaPipe is the reference of --videos; give another tool to score")


def parse_tools(texts: Sequence[str]) -> list[Tool]:
    """Return the tools that are given, as in ``run``.

    Raises:
        ConfigError: two tools have one name, weights have MediaPipe's, or a file does not exist.
        WeightsError: there are no such weights.
    """
    tools: dict[str, Tool] = {}
    for text in texts:
        name, _, path = text.rpartition("=")
        is_table = bool(name) and not path.endswith(WEIGHTS)
        if is_table:
            checks.require_inputs([Path(path)])
            known = tools.get(name, Tool(name))
            tool = Tool(name, tables=(*known.tables, Path(path)))
        else:
            tool = Tool(MEDIAPIPE) if text == MEDIAPIPE else Tool(name or Path(path).stem, weights=path)
            checks.require_weights([tool.weights])
        same = tools.get(tool.name)
        if same and not (tool.tables and same.tables):
            raise ConfigError(f"two tools are called {tool.name}; name them: NAME=PATH")
        if tool.name == MEDIAPIPE and tool.weights:  # their table would replace MediaPipe's
            raise ConfigError(f"weights cannot be called {MEDIAPIPE}; name them: NAME=PATH")
        tools[tool.name] = tool
    return list(tools.values())


def _score_renders(tools: Sequence[Tool], maker: making.Maker, folder: Path, fold: str | None) -> Scored:
    if not (folder / LABELS).is_file():
        raise ConfigError(f"{folder} has no {LABELS}; give a folder that `maeface-studio render` wrote")
    render_people.require_unseen(folder, {tool.name: tool.weights for tool in tools if tool.weights}, fold)
    rows = gather_manifests([folder])
    joined = label_tables.join_labels(rows, folder / LABELS)
    table = joined.table().assign(source=joined.rows["source"])
    if fold is not None:
        chosen = render_people.subjects_of(fold)
        table = table[table["subject"].isin(chosen)].reset_index(drop=True)
        if table.empty:
            raise DataError(f"{folder} has no subject of fold {fold}; SynthAU's are {chosen[0]}, ...")
        folds, remarks = None, [f"Fold {fold} of SynthAU: {table['subject'].nunique()} people."]
    else:
        folds, remarks = render_people.folds_of(folder, list(table["subject"]))
    rows = rows[rows["id"].isin(table["id"])]
    labels = Labels(
        path=folder / LABELS,
        keys=("id",),
        rows=table[["id", "source", "subject", "clip"]],
        occurrence={au: _column(table, au, "o") for au in joined.aus_occurrence},
        intensity={au: _column(table, au, "i") for au in joined.aus_intensity},
        ignored=(),
        left={au: _column(table, au, "L") for au in joined.aus_sides},
        right={au: _column(table, au, "R") for au in joined.aus_sides},
    )
    read = {
        tool.name: tool.read(
            maker.path(tool.name, "renders"),
            lambda weights: making.predict_renders(weights, folder, rows, bool(joined.aus_sides)),
            lambda: maker.measure_renders(folder),
        )
        for tool in tools
    }
    measures = stills.RENDERS + (stills.SIDES if joined.aus_sides else ())
    scores, found = stills.score("renders", labels, read, measures, folds=folds)
    return scores, [*remarks, *found]


def _column(table: pd.DataFrame, au: int, kind: str) -> np.ndarray:
    return table[f"{facts.au_name(au)}_{kind}"].to_numpy(np.float64)


def _score_portraits(tools: Sequence[Tool], maker: making.Maker, folder: Path) -> Scored:
    with resources.as_file(resources.files("maeface") / "datasets" / "portraits.csv") as path:
        labels = label_tables.read_labels(path)
    photos = [folder / name for name in labels.rows["source"]]
    made = [tool for tool in tools if not tool.tables]
    if made and (missing := [path.name for path in photos if not path.is_file()]):
        raise ConfigError(
            f"{folder} lacks {len(missing)} portraits, such as {missing[0]}; studio/docs/weights.md says "
            "where to get them"
        )
    read = {
        tool.name: tool.read(
            maker.path(tool.name, "portraits"),
            lambda weights: making.predict_photos(weights, photos, maker.detector),
            lambda: maker.read_photos(photos),
        )
        for tool in tools
    }
    return stills.score("portraits", labels, read, stills.PORTRAITS)


def read_people(path: Path | None) -> dict[tuple[str, int], str]:
    """Return the people of clips by file name and track.

    Raises:
        ConfigError: no such file.
        DataError: it lacks a column, or a track is no number.
    """
    if path is None:
        return {}
    checks.require_inputs([path], "file of people")
    try:
        table = pd.read_csv(path, usecols=["source", "track", "person"])
        tracks = table["track"].astype(int)
    except ValueError as error:
        raise DataError(
            f"{path} is no table of people; expected CSV with source, track (a number), person: {error}"
        ) from error
    return dict(zip(zip(table["source"], tracks, strict=True), table["person"].astype(str), strict=True))


def _score_clips(
    tools: Sequence[Tool],
    maker: making.Maker,
    videos: Sequence[Path],
    people: Mapping[tuple[str, int], str],
) -> Scored:
    films = [item for item in find_inputs(videos) if item.video]
    if not films:
        raise DataError(f"no video in {', '.join(map(str, videos))}")
    reference = maker.follow_clips(films)
    others: Mapping[str, list[ToolTable]] = {
        tool.name: tool.read(
            maker.path(tool.name, "clips"),
            lambda weights: making.predict_clips(weights, films, maker.fps, maker.detector),
            lambda: reference,
        )
        for tool in tools
        if tool.weights is not None or tool.tables  # MediaPipe is the reference
    }
    return clips.score(pd.read_parquet(reference), others, people)
