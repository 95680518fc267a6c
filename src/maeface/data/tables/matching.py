"""Which prediction belongs to which label.

By ``id`` where both tables have it. Else by the file, then ``frame``, then ``face``:

* the file: labels say ``source``, predictions ``source`` or ``input``. They need not be written alike: where
  they differ, the end of a path is enough ("faces/s01/3.jpg" is "s01/3.jpg"), if it leaves no doubt.
  Predictions that name no file (OpenFace writes one table a video) fit labels of one file;
* ``frame``: 0 where a table has none;
* ``face``: of the labels, if they have it. Else the frame's face of best score (without scores, the first).
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from maeface.data.tables.labels import Labels
from maeface.data.tables.predictions import Predictions
from maeface.errors import DataError

ID = re.compile(r"(?P<source>.*)#(?P<frame>\d+)\.(?P<face>\d+)", re.DOTALL)
"""How the manifest writes an ``id``."""


@dataclass(frozen=True)
class Match:
    """Labels and predictions that belong together.

    Attributes:
        label_rows: (K,) rows of the labels.
        prediction_rows: (K,) their predictions.
        no_face: labels where the tool looked and found no face.
        labels_unmatched: labels that no prediction belongs to.
        predictions_unmatched: found faces that no label belongs to.
        notes: what looks wrong, a line each.
    """

    label_rows: np.ndarray
    prediction_rows: np.ndarray
    no_face: int
    labels_unmatched: int
    predictions_unmatched: int
    notes: tuple[str, ...] = ()


def match(labels: Labels, predictions: Predictions) -> Match:
    """Find for each label its prediction.

    Raises:
        DataError: nothing matches, or a row does not tell which face it means.
    """
    wanted, offered, keys = _common_keys(labels, predictions)
    notes = _first_frames(wanted, offered) if "frame" in keys else ()
    found = offered[offered["found"]]
    if "face" not in keys and keys != ["id"]:
        found = _best(found, keys)
    if (repeated := found.duplicated(keys)).any():
        first = found[repeated].iloc[0]
        where = ", ".join(f"{key} {first[key]!r}" for key in keys)
        raise DataError(f"{predictions.path} has several rows for {where}; which one is meant?")
    have = pd.MultiIndex.from_frame(found[keys])
    at = have.get_indexer(pd.MultiIndex.from_frame(wanted[keys]))  # for each label a row of found, or -1
    hit = at >= 0
    looked_keys = [key for key in keys if key != "face"]
    looked = pd.MultiIndex.from_frame(offered.loc[~offered["found"], looked_keys].drop_duplicates())
    in_vain = looked.get_indexer(pd.MultiIndex.from_frame(wanted[looked_keys])) >= 0
    if not hit.any():
        raise DataError(_no_match(labels, predictions, wanted, offered, keys, int(in_vain.sum())))
    if len(np.unique(at[hit])) < hit.sum():
        raise DataError(f"{labels.path}: several label rows mean one face; give them a column `face`")
    return Match(
        label_rows=np.flatnonzero(hit),
        prediction_rows=found.index.to_numpy()[at[hit]],
        no_face=int((in_vain & ~hit).sum()),
        labels_unmatched=int((~in_vain & ~hit).sum()),
        predictions_unmatched=int(offered["found"].sum() - hit.sum()),
        notes=notes,
    )


def _common_keys(labels: Labels, predictions: Predictions) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Both tables with the key columns that they meet by."""
    wanted, offered = labels.rows.copy(), predictions.rows.copy()
    if "id" in labels.keys and "id" in predictions.given:
        return wanted, offered, ["id"]
    given = set(labels.keys)
    if "id" in given:
        wanted = _from_id(labels, wanted)
        given = {"source", "frame", "face"}
    if "id" in predictions.given and "source" not in predictions.given:
        offered[["source", "frame", "face"]] = _parts(predictions.path, offered["id"])
    elif "source" not in predictions.given:
        offered["source"] = _only_source(labels, predictions, wanted)
    offered["source"] = _as_in_labels(offered["source"], wanted["source"])
    wanted["source"] = wanted["source"].astype(str)
    if "frame" not in given:
        wanted["frame"] = 0
        _refuse_frames(labels, wanted, offered)
    one_face = "face" not in predictions.given and "id" not in predictions.given
    if "face" not in given or (one_face and (wanted["face"] == 0).all()):
        return wanted, offered, ["source", "frame"]
    if one_face:
        raise DataError(f"{predictions.path} needs a column `face`: {labels.path} labels several in a frame")
    return wanted, offered, ["source", "frame", "face"]


