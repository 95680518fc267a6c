"""Events for BORIS: a project that it opens (``.boris``), and its table of aggregated events (``.csv``).

BORIS does not import events from CSV. It opens projects and imports observations from them.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from maeface import facts
from maeface.interchange import events as events_tables
from maeface.interchange.events import Media

FORMAT = "7.0"
"""Version of the project's format, that of BORIS 7 and later."""
PLAYERS = tuple(str(number) for number in range(1, 9))


def to_project(
    events: pd.DataFrame,
    media: Mapping[str, Media],
    inputs: Sequence[str] | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Return a project of BORIS, to be written as JSON: an observation of each film.

    The people are subjects and the action units state events, whose comments are the codes of FACS.

    Args:
        events: as for ``events.prepare``.
        media: {input: its film}. BORIS needs its length, and its frame rate for exports; without the length
            it looks for both in the film itself.
        inputs: the films; None: those that have events.
        now: time of creation; None: the present.

    Raises:
        DataError: as for ``events.prepare``.
    """
    table = events_tables.prepare(events)
    names = events_tables.inputs_of(table, inputs)
    date = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S")
    people = sorted(
        set(table["person"]), key=lambda name: [int(number) for number in re.findall(r"\d+", name)]
    )
    by_input = dict(iter(table.groupby("input", sort=False)))
    empty = table.iloc[:0]
    return {
        "time_format": "s",
        "project_date": date,
        "project_name": "maeface",
        "project_description": "Events of action units, predicted by maeface",
        "project_format_version": FORMAT,
        "subjects_conf": {
            str(k): {"key": "", "name": name, "description": ""} for k, name in enumerate(people)
        },
        "behaviors_conf": {str(k): _behavior(au) for k, au in enumerate(sorted(set(table["au"])))},
        "observations": {name: _observation(by_input.get(name, empty), media[name], date) for name in names},
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }


def to_aggregated(
    events: pd.DataFrame, media: Mapping[str, Media], now: datetime | None = None
) -> pd.DataFrame:
    """Return a row for each event, with the columns of BORIS's export of aggregated events.

    Args:
        events: as for ``events.prepare``.
        media: {input: its film}.
        now: time of creation; None: the present.

    Raises:
        DataError: as for ``events.prepare``.
    """
    table = events_tables.prepare(events)
    date = (now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M:%S")
    films = [media[name] for name in table["input"]]
    start, stop = table["start"] / 1000, table["end"] / 1000
    duration = ((table["end"] - table["start"]) / 1000).round(3)
    by_input = table.groupby("input", sort=False)
    columns: dict[str, object] = {
        "Observation id": table["input"],
        "Observation date": date,
        "Description": "",
        "Observation type": "Media file",
        "Source": [f"player #1:{film.path}" for film in films],
        "Time offset (s)": 0.0,
        "Coding duration": (by_input["end"].transform("max") - by_input["start"].transform("min")) / 1000,
        "Media duration (s)": [film.duration_s for film in films],
        "FPS (frame/s)": [film.fps for film in films],
        "Subject": table["person"],
        "Observation duration by subject by observation": duration.groupby(
            [table["input"], table["person"]], sort=False
        )
        .transform("sum")
        .round(3),
        "Behavior": table["au"],
        "Behavioral category": "Not defined",
        "Behavior type": "STATE",
        "Start (s)": start,
        "Stop (s)": stop,
        "Duration (s)": duration,
        "Media file name": [str(film.path) for film in films],
    }
    places = [f"Image {what} {when}" for what in ("index", "file path") for when in ("start", "stop")]
    columns |= dict.fromkeys(places)
    columns |= {"Comment start": table["code"], "Comment stop": ""}
    return pd.DataFrame(columns)


def _behavior(au: str) -> dict[str, str]:
    known = facts.AUS.get(int(au[2:]))
    return {
        "type": "State event",
        "key": "",
        "code": au,
        "description": known.name if known else "",
        "color": "",
        "category": "",
        "modifiers": "",
        "excluded": "",
        "coding map": "",
    }


def _observation(table: pd.DataFrame, film: Media, date: str) -> dict[str, Any]:
    path = str(film.path)
    rows = [
        (time / 1000, order, person, au, code if order else "")
        for person, au, code, *times in table[["person", "au", "code", "start", "end"]].itertuples(
            index=False
        )
        for order, time in zip((1, 0), times, strict=True)
    ]
    # At one time, an event ends before the next one of the same action unit begins: BORIS pairs them in turn.
    rows.sort(key=lambda row: row[:2])
    observation: dict[str, Any] = {
        "file": {player: [path] if player == "1" else [] for player in PLAYERS},
        "type": "MEDIA",
        "date": date,
        "description": "",
        "time offset": 0.0,
        "events": [[time, person, au, "", code] for time, _, person, au, code in rows],
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "close_behaviors_between_videos": False,
    }
    if film.duration_s is not None:
        observation["media_info"] = {
            "length": {path: film.duration_s},
            "fps": {} if film.fps is None else {path: film.fps},
            "hasVideo": {path: True},
            "hasAudio": {path: False},
            "offset": {"1": 0.0},
        }
    return observation
