"""Skin tone, pose and sharpness of a photograph of a face, from its pixels and landmarks.

Skin tone is the individual typology angle (Chardon, Cretois and Hourseau, 1991), atan((L* - 50) / b*) in
CIELAB. The photographs are not calibrated: the angle depends on light and white balance as much as on the
skin, so a class describes pictures, not people. Normalizing the exposure by the brightest pixels was tried;
by visual inspection it did not order the portraits better.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

RGB = NDArray[np.uint8]
Landmarks = NDArray[np.floating]

TONES = ((55.0, "very light"), (41.0, "light"), (28.0, "intermediate"), (10.0, "tan"), (-30.0, "brown"))
"""Lower limit of each class, in degrees; below the last it is dark (Del Bino and Bernerd, 2013)."""
GREY = "grey-scale photo"
MERGED = {
    "very light": "light or very light",
    "light": "light or very light",
    "intermediate": "intermediate or tan",
    "tan": "intermediate or tan",
    "brown": "brown or dark",
    "dark": "brown or dark",
}
NOSE_HEIGHT = 0.59
"""Height of the tip of the nose over the plane of the eyes, in distances between the eyes: fitted to
MediaPipe's yaw of the 579 other portraits (correlation 0.96)."""
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""Linear sRGB to CIE XYZ (IEC 61966-2-1); the rows' sums are the white point D65."""


def rgb_to_lab(rgb: RGB) -> NDArray[np.float64]:
    """Convert sRGB uint8 (..., 3) to CIELAB (..., 3) under D65: L* 0..100."""
    xyz = _linear(rgb) @ XYZ.T / XYZ.sum(1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _linear(rgb: RGB) -> NDArray[np.float64]:
    value = rgb / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def skin_pixels(rgb: RGB, landmarks: Landmarks) -> RGB:
    """Return pixels (N, 3) of both cheeks and the forehead.

    The darkest tenth is left out, and the brighter half, because highlights have the colour of the light.
    """
    left, right, _, mouth_left, mouth_right = np.asarray(landmarks, np.float64)
    across, middle = right - left, (left + right) / 2
    up = middle - (mouth_left + mouth_right) / 2
    distance = float(np.linalg.norm(across))
    centres = (
        0.5 * (left + mouth_left) - 0.08 * across,
        0.5 * (right + mouth_right) + 0.08 * across,
        middle + 0.55 * up,
    )
    rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]] + 0.5
    discs = [np.hypot(columns - x, rows - y) <= max(0.14 * distance, 1.5) for x, y in centres]
    pixels = rgb[np.logical_or.reduce(discs)]
    brightness = pixels.mean(1)
    low, high = np.percentile(brightness, [10, 50])
    skin: RGB = pixels[(brightness >= low) & (brightness <= high)]
    return skin


def typology_angle(rgb: RGB, landmarks: Landmarks) -> float:
    """Return the individual typology angle in degrees, higher for lighter skin; NaN for grey photos."""
    lightness, red, yellow = np.median(rgb_to_lab(skin_pixels(rgb, landmarks)), axis=0)
    if np.hypot(red, yellow) < 3:
        return float("nan")
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def classify_tone(angle: float) -> str:
    """Return the class of a typology angle."""
    if np.isnan(angle):
        return GREY
    return next((name for least, name in TONES if angle > least), "dark")


def eye_distance(landmarks: Landmarks) -> float:
    """Return the distance between the eyes in px."""
    return float(np.linalg.norm(np.asarray(landmarks[1], np.float64) - landmarks[0]))


def estimate_yaw(landmarks: Landmarks) -> float:
    """Return the yaw of the head in degrees, positive towards the right-hand side of the image.

    The tip of the nose moves along the line of the eyes by its height over their plane times tan(yaw).
    ``NOSE_HEIGHT`` is that height in distances between the eyes.
    """
    left, right, nose = (np.asarray(point, np.float64) for point in landmarks[:3])
    across = right - left
    shift = (nose - (left + right) / 2) @ across / (across @ across)
    return float(np.degrees(np.arctan(shift / NOSE_HEIGHT)))


def shrink(rgb: RGB, landmarks: Landmarks, target: float) -> RGB | None:
    """Shrink a photo until the eyes are ``target`` px apart; None if they are nearer already."""
    factor = target / eye_distance(landmarks)
    if factor > 1:
        return None
    size = tuple(max(1, round(side * factor)) for side in rgb.shape[1::-1])
    return np.array(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))


def blur(rgb: RGB, landmarks: Landmarks, fraction: float) -> RGB:
    """Blur a photo with a Gaussian; its standard deviation is a fraction of the distance of the eyes."""
    sigma = fraction * eye_distance(landmarks)
    return np.array(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(sigma)))
