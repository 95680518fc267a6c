"""Measure what bad pictures do to AUs and to the measures of quality.

uv run python benchmarks/quality.py PHOTOS [VIDEOS]

PHOTOS holds portraits with one face each. They are blurred, made smaller, cut and covered with noise. For
each kind the script prints the mean absolute change of the AU probabilities of the weights against
the clean picture, of all AUs and of AU6, AU12 and AU25, and medians of the measures; then the time of the
measures for a face. VIDEOS holds clips: their sharpness at several blurs and sizes.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import maeface
from maeface.faces import imaging, media
from maeface.faces.boxes import longer_side
from maeface.faces.finder import FaceCrop, find_crops
from maeface.faces.media import Frame
from maeface.faces.quality import MEASURES, is_low_quality, measure_quality

PORTRAITS, FRAMES_OF_CLIP = 60, 4
TRUSTED = ("AU06_p", "AU12_p", "AU25_p")
Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, FaceCrop], Pixels]


def blur(sigma: float) -> Change:
    """Blur by a Gaussian; ``sigma`` is a fraction of the face's side."""
    return lambda pixels, crop: np.asarray(
        Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma * longer_side(crop.face)))
    )


def smear(length: float) -> Change:
    """Smear to the side, as a moving camera does; ``length`` is a fraction of the face's side."""

    def change(pixels: Pixels, crop: FaceCrop) -> Pixels:
        steps = max(1, round(length * longer_side(crop.face)))
        shifted = [np.roll(pixels, k - steps // 2, axis=1).astype(np.float32) for k in range(steps)]
        return np.mean(shifted, axis=0).round().astype(np.uint8)

    return change


def shrink(face_px: float) -> Change:
    """Make the picture smaller, until the face has this side."""

    def change(pixels: Pixels, crop: FaceCrop) -> Pixels:
        scale = face_px / longer_side(crop.face)
        height, width = pixels.shape[:2]
        size = (round(width * scale), round(height * scale))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))

    return change


def cut(side: str, fraction: float) -> Change:
    """Cut the picture so that this fraction of the face's square is missing on a side."""

    def change(pixels: Pixels, crop: FaceCrop) -> Pixels:
        square = crop.square
        low, high = square.cx - square.side / 2, square.cx + square.side / 2
        bottom = round(square.cy + square.side / 2 - fraction * square.side)
        top = round(square.cy - square.side / 2 + fraction * square.side)
        if side == "left":
            return pixels[:, max(0, round(low + fraction * square.side)) :].copy()
        if side == "right":
            return pixels[:, : round(high - fraction * square.side)].copy()
        return pixels[:bottom].copy() if side == "bottom" else pixels[max(0, top) :].copy()

    return change


def add_noise(levels: float) -> Change:
    """Add Gaussian noise of this standard deviation."""
    rng = np.random.default_rng(0)
    return lambda pixels, _: np.clip(pixels + rng.normal(0, levels, pixels.shape), 0, 255).astype(np.uint8)


def kinds() -> Iterator[tuple[str, Change]]:
    """Return the kinds of bad pictures, with their names."""
    yield "clean", lambda pixels, _: pixels
    yield from ((f"blur {sigma:.3f}", blur(sigma)) for sigma in (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06))
    yield from ((f"smear {length:.2f}", smear(length)) for length in (0.02, 0.04, 0.06, 0.1))
    yield from ((f"face {px} px", shrink(px)) for px in (128, 96, 64, 48, 40, 32, 24, 16))
    for side in ("bottom", "top", "left"):
        yield from ((f"cut {side} {part:.2f}", cut(side, part)) for part in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4))
    yield from ((f"noise {levels}", add_noise(levels)) for levels in (5, 10, 20))


