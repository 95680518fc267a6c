"""Predictions as text: a line a face, with the action units that are present."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from maeface import console, facts

TRACE = 1.0
"""Intensity from which an action unit is named where there are no probabilities (FACS level A, trace)."""


def describe_faces(
    rows: Iterable[Mapping[str, Any]], thresholds: Mapping[int, float], videos: Collection[str] = ()
) -> Iterator[str]:
    """Yield a line for each face: the present action units with probability and intensity (0 to 5).

    ``photo.jpg, face 0: AU06 Cheek raiser 0.91 (3.2); AU12 Lip corner puller 0.99 (4.1)``

    Without probabilities, action units of at least trace intensity are named. Inputs that cannot be read
    have no line. Control characters in names are escaped.

    Args:
        rows: of the table that ``maeface predict`` writes, {column: value} each.
        thresholds: action unit -> probability from which it counts as present; 0.5 for others.
        videos: inputs whose lines have the frame and its time.
    """
    for row in rows:
        if row.get("status", "ok") not in ("ok", "no_face"):
            continue
        source = console.escape(str(row["input"]))
        if row["input"] in videos:
            source += f", frame {row['frame']} ({row['time_s']:.2f} s)"
        if row["face"] < 0:
            yield f"{source}: no face"
            continue
        aus = sorted({column[0] for name in row if (column := facts.au_column(name))})
        present = [text for au in aus if (text := _describe_au(row, au, thresholds.get(au, 0.5)))]
        yield f"{source}, face {row['face']}: {'; '.join(present) or f'none of {len(aus)} action units'}"


def _describe_au(row: Mapping[str, Any], au: int, threshold: float) -> str:
    """Return an action unit with its probability and intensity; empty if it is not present."""
    name = facts.au_name(au)
    probability, intensity = row.get(f"{name}_p"), row.get(f"{name}_i")
    strength = "" if intensity is None else f"{intensity:.1f}"
    if probability is None:
        return f"{facts.au_title(au)} {strength}" if intensity is not None and intensity >= TRACE else ""
    if probability < threshold:
        return ""
    return f"{facts.au_title(au)} {probability:.2f}" + (f" ({strength})" if strength else "")
