"""What a person's own neutral changes: `uv run python benchmarks/neutral.py [VIDEOS]`.

1. Percentile of `auto`. For each subject and AU of the packaged renders, films of 60 frames are drawn from
   the stills of the subject: a share of them with the AU (label 2 or more), the others without (label 0). The
   error of a percentile is its distance to the median prediction over the stills without the AU.
2. Agreement between people. Predictions of all subjects are pooled and compared with the labels, as they are
   and less the subject's own neutral: `auto`, one picture without the AU, or the median of five. The pictures
   of the neutral are not scored. Means over draws of these pictures.
3. VIDEOS: the spread between people of the resting level, the chosen percentile in the second half of each
   clip, before and after the neutral of the first half is subtracted. There are no labels.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

import maeface
from maeface import metrics
from maeface.analysis import neutral
from maeface.data import manifest, shards
from maeface.model import zoo

Floats = NDArray[np.float64]

PERCENTILES = (1, 5, 10, 20, 25, 30, 40, 50)
SHARES = (0.05, 0.1, 0.25, 0.5, 0.75)
DRAWS, FRAMES, REFERENCES = 20, 60, 5
RESAMPLED, RESAMPLES = 3, 200
"""Draws and, in each of them, bootstrap resamples."""
TRUSTED = ("AU06", "AU12", "AU25")


def load() -> tuple[list[str], Floats, Floats, NDArray[np.object_]]:
    """Return AU names, predicted intensities and labels (N, A), and subjects (N,) of the rendered stills."""
    folder = zoo.folder().parent / "sample"
    rows = manifest.load(folder)
    labels = pd.read_parquet(folder / "labels.parquet").set_index("id").loc[rows["id"]]
    stills = rows["clip"].isna().to_numpy()
    reader = shards.Shards(folder)
    crops = [
        np.array(Image.open(io.BytesIO(reader.read(row))).convert("RGB"))
        for _, row in rows[stills].iterrows()
    ]
    predictor = maeface.Predictor(aligned=True, device="cpu", threads=1)
    aus = [f"AU{au:02d}" for au in predictor.metadata.aus]
    values = predictor.predict_crops(crops)[:, len(aus) :].astype(np.float64)
    truth = labels.loc[stills, [f"{au}_i" for au in aus]].to_numpy(np.float64)
    return aus, values, truth, manifest.subjects(rows[stills])


def cases(
    truth: Floats, subjects: NDArray[np.object_]
) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """Yield AU, rows with it and rows without, of each subject with at least 3 and 6 of them."""
    for subject in np.unique(subjects):
        for au in range(truth.shape[1]):
            mine = subjects == subject
            with_it, without = (
                np.flatnonzero(mine & (truth[:, au] >= 2)),
                np.flatnonzero(mine & (truth[:, au] == 0)),
            )
            if len(with_it) >= 3 and len(without) >= 6:
                yield au, with_it, without


def choose_percentile(values: Floats, truth: Floats, subjects: NDArray[np.object_]) -> None:
    """Print the error of each percentile for films with different shares of time with the AU."""
    rng = np.random.default_rng(0)
    errors = {share: [] for share in SHARES}
    for au, with_it, without in cases(truth, subjects):
        rest = np.median(values[without, au])
        for share in SHARES:
            present = round(share * FRAMES)
            film = np.r_[rng.choice(with_it, present), rng.choice(without, FRAMES - present)]
            errors[share].append(np.percentile(values[film, au], PERCENTILES) - rest)
    print(f"percentiles: mean absolute error (bias), {len(errors[SHARES[0]])} subjects x AUs")
    print("share of time " + "".join(f"{q:>15}" for q in PERCENTILES))
    means = {share: np.abs(found).mean(0) for share, found in errors.items()}
    for share, found in errors.items():
        bias = np.mean(found, axis=0)
        print(
            f"{share:<14}" + "".join(f"{e:8.2f} ({b:+.2f})" for e, b in zip(means[share], bias, strict=True))
        )
    print(f"{'mean':<14}" + "".join(f"{e:8.2f}       " for e in np.mean(list(means.values()), axis=0)))


def compare(aus: list[str], values: Floats, truth: Floats, subjects: NDArray[np.object_]) -> None:
    """Print agreement with the labels, as it is and less the own neutral."""
    rng = np.random.default_rng(0)
    names = ("as it is", "auto", "one picture", "five pictures")
    scores = {name: [] for name in names}
    changes = {name: [] for name in names}
    for draw in range(DRAWS):
        kept = {name: np.full_like(values, np.nan) for name in names}
        for subject in np.unique(subjects):
            for au in range(len(aus)):
                mine = np.flatnonzero(subjects == subject)
                rest = mine[truth[mine, au] == 0]
                if len(rest) <= REFERENCES:
                    continue
                chosen = rng.choice(rest, REFERENCES, replace=False)
                test = np.setdiff1d(mine, chosen)
                levels = (
                    0.0,
                    np.percentile(values[test, au], neutral.PERCENTILE),
                    values[chosen[0], au],
                    np.median(values[chosen, au]),
                )
                for name, level in zip(names, levels, strict=True):
                    kept[name][test, au] = values[test, au] - level
        for name, found in kept.items():
            scores[name].append(_scores(found, truth, subjects))
            if draw < RESAMPLED:
                changes[name].append(_changes(kept["as it is"], found, truth, subjects))
    tested = int((~np.isnan(kept["auto"])).sum())
    print(
        f"\nagreement between people: {len(np.unique(subjects))} subjects, "
        f"{tested} faces x AUs in each of {DRAWS} draws"
    )
    chosen_aus = [aus.index(au) for au in TRUSTED]
    for what, columns in (("all AUs", slice(None)), (" ".join(TRUSTED), chosen_aus)):
        print(what)
        for name, found in scores.items():
            icc, auc, mae, spread = (np.nanmean(np.mean(found, axis=0)[k][columns]) for k in range(4))
            print(
                f"  {name:<14} ICC {icc:.3f}  AUC {auc:.3f}  MAE {mae:.3f}  SD of resting levels {spread:.3f}"
            )
    print(f"change of the ICC, all AUs [95 % interval, {RESAMPLES} bootstrap resamples of subjects]")
    for name, found in changes.items():
        low, high = np.quantile(np.mean(found, axis=0), (0.025, 0.975))
        print(f"  {name:<14} {np.mean(found):+.3f} [{low:+.3f}, {high:+.3f}]")
    before, after = (np.mean(scores[name], axis=0)[0] for name in ("as it is", "five pictures"))
    print("ICC by AU, as it is -> auto -> five pictures")
    auto = np.mean(scores["auto"], axis=0)[0]
    print(
        "  "
        + ", ".join(
            f"{au} {a:.2f} -> {b:.2f} -> {c:.2f}"
            for au, a, b, c in zip(aus, before, auto, after, strict=True)
        )
    )


def _changes(before: Floats, after: Floats, truth: Floats, subjects: NDArray[np.object_]) -> Floats:
    """Return the change of the mean ICC in each bootstrap resample of subjects, the same in each call."""
    rng = np.random.default_rng(1)
    rows_of = [np.flatnonzero(subjects == subject) for subject in np.unique(subjects)]
    changes = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([rows_of[k] for k in rng.integers(0, len(rows_of), len(rows_of))])
        both = [
            np.nanmean(metrics.icc31(truth[rows], np.nan_to_num(found[rows]), ~np.isnan(found[rows])))
            for found in (before, after)
        ]
        changes.append(both[1] - both[0])
    return np.array(changes)


def _scores(found: Floats, truth: Floats, subjects: NDArray[np.object_]) -> Floats:
    """Return ICC, AUC of 2 or more against 0, MAE, and the SD of the subjects' means at label 0, (4, A)."""
    mask = ~np.isnan(found)
    filled = np.nan_to_num(found)
    clear = mask & ((truth == 0) | (truth >= 2))
    means = np.stack(
        [
            np.nanmean(np.where((subjects == s)[:, None] & (truth == 0), found, np.nan), axis=0)
            for s in np.unique(subjects)
        ]
    )
    return np.stack(
        [
            metrics.icc31(truth, filled, mask),
            metrics.auc((truth >= 2).astype(float), filled, clear),
            metrics.mae(truth, filled, mask),
            np.nanstd(means, axis=0, ddof=1),
        ]
    )


