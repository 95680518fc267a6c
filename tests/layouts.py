"""Raw datasets in miniature: folders, names, headers, numbers as handed out, with flat pictures.

The grey level of a picture tells its number (``grey``, ``number``), so that a test can see that the
right frame was taken. Labels are drawn; every writer returns what a reader has to find, a row a
labelled picture: source, frame (0 for an image file, the frame counted from 0 for a video), subject,
clip, and AU06_o, AU06_i ... (NaN where not known), sorted by source and frame.
"""

from pathlib import Path

import av
import numpy as np
import pandas as pd
from PIL import Image

BP4D_AUS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
BP4D_INTENSITY_AUS = (6, 10, 12, 14, 17)
BP4D_COLUMNS = tuple(range(100))
"""The header row of BP4D's occurrence files: 0 is the frame, the others are AUs."""

BP4DPLUS_COLUMNS = (0, 1, 2, 4, 5, 6, 7, 9, *range(10, 21), 22, 23, 24, *range(27, 40))
"""Of BP4D+: its 12 AUs are at positions 1 2 3 5 6 8 10 12 13 15 20 21."""

TASK_CODES = {"T1": "01", "T2": "03", "T3": "07", "T4": "08", "T5": "09", "T6": "10", "T7": "11", "T8": "13"}
"""Of the older release of BP4D, in videos."""

DISFA_AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
DISFA_VIDEOS = {
    "left": ("Videos_LeftCamera", "LeftVideo"),
    "right": ("Video_RightCamera", "RightVideo"),
}
DISFA_PRESENT = 2
UNKNOWN = 9

_CODED = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 27, 28)
_STEP, _DARKEST = 4, 20


def grey(number):
    """The level of picture ``number``; they repeat after 52."""
    return _DARKEST + _STEP * (number % 52)


def number(pixels):
    """Which picture, modulo 52, pixels (H, W, 3) uint8 come from."""
    return round((float(np.asarray(pixels, np.float64).mean()) - _DARKEST) / _STEP)


def image(path, index, side=16):
    """A flat picture, written as the name of ``path`` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (grey(index),) * 3).save(path)


def video(path, frames, side=16, fps=25, base=0):
    """``frames`` flat frames in MPEG-4, the first with number ``base``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = side, side, "yuv420p", 1
        # fine enough that the levels come back, and with frames that rest on others
        stream.bit_rate = 4_000_000
        stream.options = {"qmin": "1", "qmax": "2", "sc_threshold": "1000000000"}
        for index in range(base, base + frames):
            pixels = np.full((side, side, 3), grey(index), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def bp4d(
    root,
    subjects=("F001", "M001"),
    tasks=("T1", "T2"),
    frames=5,
    *,
    kind="images",
    padding=4,
    first=643,
    gap=2,
    before=2,
    after=1,
    unknown=0.0,
    intensities=BP4D_INTENSITY_AUS,
    occurrences="AUCoding/AU_OCC",
    intensity_folder="AU Intensity Codes3.0",
    pictures=".",
    side=16,
    seed=0,
):
    """BP4D: JPEGs ``F001/T1/0643.jpg`` or videos ``2F01_01.avi``, occurrence and intensity files.

    Args:
        root: folder to write.
        subjects: their names.
        tasks: of every subject.
        frames: labelled ones of a clip.
        kind: "images" or "video" (the first frame of a video has number 1, and is picture 1).
        padding: digits of an image's name, 0 for no zeros in front.
        first: number of the first labelled frame.
        gap: unlabelled frames in the middle.
        before: frames before the first labelled one that have pictures; in a video all have.
        after: frames after the last labelled one that have pictures.
        unknown: share of the values of the 12 AUs that are 9.
        intensities: AUs that have intensity files.
        occurrences: folder of the occurrence files.
        intensity_folder: folder of the intensity files; None for none.
        pictures: folder of the images or videos.
        side: of a picture in px.
        seed: of the labels.
    """
    rows = _bp4d_labels(root, subjects, tasks, frames, first, gap, unknown, BP4D_COLUMNS, occurrences, seed)
    folder = None if intensity_folder is None else Path(root) / intensity_folder
    for clip, group in rows.groupby("clip", sort=False):
        subject, task = clip.split("/")
        for au in intensities if folder else ():
            path = folder / f"AU{au:02d}" / f"{subject}_{task}_AU{au:02d}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = group[f"AU{au:02d}_i"].fillna(UNKNOWN).astype(int)
            lines = zip(group["number"], values, strict=True)
            path.write_text("".join(f"{frame},{value}\n" for frame, value in lines))
    for au in BP4D_AUS:
        if folder is None or au not in intensities:
            rows = rows.drop(columns=f"AU{au:02d}_i")
    code = {task: f"{TASK_CODES[task]}.avi" for task in tasks} if kind == "video" else {}
    names = {f"{who}/{task}": f"2{who[0]}{who[2:]}_{code[task]}" for who in subjects for task in code}
    return _bp4d_pictures(Path(root), rows, names, padding, before, after, pictures, side)


def bp4dplus(
    root,
    subjects=("F001", "M001"),
    tasks=("T1", "T6"),
    frames=5,
    *,
    kind="video",
    padding=0,
    first=3,
    gap=2,
    before=2,
    after=1,
    unknown=0.0,
    occurrences="AU_OCC",
    pictures="Videos",
    side=16,
    seed=0,
):
    """BP4D+: videos ``F001_T1.mp4`` (or JPEGs) and occurrence files with their own order of columns.

    The arguments are those of ``bp4d``.
    """
    rows = _bp4d_labels(
        root, subjects, tasks, frames, first, gap, unknown, BP4DPLUS_COLUMNS, occurrences, seed
    )
    rows = rows.drop(columns=[name for name in rows if name.endswith("_i")])
    every = [f"{who}/{task}" for who in subjects for task in tasks]
    names = {clip: clip.replace("/", "_") + ".mp4" for clip in every} if kind == "video" else {}
    return _bp4d_pictures(Path(root), rows, names, padding, before, after, pictures, side)


def disfa(
    root,
    subjects=("SN001", "SN002"),
    frames=10,
    *,
    camera="left",
    kind="video",
    base=0,
    padding=0,
    suffix=".png",
    pictures=".",
    labelled=None,
    side=16,
    seed=0,
):
    """DISFA: videos (or images) of a camera, and 12 files of intensities a subject.

    Args:
        root: folder to write.
        subjects: their names.
        frames: of every subject.
        camera: "left" or "right"; of videos it decides about folder and name.
        kind: "video" or "images", ``SN001/0.png``.
        base: number of the first image, 0 or 1.
        padding: digits of an image's name, 0 for no zeros in front.
        suffix: of the images.
        pictures: folder of the images.
        labelled: subject -> lines of its label files, where not ``frames``.
        side: of a picture in px.
        seed: of the labels.
    """
    root, rng, found = Path(root), np.random.default_rng(seed), []
    folder, start = DISFA_VIDEOS[camera]
    for who in subjects:
        count = (labelled or {}).get(who, frames)
        levels = {au: rng.choice(6, size=count, p=(0.5, 0.1, 0.1, 0.1, 0.1, 0.1)) for au in DISFA_AUS}
        for au, values in levels.items():
            path = root / "ActionUnit_Labels" / who / f"{who}_au{au}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{line},{value}\n" for line, value in enumerate(values, 1)))
        if kind == "video":
            source = f"{folder}/{start}{who}_comp.avi"
            video(root / source, frames, side)
            sources, numbers = [source] * count, range(count)
        else:
            names = [f"{who}/{index + base:0{padding}d}{suffix}" for index in range(frames)]
            for index, name in enumerate(names):
                image(root / pictures / name, index, side)
            names += [f"{who}/{index + base:0{padding}d}{suffix}" for index in range(frames, count)]
            sources = [(Path(pictures) / name).as_posix() for name in names[:count]]
            numbers = [0] * count
        table = {"source": sources, "frame": np.array(numbers, np.int64), "subject": who, "clip": who}
        table |= {f"AU{au:02d}_o": levels[au] >= DISFA_PRESENT for au in DISFA_AUS}
        table |= {f"AU{au:02d}_i": levels[au] for au in DISFA_AUS}
        found.append(pd.DataFrame(table))
    return _table(pd.concat(found))


