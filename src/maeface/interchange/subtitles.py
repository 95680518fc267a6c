"""Events as subtitles (``.srt``), to see in any player what was found."""

from itertools import pairwise

import pandas as pd

from maeface.interchange import events as events_tables


def to_srt(events: pd.DataFrame) -> str:
    """Return subtitles of one film: what is shown at a time are the action units that are present then.

    A line is shown for each person; its name is left out where the film has only one person.

    Args:
        events: as for ``events.prepare``, of one input only.

    Raises:
        DataError: as for ``events.prepare``.
    """
    table = events_tables.prepare(events)
    assert table["input"].nunique() <= 1, "subtitles are of one film"
    several = table["person"].nunique() > 1
    changes = sorted({*table["start"], *table["end"]})
    begins: dict[int, list[int]] = {}
    for row, time in enumerate(table["start"]):
        begins.setdefault(time, []).append(row)
    ends = table["end"].to_list()
    present: list[int] = []
    cues: list[str] = []
    for start, end in pairwise(changes):
        present = sorted([row for row in present if ends[row] > start] + begins.get(start, []))
        if present:
            lines = [
                (f"{person}: " if several else "") + ", ".join(rows["code"])
                for person, rows in table.loc[present].groupby("person", sort=False)
            ]
            cues.append("\n".join([str(len(cues) + 1), f"{_time(start)} --> {_time(end)}", *lines, ""]))
    return "\n".join(cues)


def _time(milliseconds: int) -> str:
    """Return a time as subtitles have it: ``01:02:03,450``."""
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"
