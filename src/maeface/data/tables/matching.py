"""Match predictions with labels.

Rows are matched by ``id`` if both tables have it. Else by the file, then ``frame``, then ``face``:

* the file: ``source`` in labels, ``source`` or ``input`` in predictions. Different names of a file match if
  one is the end of the other ("faces/s01/3.jpg" and "s01/3.jpg") and no other file has that end. Paths of
  Windows, with backslashes, match too. Predictions without a file column (OpenFace writes a table for each
  video) match labels of a single file;
* ``frame``: 0 if a table has no such column;
* ``face``: that of the labels, if they have the column. Else the face of best score in the frame (the first,
  without scores).
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from maeface.data.tables.labels import Labels, frame_offset_notes, unify_slashes
from maeface.data.tables.predictions import Predictions
from maeface.errors import DataError

ID = re.compile(r"(?P<source>.*)#(?P<frame>\d+)\.(?P<face>\d+)", re.DOTALL)
"""The ``id`` of a manifest."""


class NoMatchError(DataError):
    """No prediction belongs to a label."""


@dataclass(frozen=True)
class Match:
    """Matched rows of labels and predictions.

    Attributes:
        label_rows: (K,) rows of the labels.
        prediction_rows: (K,) their predictions.
        no_face: labels of frames in which the tool found no face.
        labels_unmatched: other labels without a prediction.
        predictions_unmatched: faces without a label.
        notes: suspected mistakes, a line each.
    """

    label_rows: np.ndarray
    prediction_rows: np.ndarray
    no_face: int
    labels_unmatched: int
    predictions_unmatched: int
    notes: tuple[str, ...] = ()


def match_predictions(labels: Labels, predictions: Predictions) -> Match:
    """Find the prediction of each label.

    Raises:
        NoMatchError: no prediction belongs to a label.
        DataError: a row does not identify a face.
    """
    label_rows, prediction_rows, keys = _common_keys(labels, predictions)
    notes = frame_offset_notes(label_rows, prediction_rows, "predictions") if "frame" in keys else ()
    faces = prediction_rows[prediction_rows["found"]]
    if "face" not in keys and keys != ["id"]:
        faces = _best_of_frames(faces, keys)
    if (repeated := faces.duplicated(keys)).any():
        first = faces[repeated].iloc[0]
        where = ", ".join(f"{key} {first[key]!r}" for key in keys)
        raise DataError(f"{predictions.path} has several rows for {where}; which one is meant?")
    face_keys = pd.MultiIndex.from_frame(faces[keys])
    positions = face_keys.get_indexer(pd.MultiIndex.from_frame(label_rows[keys]))  # in faces, or -1
    matched = positions >= 0
    frame_keys = [key for key in keys if key != "face"]
    faceless = prediction_rows.loc[~prediction_rows["found"], frame_keys].drop_duplicates()
    in_faceless = (
        pd.MultiIndex.from_frame(faceless).get_indexer(pd.MultiIndex.from_frame(label_rows[frame_keys])) >= 0
    )
    if not matched.any():
        raise NoMatchError(
            _no_match(labels, predictions, label_rows, prediction_rows, keys, int(in_faceless.sum()))
        )
    if len(np.unique(positions[matched])) < matched.sum():
        raise DataError(f"{labels.path}: several label rows mean one face; give them a column `face`")
    return Match(
        label_rows=np.flatnonzero(matched),
        prediction_rows=faces.index.to_numpy()[positions[matched]],
        no_face=int((in_faceless & ~matched).sum()),
        labels_unmatched=int((~in_faceless & ~matched).sum()),
        predictions_unmatched=int(prediction_rows["found"].sum() - matched.sum()),
        notes=notes,
    )


def _common_keys(labels: Labels, predictions: Predictions) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return the rows of both tables and the columns by which they are matched."""
    label_rows, prediction_rows = labels.rows.copy(), predictions.rows.copy()
    if "id" in labels.keys and "id" in predictions.columns:
        prediction_rows["id"] = unify_slashes(prediction_rows["id"], label_rows["id"])
        label_rows["id"] = unify_slashes(label_rows["id"], prediction_rows["id"])
        return label_rows, prediction_rows, ["id"]
    label_keys = set(labels.keys)
    if "id" in label_keys:
        label_rows = label_rows.assign(**_split_ids(labels.path, label_rows["id"]))
        label_keys = {"source", "frame", "face"}
    if "id" in predictions.columns and "source" not in predictions.columns:
        prediction_rows[["source", "frame", "face"]] = _split_ids(predictions.path, prediction_rows["id"])
    elif "source" not in predictions.columns:
        prediction_rows["source"] = _only_source(labels, predictions, label_rows)
    label_rows["source"] = unify_slashes(label_rows["source"].astype(str), prediction_rows["source"])
    prediction_rows["source"] = unify_slashes(prediction_rows["source"], label_rows["source"])
    prediction_rows["source"] = _rename_as_labels(prediction_rows["source"], label_rows["source"])
    if "frame" not in label_keys:
        label_rows["frame"] = 0
        _refuse_several_frames(labels, label_rows, prediction_rows)
    one_face = "face" not in predictions.columns and "id" not in predictions.columns
    if "face" not in label_keys or (one_face and (label_rows["face"] == 0).all()):
        return label_rows, prediction_rows, ["source", "frame"]
    if one_face:
        raise DataError(f"{predictions.path} needs a column `face`: {labels.path} labels several in a frame")
    return label_rows, prediction_rows, ["source", "frame", "face"]


