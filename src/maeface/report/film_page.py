"""Write the page of one film: its player beside the curves of its action units, as one HTML file.

The page loads nothing but the film. Its scripts and styles are in the folder ``page``; the curves are drawn
with uPlot (MIT licence).
"""

import base64
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from maeface import files
from maeface.analysis.timeline import THRESHOLD, Thresholds
from maeface.report.film_data import film_data

TEMPLATE = "film.html.jinja"
LANGUAGE = Markup(
    "try { new Intl.NumberFormat(navigator.language); }"
    ' catch { Object.defineProperty(navigator, "language", { value: "en" }); }\n'
)
"""For uPlot: in the locale C, WebKitGTK says that the language is "C", which is none."""
SCRIPTS = ("data.js", "view.js", "panels.js", "drawings.js", "player.js", "tables.js", "main.js")
PICTURE_PX = 96
"""Side of the pictures of faces, px."""


def render(
    table: pd.DataFrame,
    *,
    title: str,
    film: str | None = None,
    events: pd.DataFrame | None = None,
    summary: pd.DataFrame | None = None,
    trust: Mapping[str, Mapping[str, Any]] | None = None,
    pictures: Mapping[int, Image.Image] | None = None,
    thresholds: Thresholds = THRESHOLD,
    smooth_s: float = 0.0,
) -> str:
    """Return the page of one film as HTML.

    Args:
        table: rows of one film, as ``maeface predict`` writes them: a row a face and frame.
        title: heading of the page.
        film: path of the film, relative to the folder of the page, with ``/``; None: without a player.
        events: columns track, au, onset_s, apex_s, offset_s, duration_s, peak_i; None: without a list.
        summary: any columns; rows follow the switches of the page if there are columns ``track`` and ``au``.
        trust: "AU12" -> {"checked": "real", "auc": 0.97, "low": ..., "high": ..., "n": ..., "present": ...,
            "on": "held-out portraits", "use": True}. The page first shows the AUs whose ``use`` is true and
            hides the others behind a switch. None: nothing is known, and six AUs are shown.
        pictures: number of a person -> picture of the face, for the switch between people.
        thresholds: probability from which an AU is present; used where the table has no column ``AU12``.
        smooth_s: standard deviation of the smoothing of ``events`` and ``summary`` in s, for a note; 0: none.

    Raises:
        DataError: the table is empty, is not of one film, or lacks a column.
    """
    data = film_data(table, events, summary, trust, thresholds)
    data["pictures"] = {int(track): _picture(image) for track, image in (pictures or {}).items()}
    scripts = [LANGUAGE + _asset("uPlot.iife.min.js"), _wrap(SCRIPTS)]
    environment = Environment(
        loader=PackageLoader("maeface", "report/page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        title=_text(title),
        lead=_lead(data),
        warnings=_warnings(data),
        film=None if film is None else quote(os.fsencode(film)),
        film_shown=_text(film or ""),
        film_name=_text((film or "").rsplit("/", 1)[-1]),
        tracked=data["tracked"],
        has_events=events is not None,
        has_summary=summary is not None,
        has_sides=summary is not None and "asymmetry" in summary,
        trust_notes=_trust_notes(data),
        notes=_notes(data, smooth_s),
        data=Markup(to_json(data)),
        style=_asset("uPlot.min.css") + _asset("film.css"),
        scripts=scripts,
        hashes=Markup(" ").join(map(_hash, scripts)),
        uplot_licence=_asset("uPlot.LICENSE"),
    )


def write(path: Path, table: pd.DataFrame, **content: Any) -> None:  # noqa: ANN401 - as of render
    """Write the page of one film to ``path``, atomically; the arguments are those of ``render``."""
    files.write_text(path, render(table, **content))


def to_json(value: Any) -> str:  # noqa: ANN401 - anything json can hold
    """Return compact JSON that cannot end the ``<script>`` that holds it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII: no lone surrogates in the page
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _lead(data: Mapping[str, Any]) -> str:
    people = len(data["people"]) + data["people_left_out"]
    counts = [
        (data["frames"], "frame", "frames"),
        (people, *(("person", "people") if data["tracked"] else ("face", "faces"))),
    ]
    counts.append((len(data["aus"]), "action unit", "action units"))
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)


def _warnings(data: Mapping[str, Any]) -> list[str]:
    warnings = []
    if not data["people"]:
        warnings.append("No face was found in this film, so there are no curves.")
    if data["trust_known"] and not any(au.get("use") for au in data["aus"].values()):
        warnings.append("None of these action units is checked on real people. All are shown, pale.")
    if data["people_left_out"]:
        warnings.append(
            f"{data['people_left_out']} people with the fewest frames are left out; they are in the table."
        )
    return warnings


def _trust_notes(data: Mapping[str, Any]) -> list[str]:
    """Return what is known about the action units, a paragraph each."""
    if not data["trust_known"]:
        return [
            "The record of this table does not say on whom the action units were checked. "
            "Compare some of them with your own coding before you use them."
        ]
    names: dict[str, list[str]] = {}
    for name, au in data["aus"].items():
        doubt = "Checked on real people, but not reliable enough" if au.get("checked") == "real" else ""
        care = " with care" if au.get("advice") == "with care" else ""
        kind = (
            f"Checked on real people and recommended{care}"
            if au.get("use")
            else doubt or "Not checked on real people"
        )
        names.setdefault(kind, []).append(name)
    notes = [f"{kind}: {', '.join(listed)}." for kind, listed in names.items()]
    return [
        *notes,
        "Only recommended action units are shown at first. Curves of the others are pale; draw no "
        "conclusions from them without coding some of your own film by hand.",
    ]


def _notes(data: Mapping[str, Any], smooth_s: float) -> list[str]:
    notes = []
    if smooth_s:
        notes.append(
            f"Events and summary are those of values that were smoothed over time ({smooth_s:g} s); curves, "
            "bars and heat map are not smoothed."
        )
    if data["thinned"]:
        notes.append(
            f"Curves are drawn with up to {data['thinned']} points of {data['frames']} frames, chosen so "
            "that peaks stay (largest triangle, three buckets). The table has all values."
        )
    notes.append("An action unit is a movement. It does not say what a person feels, thinks or intends.")
    return notes


def _asset(name: str) -> Markup:
    return Markup((resources.files("maeface") / "report" / "page" / name).read_text("utf-8"))


def _wrap(names: Sequence[str]) -> Markup:
    """Return scripts as one, whose names are its own."""
    return Markup('(function () {{\n"use strict";\n{}\n}})();').format(Markup("\n").join(map(_asset, names)))


def _hash(script: Markup) -> Markup:
    """Return what a Content-Security-Policy calls a script, so that the browser runs no other."""
    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'")


def _text(name: str) -> str:
    """Return a name with a sign in the place of bytes that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def _picture(image: Image.Image) -> str:
    """Return a small picture as the address of an image."""
    small = image.convert("RGB")
    small.thumbnail((PICTURE_PX, PICTURE_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