def measure_photos(predictor: maeface.Predictor, files: Sequence[Path]) -> None:
    """Print a line for each kind of bad picture."""
    assert predictor.detector is not None
    photos = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    clean = [crops[0] for crops in find_crops(predictor.detector, photos)]
    aus = [column for column in predictor.columns if column.endswith("_p")]
    trusted = [aus.index(name) for name in TRUSTED]
    reference = predictor.predict_crops([one.pixels for one in clean])[:, : len(aus)]
    print(f"{len(photos)} photos; change of all AUs, of {', '.join(TRUSTED)}; medians of the measures")
    for name, change in kinds():
        changed = [change(pixels, crop) for pixels, crop in zip(photos, clean, strict=True)]
        found = find_crops(predictor.detector, changed)
        pairs = [(k, crops[0]) for k, crops in enumerate(found) if crops]
        kept = [k for k, _ in pairs]
        crops = [crop for _, crop in pairs]
        if not crops:
            print(f"{name:15s} found 0")
            continue
        values = predictor.predict_crops([one.pixels for one in crops])[:, : len(aus)]
        off = np.abs(values - reference[kept])
        measures = measure_quality(crops, [changed[k].shape for k in kept])
        medians = " ".join(
            f"{column} {np.nanmedian(of_column):.3g}"
            for column, of_column in zip(MEASURES, measures.T, strict=True)
            if column not in ("yaw", "pitch", "roll")
        )
        print(
            f"{name:15s} found {len(crops):3d}  change {off.mean():.3f} {off[:, trusted].mean():.3f}  "
            f"low quality {is_low_quality(measures).mean():4.0%}  {medians}",
            flush=True,
        )
    lowest = measure_quality(clean, [photo.shape for photo in photos])[:, [4, 5]]
    print(
        "clean, 1st and 5th percentile of sharpness and agreement:",
        np.percentile(lowest, [1, 5], axis=0).round(3),
    )
    started = time.process_time()
    for _ in range(5):
        measure_quality(clean, [photo.shape for photo in photos])
    print(f"{(time.process_time() - started) / 5 / len(clean) * 1e3:.3f} ms a face")


def measure_clips(predictor: maeface.Predictor, files: Sequence[Path]) -> None:
    """Print the median sharpness of each clip at several blurs and sizes."""
    assert predictor.detector is not None
    changes = [blur(0), blur(0.01), blur(0.02), blur(0.04), shrink(64), shrink(32), shrink(16)]
    print("clips: sharpness at blur 0, 0.01, 0.02, 0.04 of the face; at 64, 32, 16 px")
    for file in files:
        frames = [one.rgb for one in media.read_frames(file) if isinstance(one, Frame)]
        chosen = frames[:: max(1, len(frames) // FRAMES_OF_CLIP)][:FRAMES_OF_CLIP]
        found = find_crops(predictor.detector, chosen)
        pairs = [(pixels, crops[0]) for pixels, crops in zip(chosen, found, strict=True) if crops]
        line = []
        for change in changes:
            crops = [_same_crop(change(pixels, crop), pixels, crop) for pixels, crop in pairs]
            measures = measure_quality(crops, [pixels.shape for pixels, _ in pairs])
            line.append(np.nanmedian(measures[:, MEASURES.index("sharpness")]) if pairs else np.nan)
        sizes = [longer_side(crop.face) for _, crop in pairs]
        print(
            f"{file.name:50s} {np.median(sizes) if sizes else 0:4.0f} px ", " ".join(f"{v:.2f}" for v in line)
        )


def _same_crop(changed: Pixels, pixels: Pixels, crop: FaceCrop) -> FaceCrop:
    """Return the crop of the same place in a changed picture, which may have another size."""
    scale, square = changed.shape[1] / pixels.shape[1], crop.square
    moved = replace(square, cx=square.cx * scale, cy=square.cy * scale, side=square.side * scale)
    return replace(crop, pixels=imaging.crop([changed], [moved], len(np.asarray(crop.pixels)))[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("videos", type=Path, nargs="?")
    parser.add_argument("--weights", help="a file or a name; default: the packaged weights")
    arguments = parser.parse_args()
    predictor = maeface.Predictor(arguments.weights, detector="embedded", faces="largest")
    every = sorted(arguments.photos.glob("*.jpg"))
    measure_photos(predictor, every[:: max(1, len(every) // PORTRAITS)][:PORTRAITS])
    if arguments.videos:
        measure_clips(predictor, sorted(arguments.videos.glob("*.m[op4]*")))
