"""Predictions as text: a line a face, with the action units that occur; names of people, and shares."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from maeface import console, facts

FEW = 5
"""Action units up to which they are named if none is present."""
Doubt = Callable[[Mapping[str, Any]], str]
"""Returns why a row of a table is of low quality: "small face"; "" if it is not known."""


def no_doubt(row: Mapping[str, Any]) -> str:
    """Return "": why a face is of low quality is not known."""
    return ""


def person_title(number: object, tracked: bool = True) -> str:
    """Return what people read: "Person 0" for a track, "Face 0" for a face without one."""
    return f"{'Person' if tracked else 'Face'} {number}"


def percent(share: float) -> str:
    """Return a share (0 to 1) in percent: ``38%``; 0% and 100% only if it is exactly that."""
    text = f"{share:.0%}"
    if text == "0%" and share > 0:
        return "< 1%"
    return "> 99%" if text == "100%" and share < 1 else text


def low_quality(doubt: str = "") -> str:
    """Return the words at a face of low quality, with the reason if it is known."""
    return f"low quality ({doubt})" if doubt else "low quality"


def describe_faces(
    rows: Iterable[Mapping[str, Any]],
    aus: Collection[int],
    videos: Collection[str] = (),
    doubt: Doubt = no_doubt,
) -> Iterator[str]:
    """Yield a line for each face: the action units that occur, with probability and intensity (0 to 5).

    ``photo.jpg, face 0: AU06 Cheek raiser 0.91 (3.2); AU12 Lip corner puller 0.9 (4.1, left 4.5, right 2.3)``

    Inputs that cannot be read have no line. Control characters in names are escaped.

    Args:
        rows: of the table that ``maeface predict`` writes, {column: value} each.
        aus: action units to name.
        videos: inputs whose lines have the frame and its time.
        doubt: says why a face is of low quality.
    """
    for row in rows:
        if row["status"] not in ("ok", "low_quality", "no_face"):
            continue
        source = console.escape(str(row["input"]))
        if row["input"] in videos:
            source += f", frame {row['frame']} ({row['time_s']:.2f} s)"
        if row["face"] < 0:
            yield f"{source}: no face"
            continue
        present = [_describe_au(row, au) for au in sorted(aus) if row[facts.au_name(au)]]
        quality = f", {low_quality(doubt(row))}" if row["status"] == "low_quality" else ""
        found = "; ".join(present) or describe_absence(aus)
        yield f"{source}, face {row['face']}{quality}: {found}"


def describe_absence(aus: Collection[int]) -> str:
    """Return words for action units none of which is present."""
    names = ", ".join(map(facts.au_name, sorted(aus))) if len(aus) <= FEW else f"{len(aus)} action units"
    return f"{names} is not present" if len(aus) == 1 else f"none of {names} is present"


def _describe_au(row: Mapping[str, Any], au: int) -> str:
    """Return an action unit with its probability, its intensity, and those of the sides that are known."""
    name = facts.au_name(au)
    probability, intensity = row.get(f"{name}_p"), row.get(f"{name}_i")
    values = [] if probability is None else [f"{probability:.2f}"]
    strengths = [] if intensity is None else [f"{intensity:.1f}"]
    for side, column in (("left", f"{name}_L"), ("right", f"{name}_R")):
        value = row.get(column)
        if value is not None and value == value:  # a table has NaN for a side that cannot be seen
            strengths.append(f"{side} {value:.1f}")
    if strengths:
        values.append(f"({', '.join(strengths)})" if values else ", ".join(strengths))
    return " ".join([facts.au_title(au), *values])