def compare_clips(videos: Path) -> None:
    """Print the spread of resting levels between the people of clips, before and after."""
    clips = sorted(path for path in videos.iterdir() if path.suffix in {".mp4", ".mov", ".mpg"})
    table = maeface.Predictor(device="cpu", threads=1)(clips, every=3)
    middle = table.groupby("input")["time_s"].transform(lambda times: (times.min() + times.max()) / 2)
    halves = [
        neutral.levels_auto(table[half]) for half in (table["time_s"] <= middle, table["time_s"] > middle)
    ]
    first, second = (half.set_index(["input", "track"]).drop(columns="frames").dropna() for half in halves)
    both = first.index.intersection(second.index)
    before, after = second.loc[both], second.loc[both] - first.loc[both]
    print(f"\nclips: SD between {len(both)} tracks of the resting level in the second half")
    print(f"  mean of all AUs: {before.std().mean():.3f} -> {after.std().mean():.3f}")
    for au in TRUSTED:
        print(f"  {au}: {before[au].std():.3f} -> {after[au].std():.3f}")


def main() -> None:
    """Parse the arguments and print all numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path, nargs="?", help="folder of clips")
    videos = parser.parse_args().videos
    aus, values, truth, subjects = load()
    choose_percentile(values, truth, subjects)
    compare(aus, values, truth, subjects)
    if videos:
        compare_clips(videos)


if __name__ == "__main__":
    main()