def _bp4d_labels(root, subjects, tasks, frames, first, gap, unknown, columns, folder, seed):
    """Write the occurrence files; returns the rows, with the frames' numbers, intensities of all AUs."""
    rng, found = np.random.default_rng(seed), []
    numbers = first + np.arange(frames) + np.where(np.arange(frames) >= frames // 2, gap, 0)
    for clip in [f"{who}/{task}" for who in subjects for task in tasks]:
        written = pd.DataFrame(UNKNOWN, index=range(frames), columns=columns)
        written[0] = numbers
        for au in set(_CODED) & set(columns):
            written[au] = rng.integers(2, size=frames)
        table = pd.DataFrame({"number": numbers, "subject": clip.split("/")[0], "clip": clip})
        for au in BP4D_AUS:
            unsure = rng.random(frames) < unknown
            level = np.where(written[au] == 1, rng.integers(1, 6, size=frames), 0).astype(float)
            table[f"AU{au:02d}_o"] = np.where(unsure, np.nan, written[au])
            table[f"AU{au:02d}_i"] = np.where(unsure, np.nan, level)
            written[au] = np.where(unsure, UNKNOWN, written[au])
        path = Path(root) / folder / f"{clip.replace('/', '_')}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        written.to_csv(path, index=False)
        found.append(table)
    return pd.concat(found, ignore_index=True)


def _bp4d_pictures(root, rows, videos, padding, before, after, folder, side):
    """Write images, or the videos that are named; fill in sources and frames."""
    for clip, group in rows.groupby("clip", sort=False):
        last = int(group["number"].max()) + after
        if clip in videos:
            source = (Path(folder) / videos[clip]).as_posix()
            video(root / source, last, side, base=1)
            rows.loc[group.index, "source"] = source
            rows.loc[group.index, "frame"] = group["number"] - 1
            continue
        for index in range(int(group["number"].min()) - before, last + 1):
            image(root / folder / clip / f"{index:0{padding}d}.jpg", index, side)
        names = [(Path(folder) / clip / f"{n:0{padding}d}.jpg").as_posix() for n in group["number"]]
        rows.loc[group.index, "source"] = names
        rows.loc[group.index, "frame"] = 0
    return _table(rows.drop(columns="number"))


def _table(rows):
    aus = [name for name in rows if name.startswith("AU")]
    rows = rows.astype(dict.fromkeys(aus, "float32") | {"frame": "int64"})
    keys = ["source", "frame", "subject", "clip"]
    return rows[keys + aus].sort_values(["source", "frame"], ignore_index=True)