def _split_ids(path: object, ids: "pd.Series[str]") -> pd.DataFrame:
    """Return the columns source, frame and face of ids ``source#frame.face``."""
    parts = [ID.fullmatch(str(value)) for value in ids]
    if None in parts:
        wrong = ids.iloc[parts.index(None)]
        raise DataError(
            f"{path}: the id {wrong!r} is not as in a manifest (source#frame.face); give both tables `id`"
        )
    table = pd.DataFrame([part.groupdict() for part in parts if part], index=ids.index)
    return table.astype({"frame": np.int64, "face": np.int64})


def _only_source(labels: Labels, predictions: Predictions, label_rows: pd.DataFrame) -> str:
    sources = label_rows["source"].unique()
    if len(sources) > 1:
        raise DataError(
            f"{predictions.path} does not say which file a row is of, and {labels.path} has {len(sources)}; "
            "add a column `input`"
        )
    return str(sources[0])


def _rename_as_labels(inputs: "pd.Series[str]", sources: "pd.Series[str]") -> "pd.Series[str]":
    """Return inputs, renamed to the source of which one is the end of the other; others unchanged."""
    known_sources = {str(source) for source in sources}
    names = {}
    for name in inputs.dropna().unique():
        parts = PurePosixPath(str(name)).parts
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        names[name] = next((end for end in (str(name), *ends) if end in known_sources), None)
    if not any(names.values()):
        endings: dict[str, list[str]] = {}
        for source in known_sources:
            parts = PurePosixPath(source).parts
            for start in range(1, len(parts)):
                endings.setdefault("/".join(parts[start:]), []).append(source)
        for name in names:
            matches = endings.get(str(name), [])
            names[name] = matches[0] if len(matches) == 1 else None
    return inputs.map(lambda name: names.get(name) or str(name))


def _best_of_frames(faces: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the face of best score in each frame; the first if scores are equal or missing."""
    order = faces["score"].fillna(-np.inf).sort_values(ascending=False, kind="stable").index
    return faces.loc[order].drop_duplicates(keys).sort_index()


def _refuse_several_frames(labels: Labels, label_rows: pd.DataFrame, prediction_rows: pd.DataFrame) -> None:
    labelled = prediction_rows[prediction_rows["source"].isin(set(label_rows["source"]))]
    frames = labelled.groupby("source")["frame"].nunique()
    if (frames > 1).any():
        source = frames.idxmax()
        raise DataError(
            f"{labels.path} has no column `frame`, and {source} was predicted in {frames.max()} frames; "
            "give it one"
        )
    prediction_rows.loc[labelled.index, "frame"] = 0


def _no_match(
    labels: Labels,
    predictions: Predictions,
    label_rows: pd.DataFrame,
    prediction_rows: pd.DataFrame,
    keys: list[str],
    faceless: int,
) -> str:
    if faceless:
        return f"{predictions.path}: no face was found in any of the {faceless} labelled frames that it has"

    def example(rows: pd.DataFrame) -> str:
        return ", ".join(f"{key} {rows[key].iloc[0]}" for key in keys)

    return (
        f"no prediction belongs to a label: {labels.path} has {example(label_rows)}; "
        f"{predictions.path} has {example(prediction_rows)}"
    )
