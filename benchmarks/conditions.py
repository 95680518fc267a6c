"""What a photograph of a face is like, measured on its pixels and five points, and how to make it worse.

Skin tone is the individual typology angle (Chardon, Cretois and Hourseau, 1991), atan((L* - 50) / b*) in
CIELAB, here of an ordinary photograph, not of a calibrated one: the photographer's light and white balance
are in it as much as the skin, and a class is one of pictures, not of people. Evening the exposure by the
brightest pixels was tried, and by eye ordered the portraits no better.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

RGB = NDArray[np.uint8]
Points = NDArray[np.floating]

TONES = ((55.0, "very light"), (41.0, "light"), (28.0, "intermediate"), (10.0, "tan"), (-30.0, "brown"))
"""Least angle of each class, in degrees; below the last it is dark (Del Bino and Bernerd, 2013)."""
GREY = "grey-scale photo"
MERGED = {
    "very light": "light or very light",
    "light": "light or very light",
    "intermediate": "intermediate or tan",
    "tan": "intermediate or tan",
    "brown": "brown or dark",
    "dark": "brown or dark",
}
NOSE = 0.59
"""Height of the nose's tip over the plane of the eyes, in distances of the eyes: fitted to MediaPipe's yaw
of the 579 other portraits (correlation 0.96)."""
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""Linear sRGB to CIE XYZ (IEC 61966-2-1); the rows' sums are the white D65."""


def lab(rgb: RGB) -> NDArray[np.float64]:
    """SRGB uint8 (..., 3) to CIELAB (..., 3) under D65: L* 0..100."""
    xyz = _linear(rgb) @ XYZ.T / XYZ.sum(1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _linear(rgb: RGB) -> NDArray[np.float64]:
    value = rgb / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def skin(rgb: RGB, points: Points) -> RGB:
    """Pixels (N, 3) of both cheeks and the forehead, without the darkest tenth and the brighter half.

    Highlights have the colour of the light.
    """
    left, right, _, mouth_left, mouth_right = np.asarray(points, np.float64)
    across, middle = right - left, (left + right) / 2
    up = middle - (mouth_left + mouth_right) / 2
    distance = float(np.linalg.norm(across))
    spots = (
        0.5 * (left + mouth_left) - 0.08 * across,
        0.5 * (right + mouth_right) + 0.08 * across,
        middle + 0.55 * up,
    )
    rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]] + 0.5
    near = [np.hypot(columns - x, rows - y) <= max(0.14 * distance, 1.5) for x, y in spots]
    pixels = rgb[np.logical_or.reduce(near)]
    light = pixels.mean(1)
    low, high = np.percentile(light, [10, 50])
    kept: RGB = pixels[(light >= low) & (light <= high)]
    return kept


def typology_angle(rgb: RGB, points: Points) -> float:
    """Individual typology angle in degrees, higher for lighter skin; NaN for a photo without colour."""
    lightness, red, yellow = np.median(lab(skin(rgb, points)), axis=0)
    if np.hypot(red, yellow) < 3:
        return float("nan")
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def tone(angle: float) -> str:
    """The class of a typology angle."""
    if np.isnan(angle):
        return GREY
    return next((name for least, name in TONES if angle > least), "dark")


def eye_distance(points: Points) -> float:
    """In px."""
    return float(np.linalg.norm(np.asarray(points[1], np.float64) - points[0]))


def yaw(points: Points) -> float:
    """Turn of the head in degrees, positive towards the right-hand side, from where the nose stands.

    The tip of the nose moves along the line of the eyes by its height over their plane times tan(yaw).
    ``NOSE`` is that height in distances of the eyes.
    """
    left, right, nose = (np.asarray(point, np.float64) for point in points[:3])
    across = right - left
    shift = (nose - (left + right) / 2) @ across / (across @ across)
    return float(np.degrees(np.arctan(shift / NOSE)))


def shrink(rgb: RGB, points: Points, target: float) -> RGB | None:
    """The photo with eyes ``target`` px apart; None where they are nearer to each other already."""
    factor = target / eye_distance(points)
    if factor > 1:
        return None
    size = tuple(max(1, round(side * factor)) for side in rgb.shape[1::-1])
    return np.array(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))


def blur(rgb: RGB, points: Points, part: float) -> RGB:
    """Gaussian blur whose standard deviation is ``part`` of the distance of the eyes."""
    return np.array(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(part * eye_distance(points))))