def _from_id(labels: Labels, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**_parts(labels.path, rows["id"]))


def _parts(path: object, ids: "pd.Series[str]") -> pd.DataFrame:
    """``source#frame.face`` taken apart."""
    parts = [ID.fullmatch(str(value)) for value in ids]
    if None in parts:
        odd = ids.iloc[parts.index(None)]
        raise DataError(
            f"{path}: the id {odd!r} is not as in a manifest (source#frame.face); give both tables `id`"
        )
    table = pd.DataFrame([part.groupdict() for part in parts if part], index=ids.index)
    return table.astype({"frame": np.int64, "face": np.int64})


def _only_source(labels: Labels, predictions: Predictions, wanted: pd.DataFrame) -> str:
    sources = wanted["source"].unique()
    if len(sources) > 1:
        raise DataError(
            f"{predictions.path} does not say which file a row is of, and {labels.path} has {len(sources)}; "
            "add a column `input`"
        )
    return str(sources[0])


def _as_in_labels(inputs: "pd.Series[str]", sources: "pd.Series[str]") -> "pd.Series[str]":
    """Inputs renamed to the sources that they end with, or that end with them; others as they are."""
    known = {str(source) for source in sources}
    names = {}
    for name in inputs.dropna().unique():
        parts = PurePosixPath(str(name).replace("\\", "/")).parts
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        names[name] = next((end for end in (str(name), *ends) if end in known), None)
    if not any(names.values()):
        endings: dict[str, list[str]] = {}
        for source in known:
            parts = PurePosixPath(source).parts
            for start in range(1, len(parts)):
                endings.setdefault("/".join(parts[start:]), []).append(source)
        for name in names:
            found = endings.get(str(name), [])
            names[name] = found[0] if len(found) == 1 else None
    return inputs.map(lambda name: names.get(name) or str(name))


def _best(found: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Of each frame the face of best score; the first where scores are equal or there are none."""
    order = found["score"].fillna(-np.inf).sort_values(ascending=False, kind="stable").index
    return found.loc[order].drop_duplicates(keys).sort_index()


def _refuse_frames(labels: Labels, wanted: pd.DataFrame, offered: pd.DataFrame) -> None:
    mine = offered[offered["source"].isin(set(wanted["source"]))]
    frames = mine.groupby("source")["frame"].nunique()
    if (frames > 1).any():
        source = frames.idxmax()
        raise DataError(
            f"{labels.path} has no column `frame`, and {source} was predicted in {frames.max()} frames; "
            "give it one"
        )
    offered.loc[mine.index, "frame"] = 0


def _first_frames(wanted: pd.DataFrame, offered: pd.DataFrame) -> tuple[str, ...]:
    """A hint at frames counted from 0 on one side and from 1 on the other, for videos."""
    mine = offered[offered["source"].isin(set(wanted["source"]))]
    if mine.empty or wanted["frame"].nunique() < 3:
        return ()
    ours, theirs = int(wanted["frame"].min()), int(mine["frame"].min())
    if {ours, theirs} == {0, 1}:
        return (f"frames of the labels begin at {ours}, of the predictions at {theirs}: are they one off?",)
    return ()


def _no_match(
    labels: Labels,
    predictions: Predictions,
    wanted: pd.DataFrame,
    offered: pd.DataFrame,
    keys: list[str],
    in_vain: int,
) -> str:
    if in_vain:
        return f"{predictions.path}: no face was found in any of the {in_vain} labelled frames that it has"

    def example(rows: pd.DataFrame) -> str:
        return ", ".join(f"{key} {rows[key].iloc[0]}" for key in keys)

    return (
        f"no prediction belongs to a label: {labels.path} has {example(wanted)}; "
        f"{predictions.path} has {example(offered)}"
    )
