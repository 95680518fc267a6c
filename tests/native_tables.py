"""A small table as ``maeface predict`` writes it, and a person's labels of the same frames."""

import numpy as np
import pandas as pd

FRAMES = 12
AUS = (1, 4, 6, 12, 25, 26, 28, 43)
POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def native(task="all", inputs=("s01/film.mp4",), frames=FRAMES, seed=0):
    """Frame 2 has no face, frame 5 a second face, frame 7 a face of low quality; times are uneven."""
    rng = np.random.default_rng(seed)
    rows = []
    for name in inputs:
        for frame in range(frames):
            time = round(0.5 + frame / 25 + 0.003 * (frame % 2), 6)
            for face in {2: [-1], 5: [0, 1]}.get(frame, [0]):
                status = {2: "no_face", 7: "low_quality"}.get(frame, "ok")
                rows.append((name, frame, time, face, pd.NA if face < 0 else 1 - face, status))
    table = pd.DataFrame(rows, columns=["input", "frame", "time_s", "face", "track", "status"])
    count = len(table)
    table["x1"], table["y1"] = rng.uniform(0, 50, (2, count))
    table["x2"], table["y2"] = table["x1"] + 100, table["y1"] + 120
    table["score"] = np.where(table["face"] == 0, 0.9, 0.6)
    table["face_px"] = 120.0
    table["yaw"], table["pitch"], table["roll"] = 30.0, 10.0, -20.0
    table["sharpness"], table["agreement"], table["outside"] = 5.0, 0.9, 0.0
    for point in POINTS:
        table[f"{point}_x"], table[f"{point}_y"] = 20.0, 30.0
    values = {}
    for au in AUS:
        probability = rng.random(count).astype(np.float32)
        present = probability >= 0.4  # the weights' own threshold
        intensity = np.where(present, 1 + 4 * rng.random(count), rng.random(count)).astype(np.float32)
        values[f"AU{au:02d}"] = pd.Series(present).astype("Int8")
        if task != "intensity":
            values[f"AU{au:02d}_p"] = probability
        if task != "detection":
            values[f"AU{au:02d}_i"] = intensity
    table = pd.concat([table, pd.DataFrame(values)], axis=1)
    table["track"] = table["track"].astype("Int64")
    missing = table["face"] < 0
    measured = list(table.columns[6:])
    for name in measured:
        table[name] = table[name].mask(missing)
    return table


def labels(table, first_frame=0):
    """Labels of the first face of each frame, which differ from the predictions in places."""
    rng = np.random.default_rng(1)
    shown = table.drop_duplicates(["input", "frame"])
    columns = {"source": shown["input"].to_numpy(), "frame": shown["frame"].to_numpy() + first_frame}
    for au in AUS:
        columns[f"AU{au:02d}_o"] = (rng.random(len(shown)) < 0.5).astype(int)
        columns[f"AU{au:02d}_i"] = rng.integers(0, 6, len(shown))
    return pd.DataFrame(columns)
