"""How far faces that are followed in a film differ from faces that are searched in every frame as in photos.

    uv run python benchmarks/following.py ../shared/videos/pyfeat_*.mov ../shared/videos/pyfeat_*.mp4 \
        ../shared/videos/grid_*.mpg --frames 150

For each clip, the largest face of each frame is found both ways: followed within blocks of half a second
(``faces.following``), and in both passes of every frame (``faces.finder``), with the same weights. It prints
the frames in which only one way finds a face, and median and 95th percentile of the differences: of the
crop's centre and side, in sides of the crop; of its angle, in degrees; of probabilities and intensities, as
means over the AUs. Beside them stands how much the probabilities of the photo way change from one frame to
the next.
"""

import argparse
import math
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maeface.faces import finder, media
from maeface.faces.following import follow_faces
from maeface.faces.media import Frame
from maeface.faces.timestamps import block_of
from maeface.prediction.predictor import Predictor


def main() -> None:
    """Compare each clip and print a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=150, help="of each clip, from its middle")
    options = parser.parse_args()
    predictor = Predictor(device="cpu", faces="largest", detector="embedded", threads=1)
    print(
        f"{predictor.backend}, AU model {predictor.precision}, "
        f"detector {predictor.face_finder.film_precision}"
    )
    print("clip: frames, only followed, only searched | centre, side, angle | p, i | p from frame to frame")
    pooled = [_compare(clip, options.frames, predictor) for clip in options.clips]
    _print(
        "all",
        np.concatenate([rows for rows, _ in pooled]),
        sum((counts for _, counts in pooled), np.zeros(3)),
    )


def _compare(clip: Path, count: int, predictor: Predictor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    every = [one for one in media.read_frames(clip) if isinstance(one, Frame)]
    first = max(0, (len(every) - count) // 2)
    frames = every[first : first + count]
    size = predictor.metadata.preprocessing.image_size
    aus = len(predictor.metadata.aus)
    rows, before = [], None
    counts = np.array([len(frames), 0.0, 0.0])
    for _, group in groupby(frames, lambda frame: block_of(frame.time_s)):
        block = [frame.rgb for frame in group]
        (followed,) = follow_faces(
            predictor.face_finder.film_detector, [block], "largest", predictor.min_face
        )
        assert predictor.detector is not None
        searched = finder.find_crops(predictor.detector, block, faces="largest")
        for pixels, ours, theirs in zip(block, followed, searched, strict=True):
            counts[1:] += (bool(ours) and not theirs, bool(theirs) and not ours)
            if not ours or not theirs:
                before = None
                continue
            here, there = ours[0].square, theirs[0].square
            values = predictor.predict_crops(
                [finder.crop_faces([pixels], [ours[:1]], size)[0][0].pixels], mirror=False
            )
            expected = predictor.predict_crops(theirs[0].pixels[None])
            change = np.nan if before is None else abs(expected - before)[0, :aus].mean()
            differences = abs(values - expected)[0]
            rows.append(
                [
                    math.hypot(here.cx - there.cx, here.cy - there.cy) / there.side,
                    abs(here.side / there.side - 1),
                    abs((here.angle_deg - there.angle_deg + 180) % 360 - 180),
                    differences[:aus].mean(),
                    differences[aus:].mean(),
                    change,
                ]
            )
            before = expected
    result = np.array(rows).reshape(-1, 6)
    _print(clip.name, result, counts)
    return result, counts


def _print(name: str, rows: NDArray[np.float64], counts: NDArray[np.float64]) -> None:
    if not len(rows):
        print(f"{name}: {counts[0]:.0f}, {counts[1]:.0f}, {counts[2]:.0f} | no face")
        return
    median, high = np.nanmedian(rows, axis=0), np.nanpercentile(rows, 95, axis=0)
    pairs = [f"{one:.3f} ({other:.3f})" for one, other in zip(median, high, strict=True)]
    print(
        f"{name}: {counts[0]:.0f}, {counts[1]:.0f}, {counts[2]:.0f} | {', '.join(pairs[:3])}"
        f" | {', '.join(pairs[3:5])} | {pairs[5]}",
        flush=True,
    )


if __name__ == "__main__":
    main()
