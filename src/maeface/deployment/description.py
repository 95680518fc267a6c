"""The file beside exported networks that says how to use them: ``preprocessing.json``."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maeface import facts, files
from maeface.faces import anchors, detector, finder, geometry, landmarks, search
from maeface.model.file_format.metadata import Metadata
from maeface.model.file_format.parts import files_of
from maeface.model.licences import NOT_STATED, licence_of
from maeface.model.trust import trust_entry
from maeface.prediction.columns import au_columns, choose_thresholds

FILE = "preprocessing.json"
FORMAT_VERSION = 1
CROP_FORMULA = (
    "eyes = mean of points 0 and 1; mouth = mean of points 3 and 4; across = point 1 - point 0; "
    "size = length of (across, mouth - eyes), four numbers; angle = atan2(across y, across x); "
    "side = side_in_sizes * size; "
    "centre = (eyes + mouth) / 2 + rise_in_sides * side * (sin angle, -cos angle); "
    "turn the square upright and resample it bicubically (a = -1); it is black outside the image"
)
SEARCH_FORMULA = (
    "shrink the image to means of blocks of 1, 2, 4, ... pixels a side, until its longer side is at most "
    "small_px; look for faces in those of these that are not longer than longest_px, the smallest first, "
    "and refine their points there; take faces whose longer side in px of the shrunk image is in face_px, "
    "in the largest image also smaller ones, in the smallest image also larger ones; drop a face of which "
    "more than max_covered lies in a face of a smaller image. The largest face is that of the largest "
    "box, among those with at least sure_score times the best score. maeface also looks in other "
    "orientations if the score is low"
)
LOOK_FORMULA = (
    "angle: as for the crop; but if the eyes are nearer to each other than profile times the line from "
    "eyes to mouth, that line turned by 90 degrees. window: a square around the centre of the face's box, "
    "window_in_sides times its longer side, turned by the angle, resampled to window_px. Look for faces "
    "in the window; take the one with the largest intersection over union with the face's box (moved into "
    "the window, not turned), at least min_overlap; without one, drop the face, or keep its box if its "
    "score is at least sure_score. square: around the centre of the box that was taken, margin times its "
    "longer side, turned by the angle. Window and square are on a grid: the angle is whole degrees, "
    "centre and side are multiples of 2^round(log2(side)) / grid_steps. Resample as for the crop, but "
    "from means of blocks of round(side / px) pixels if that is above 1; the crop of a photo has "
    "photo_px, of a film film_px"
)


def value_columns(metadata: Metadata) -> list[str]:
    """Return the names of an exported network's outputs, in their order."""
    names = au_columns(metadata.aus, metadata.task)[len(metadata.aus) :]
    return [*names, *(["unlike"] if metadata.unlike is not None else [])]


def describe(
    weights: Path, metadata: Metadata, networks: Mapping[str, Path], precision: str, from_pixels: bool
) -> dict[str, Any]:
    """Return what a program needs to know to run exported networks, as plain values.

    Args:
        weights: path of the weights.
        metadata: of the weights.
        networks: the files by the name of the network: "au", "detector", "points".
        precision: of the AU network.
        from_pixels: whether the AU network prepares the pixels itself.
    """
    side = metadata.preprocessing.image_size
    au_input: dict[str, Any] = {"name": "images", "dtype": "float32", "shape": ["batch", 3, side, side]}
    if from_pixels:
        au_input = {"name": "crops", "dtype": "uint8", "shape": ["batch", "height", "width", 3]}
    return {
        "format_version": FORMAT_VERSION,
        "made_by": f"maeface {version('maeface')}",
        "weights": describe_weights(weights, metadata),
        "files": {name: {"file": path.name, "sha256": files.sha256(path)} for name, path in networks.items()},
        "colours": "red, green, blue",
        "au": {
            "precision": precision,
            "input": au_input,
            "prepares_pixels": from_pixels,
            "image_size": side,
            "resize": "bicubic (a = -0.5), antialiased, clipped to 0..255",
            "mean": metadata.preprocessing.mean,
            "std": metadata.preprocessing.std,
            "normalise": "(pixel / 255 - mean) / std",
            "mirror_averaged_inside": metadata.preprocessing.mirror,
            "columns": value_columns(metadata),
            "ranges": {"p": [0, 1], "i": [0, facts.INTENSITY_MAX]},
            "aus": _describe_aus(metadata),
        },
        **_describe_faces(side),
    }


