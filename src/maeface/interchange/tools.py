"""The table of predictions with the columns, units and signs of OpenFace, py-feat and LibreFace.

What our table cannot give (gaze, landmarks, emotions, action units that the weights do not know) has no
column, so that a script that needs it fails instead of reading made-up numbers.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import checks
from maeface.analysis.timeline import numbers, person_numbers
from maeface.errors import ConfigError
from maeface.interchange import native

OPENFACE_INTENSITY = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
OPENFACE_OCCURRENCE = (*OPENFACE_INTENSITY[:-1], 28, 45)
PYFEAT = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
LIBREFACE_OCCURRENCE = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
LIBREFACE_INTENSITY = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
LIBREFACE_MAX = 1.0
"""The highest intensity in a table for LibreFace. Its manual says 5, a user sees 1; our own is 5."""
MAX_INTENSITY = 5.0
DIGITS = 6
"""Decimals of numbers that were converted; finer ones are noise of the conversion."""


def to_openface(table: pd.DataFrame, name_inputs: bool = False) -> pd.DataFrame:
    """Return the columns of OpenFace 2 (FeatureExtraction).

    ``frame`` is 1-based and ``face_id`` the track. Without a face ``success`` is 0, and so is all else, as in
    OpenFace. The pose is in radians, with ``pose_Rx`` > 0 down, ``pose_Ry`` > 0 to the person's right and
    ``pose_Rz`` > 0 clockwise in the picture. AU45 is AU43, unless the table has AU45.

    Args:
        table: M rows of the native table.
        name_inputs: add the column ``input``, which OpenFace does not have; needed for several inputs.
    """
    table = native.as_frame(table)
    found = native.find_faces(table)
    columns: dict[str, object] = {
        "frame": table["frame"] + 1,
        "face_id": _whole(np.nan_to_num(person_numbers(table))),
        "timestamp": _rounded(numbers(table, "time_s")),
        "confidence": np.where(found, numbers(table, "score"), 0.0),
        "success": _whole(found),
    }
    measured: dict[str, NDArray[np.float64]] = {}
    if "yaw" in table:
        measured["pose_Rx"] = -np.deg2rad(numbers(table, "pitch"))
        measured["pose_Ry"] = -np.deg2rad(numbers(table, "yaw"))
        measured["pose_Rz"] = np.deg2rad(numbers(table, "roll"))
    for kind, aus, end in (
        ("intensity", OPENFACE_INTENSITY, "r"),
        ("occurrence", OPENFACE_OCCURRENCE, "c"),
    ):
        known = native.action_units(table.columns, kind)
        for au in aus:
            source = 43 if au == 45 and 45 not in known else au
            if source in known:
                measured[f"AU{au:02d}_{end}"] = numbers(table, native.column(source, kind))
    columns |= {name: _rounded(np.where(found, values, 0.0)) for name, values in measured.items()}
    return _with_input(columns, table, name_inputs)


def to_pyfeat(table: pd.DataFrame, name_inputs: bool = True) -> pd.DataFrame:
    """Return the columns of a py-feat 2 ``Fex``: box, pose, probabilities, and where a row is from.

    Without a face all values are NaN. The pose is in radians, with ``Pitch`` > 0 up, ``Yaw`` > 0 to the
    person's right and ``Roll`` > 0 towards the person's right shoulder; ``X``, ``Y`` and ``Z`` are empty.

    Args:
        table: M rows of the native table.
        name_inputs: has no effect: py-feat always has the column ``input``.

    Raises:
        ConfigError: the table has no probabilities.
    """
    table = native.as_frame(table)
    known = native.action_units(table.columns, "probability")
    if not known:
        raise ConfigError(
            "the format pyfeat holds probabilities, and these weights give none; "
            "choose native, openface or libreface"
        )
    x1, y1, x2, y2 = (numbers(table, name) for name in ("x1", "y1", "x2", "y2"))
    columns: dict[str, object] = {
        "FaceRectX": _rounded(x1),
        "FaceRectY": _rounded(y1),
        "FaceRectWidth": _rounded(x2 - x1),
        "FaceRectHeight": _rounded(y2 - y1),
        "FaceScore": numbers(table, "score"),
    }
    if "yaw" in table:
        columns["Pitch"] = _rounded(np.deg2rad(numbers(table, "pitch")))
        columns["Roll"] = _rounded(-np.deg2rad(numbers(table, "roll")))
        columns["Yaw"] = _rounded(-np.deg2rad(numbers(table, "yaw")))
        columns |= dict.fromkeys("XYZ", np.full(len(table), np.nan))  # Fex.poses asks for them
    columns |= {
        f"AU{au:02d}": numbers(table, native.column(au, "probability")) for au in PYFEAT if au in known
    }
    minutes, seconds = np.divmod(np.maximum(np.nan_to_num(numbers(table, "time_s")), 0), 60)
    track = numbers(table, "track")
    columns |= {
        "input": table["input"],
        "frame": table["frame"],
        "approx_time": [f"{int(m):02d}:{int(s):02d}" for m, s in zip(minutes, seconds, strict=True)],
        "Identity": [None if np.isnan(number) else f"Person_{int(number)}" for number in track],
    }
    return pd.DataFrame(columns)


def to_libreface(table: pd.DataFrame, name_inputs: bool = False) -> pd.DataFrame:
    """Return the columns of LibreFace; intensities are 0 to ``LIBREFACE_MAX``, the pose is in degrees.

    Two columns are not LibreFace's: ``face_id``, because LibreFace has one face a frame and our table may
    have several, and ``intensity_max``, because LibreFace's own tables do not say it.

    Args:
        table: M rows of the native table.
        name_inputs: add the column ``input``, which LibreFace does not have; needed for several inputs.
    """
    table = native.as_frame(table)
    columns: dict[str, object] = {
        "frame_idx": table["frame"],
        "frame_time_in_ms": _rounded(1000 * numbers(table, "time_s")),
    }
    if "yaw" in table:
        columns |= {name: _rounded(numbers(table, name)) for name in ("pitch", "yaw", "roll")}
    known = native.action_units(table.columns, "occurrence")
    for au in LIBREFACE_OCCURRENCE:
        if au in known:
            columns[f"au_{au}"] = table[native.column(au, "occurrence")]
    known = native.action_units(table.columns, "intensity")
    factor = LIBREFACE_MAX / MAX_INTENSITY
    rated = {
        f"au_{au}_intensity": _rounded(factor * numbers(table, native.column(au, "intensity")))
        for au in LIBREFACE_INTENSITY
        if au in known
    }
    columns |= rated
    columns["face_id"] = _whole(person_numbers(table))
    if rated:
        columns["intensity_max"] = LIBREFACE_MAX
    return _with_input(columns, table, name_inputs)


def _to_native(table: pd.DataFrame, name_inputs: bool = True) -> pd.DataFrame:
    return native.as_frame(table)


_CONVERSIONS: Mapping[str, Callable[[pd.DataFrame, bool], pd.DataFrame]] = {
    "native": _to_native,
    "openface": to_openface,
    "pyfeat": to_pyfeat,
    "libreface": to_libreface,
}
FORMATS = tuple(_CONVERSIONS)


def convert(table: pd.DataFrame, layout: str, name_inputs: bool = True) -> pd.DataFrame:
    """Return a table of predictions, or a piece of one, with the columns of a tool.

    Each row is converted without the others, so a long table may be converted in pieces.

    Args:
        table: M rows of the native table.
        layout: one of ``FORMATS``.
        name_inputs: add a column ``input`` where the tool has none.

    Returns:
        M rows, in the same order.

    Raises:
        ConfigError: no such format, or the weights do not give what it holds.
        DataError: not a table of ``maeface predict``.
    """
    checks.require_choice("format", layout, FORMATS)
    return _CONVERSIONS[layout](table, name_inputs)


def _with_input(columns: dict[str, object], table: pd.DataFrame, name_inputs: bool) -> pd.DataFrame:
    if name_inputs:
        columns["input"] = table["input"]
    return pd.DataFrame(columns)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(values, DIGITS) + 0.0  # not -0.0


def _whole(values: NDArray[np.float64] | NDArray[np.bool_]) -> "pd.Series[int]":
    return pd.Series(values.astype(np.float64)).astype("Int64")
