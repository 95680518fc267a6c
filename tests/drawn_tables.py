"""Tables of predictions that tests draw themselves."""

import numpy as np
import pandas as pd


def film(values, fps=25.0, name="film.mp4", track=0, times=None, au="AU12", intensities=None):
    """Return the table of a film with one person; None is a frame without a face."""
    times = np.arange(len(values)) / fps if times is None else times
    seen = [value is not None for value in values]
    table = pd.DataFrame(
        {
            "input": name,
            "frame": np.arange(len(values)),
            "time_s": np.asarray(times, np.float64),
            "face": [0 if there else -1 for there in seen],
            "track": pd.array([track if there else None for there in seen], "Int64"),
            "status": ["ok" if there else "no_face" for there in seen],
        }
    )
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    table[f"{au}_p"] = numbers
    table[f"{au}_i"] = 5 * numbers if intensities is None else np.asarray(intensities, np.float64)
    return table


def photo(values, name="photo.jpg", au="AU12"):
    """Return the table of a photo with some faces; of one without a face for an empty list."""
    table = film(values or [None], name=name, au=au).assign(frame=0, time_s=0.0)
    table["track"] = pd.array([None] * len(table), "Int64")
    return table.assign(face=range(len(table)) if values else -1)


def together(*tables):
    """Return one table in the order of input, frame and face; people of a film get faces 0, 1, ..."""
    table = pd.concat([part.dropna(axis=1, how="all") for part in tables], ignore_index=True)
    table = table.reindex(columns=tables[0].columns).astype({"track": "Int64"})
    table = table.sort_values(["input", "frame", "face"], kind="stable", ignore_index=True)
    number = table.groupby(["input", "frame"]).cumcount()
    return table.assign(face=np.where(table["face"] >= 0, number, -1))