def name_of(weights: Path) -> str:
    """Return the name of weights for readers: of the file, or of its folder if each training calls it so."""
    return weights.absolute().parent.name if weights.name == "weights.safetensors" else weights.stem


def describe_weights(weights: Path, metadata: Metadata) -> dict[str, Any]:
    """Return name, hashes, licence and start of weights."""
    return {
        "name": name_of(weights),
        "sha256": {file.name: files.sha256(file) for file in files_of(weights)},
        "licence": metadata.licence or licence_of(weights) or NOT_STATED,
        "start": metadata.start.model_dump() if metadata.start else None,
    }


def _describe_faces(side: int) -> dict[str, Any]:
    """Return how faces are found and cropped, for a network that sees crops of ``side`` px."""
    return {
        "crop": {
            "side_in_sizes": finder.LANDMARK_SIDE,
            "rise_in_sides": finder.LANDMARK_RISE,
            "photo_px": finder.CROP_PX,
            "film_px": side,
            "formula": CROP_FORMULA,
        },
        "search": {
            "small_px": search.SINGLE_SCALE_PX,
            "longest_px": detector.MAX_SIDE,
            "face_px": list(search.FACE_PX),
            "max_covered": search.MAX_COVERED,
            "sure_score": finder.SURE,
            "formula": SEARCH_FORMULA,
        },
        "look": {
            "window_in_sides": search.WINDOW,
            "window_px": search.WINDOW_PX,
            "min_overlap": finder.MIN_OVERLAP,
            "margin": geometry.MARGIN,
            "profile": geometry.PROFILE,
            "grid_steps": geometry.GRID_STEPS,
            "formula": LOOK_FORMULA,
        },
        "detector": {
            "input": {"name": "pixels", "dtype": "uint8", "shape": ["batch", "height", "width", 3]},
            "columns": ["x1", "y1", "x2", "y2", *(f"{axis}{k}" for k in range(5) for axis in "xy"), "score"],
            "points": ["left eye", "right eye", "nose", "left corner of the mouth", "right corner"],
            "left_is": "left in the image",
            "threshold": 0.5,
            "nms_overlap": detector.NMS_OVERLAP,
            "face_px": [min(anchors.ANCHOR_SIDES[0]), max(anchors.ANCHOR_SIDES[-1])],
        },
        "points": {
            "input": {"name": "crops", "dtype": "uint8", "shape": ["batch", *[landmarks.CROP_PX] * 2, 3]},
            "output": "x and y of each point, as fractions of the crop's side from its centre",
            "side_in_sizes": landmarks.SQUARE_SIDE,
            "rise_in_sides": 0.0,
            "passes": landmarks.PASSES,
            "max_shift_in_sizes": landmarks.MAX_SHIFT,
        },
    }


def _describe_aus(metadata: Metadata) -> list[dict[str, Any]]:
    trust = trust_entry(metadata)
    thresholds = dict(zip(metadata.aus, choose_thresholds(metadata, None), strict=True))
    return [
        {
            "name": facts.au_name(au),
            "facs": facts.au_title(au),
            "threshold": thresholds[au] if metadata.task != "intensity" else None,
            "calibration": metadata.calibration[au].model_dump() if au in metadata.calibration else None,
            "trust": trust.get(facts.au_name(au)),
        }
        for au in metadata.aus
    ]
