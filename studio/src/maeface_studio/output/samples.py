"""Rendered pictures as samples of a dataset: crops, manifest rows, labels and frames."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maeface import files
from maeface.data.shards import ShardWriter
from maeface.faces.geometry import Face, crop, eye_angle, square_around
from maeface_studio.camera.scene import Picture
from maeface_studio.cast.actions import PlannedImage
from maeface_studio.head import rig


def add_crop(writer: ShardWriter, picture: Picture, size: int, quality: int) -> dict[str, Any]:
    """Append the crop of a picture to a shard, cut as ``maeface prepare`` cuts it.

    Returns:
        The manifest columns ``offset``, ``size`` (bytes) and ``angle`` (degrees).
    """
    face = Face(picture.box.astype(np.float32), picture.points.astype(np.float32), 1.0)
    region = square_around(face, angle_deg=eye_angle(picture.points))
    offset, count = writer.add(encode_jpeg(crop(picture.pixels, region, size), quality))
    return {"offset": offset, "size": count, "angle": region.angle_deg}


def manifest_row(shot: PlannedImage, picture: Picture) -> dict[str, Any]:
    """Return the columns of the manifest and the labels, but not the place in a shard.

    A still is a file of its own; the frames of a clip have the same source and differ in ``frame``.
    """
    name = shot.subject.name
    source = f"{name}/{shot.clip}" if shot.clip else f"{name}/still{shot.frame:04d}.png"
    frame = shot.frame if shot.clip else 0
    row: dict[str, Any] = {
        "id": f"{source}#{frame}.0",
        "source": source,
        "subject": name,
        "clip": source if shot.clip else None,
        "frame": frame,
        "time_s": shot.time_s,
        "face": 0,
        "score": 1.0,
        "status": "ok",
        "detail": None,
    }
    row |= dict(zip(("x1", "y1", "x2", "y2"), picture.box.tolist(), strict=True))
    row |= {
        f"p{i}{axis}": float(value)
        for i, xy in enumerate(picture.points)
        for axis, value in zip("xy", xy, strict=True)
    }
    for au, level in code_intensities(picture).items():
        row |= {f"AU{au:02d}_i": level, f"AU{au:02d}_o": int(level >= rig.OCCURRENCE)}
    for au in rig.SIDED_AUS:
        sides = rig.side_intensities(au, picture.intensities.get(au, 0.0), shot.action.asymmetry.get(au, 0.0))
        row |= {f"AU{au:02d}_{side}": round(value, 2) for side, value in zip("LR", sides, strict=True)}
    return row


def code_intensities(picture: Picture) -> dict[int, int]:
    """Return the intensity of every AU as a coder writes it: a whole number, 0 to 5."""
    return {au: int(picture.intensities.get(au, 0.0) + 0.5) for au in rig.AUS}


def write_frame(folder: Path, shot: PlannedImage, picture: Picture) -> None:
    """Write the whole frame as PNG: a file per still, a folder per clip."""
    folder = folder / shot.subject.name
    path = (
        folder / str(shot.clip) / f"{shot.frame:04d}.png"
        if shot.clip
        else folder / f"still{shot.frame:04d}.png"
    )
    buffer = io.BytesIO()
    Image.fromarray(picture.pixels).save(buffer, "PNG")
    files.write_bytes(path, buffer.getvalue())


def encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Encode (H, W, 3) RGB as JPEG, with a quality of 1 to 95."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
