"""What smoothing does to onsets and peaks: `uv run python benchmarks/smoothing.py`.

Films of one movement at 30 frames per second: a linear rise, a plateau and a fall of the probability from 0
to 1, with noise (standard deviation 0.05) and any phase of the frames. Onset and offset of the event are
compared with those of the film without noise and smoothing. Means over films; an event counts as found if it
is the only one of its film.
"""

import numpy as np
import pandas as pd

from maeface.analysis import events, smoothing

FPS, FILMS, NOISE = 30, 60, 0.05
MOVEMENTS = {
    "slow smile": (0.6, 2.0, 1.0),
    "quick smile": (0.25, 1.0, 0.5),
    "brief, 0.3 s": (0.1, 0.1, 0.1),
    "blink, 0.2 s": (0.067, 0.067, 0.067),
}
"""Seconds of rise, plateau and fall."""
ENDS = ["onset_s", "offset_s"]
SIGMAS = (0.0, 0.033, 0.067, 0.1, 0.2)


def film(
    number: int, movement: tuple[float, float, float], noise: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the table of a film with one movement that begins at about 2 s."""
    rise, plateau, fall = movement
    times = np.arange(FPS * 6) / FPS
    start = 2 + number / FILMS / FPS  # all phases of the frames
    corners = np.cumsum([start, rise, plateau, fall])
    values = np.interp(times, corners, [0, 1, 1, 0]) + rng.normal(0, noise, len(times))
    return pd.DataFrame(
        {
            "input": f"{number:03d}",
            "frame": np.arange(len(times)),
            "time_s": times,
            "face": 0,
            "track": 0,
            "status": "ok",
            "AU12_p": np.clip(values, 0, 1),
        }
    )


def main() -> None:
    """Print one line for each movement and width."""
    print("movement       sigma_s  found  onset shift  offset shift  peak")
    for what, movement in MOVEMENTS.items():
        rng = np.random.default_rng(0)
        clean = pd.concat([film(k, movement, 0.0, rng) for k in range(FILMS)])
        noisy = pd.concat([film(k, movement, NOISE, rng) for k in range(FILMS)])
        true = events.find_events(clean).set_index("input")
        for sigma in SIGMAS:
            found = events.find_events(smoothing.smooth(noisy, sigma))
            single = found.drop_duplicates("input", keep=False).set_index("input")
            both = single.index.intersection(true.index)
            shifts = single.loc[both, ENDS] - true.loc[both, ENDS]
            peak = single["peak_p"].median()
            onset, offset = shifts.mean()
            share = len(single) / FILMS
            print(f"{what:<14} {sigma:7.3f} {share:6.0%} {onset:+12.3f} {offset:+13.3f} {peak:5.2f}")


if __name__ == "__main__":
    main()
