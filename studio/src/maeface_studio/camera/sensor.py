"""A model of a camera: background, exposure, blur, noise, resolution, colours, compression."""

import io
import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from maeface_studio.camera import backdrop
from maeface_studio.cast.views import CameraSettings, View
from maeface_studio.head.mesh import Floats

FACE_LIGHT = (0.38, 0.085)
"""Linear brightness to which the median of the face is exposed, for the lightest and the darkest skin."""

FACE_RANGE = (0.03, 0.55)
"""The median of the face stays in this range whatever the exposure, so that the face can be recognised."""

METER = ((0.32, 0.72), (0.34, 0.66))
"""Rows and columns, as fractions of the side, in which the camera meters: the face without hat and hair."""

_BRIGHTEST = 4.0
_STEPS = 4096
_READ_NOISE = 0.06
"""Noise of black, as a fraction of the shot noise of white."""


def develop(rendered: Floats, view: View, melanin: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn a rendered head into the picture that a camera takes of it.

    Args:
        rendered: (H, H, 4) linear RGB, premultiplied by alpha.
        view: its camera and backdrop are used.
        melanin: of the subject, 0..1; the exposure compensates dark skin in part.
        rng: draws the noise; the same generator and view give the same picture.

    Returns:
        (H, H, 3) sRGB.
    """
    camera = view.camera
    rendered = np.nan_to_num(rendered)  # some drivers leave single pixels undefined
    side = rendered.shape[0]
    alpha = np.clip(rendered[..., 3:], 0, 1)
    behind = backdrop.paint(view.backdrop, side) * np.float32(camera.exposure)
    light = (
        rendered[..., :3] * np.float32(_exposure_gain(rendered, camera.exposure, melanin))
        + (1 - alpha) * behind
    )
    light *= np.array(camera.balance, np.float32)
    if camera.vignette:
        light *= _vignette(side, camera.vignette)[..., None]
    image = _blur(Image.fromarray(_to_srgb(light)), camera)
    if camera.resolution < 1:
        small = max(8, round(side * camera.resolution))
        image = _add_noise(image.resize((small, small), Image.Resampling.BOX), camera, rng)
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    else:
        image = _add_noise(image, camera, rng)
    return np.asarray(_compress(_adjust_colours(image, camera), camera.jpeg))


def _exposure_gain(rendered: Floats, exposure: float, melanin: float) -> float:
    """Return the factor that exposes the face, so that its median stays in ``FACE_RANGE``."""
    side = rendered.shape[0]
    (top, bottom), (left, right) = (tuple(round(side * edge) for edge in edges) for edges in METER)
    sparse = rendered[top:bottom:3, left:right:3]
    face = sparse[sparse[..., 3] > 0.9][:, :3]
    if len(face) == 0:
        return exposure
    median = max(float(np.median(face @ np.array([0.2126, 0.7152, 0.0722], np.float32))), 1e-4)
    light, dark = FACE_LIGHT
    target = light * (dark / light) ** melanin * exposure
    return float(np.clip(target, *FACE_RANGE)) / median


def _vignette(side: int, vignette: float) -> Floats:
    """Return the factor by which the lens darkens each pixel towards the corners, (side, side)."""
    x = np.linspace(-1, 1, side, dtype=np.float32) ** 2
    return np.asarray(1 - vignette * ((x + x[:, None]) / 2) ** 1.5, np.float32)


def _to_srgb(light: Floats) -> NDArray[np.uint8]:
    """Convert linear light to sRGB, with highlights compressed."""
    index = np.sqrt(np.clip(light, 0, _BRIGHTEST)) * ((_STEPS - 1) / math.sqrt(_BRIGHTEST))
    return _tone_curve()[(index + 0.5).astype(np.int16)]


@cache
def _tone_curve() -> NDArray[np.uint8]:
    """Return sRGB values by the square root of the light."""
    light = np.linspace(0, math.sqrt(_BRIGHTEST), _STEPS) ** 2
    light = np.where(light > 0.7, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.45), light)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(value * 255 + 0.5).astype(np.uint8)


def _blur(image: Image.Image, camera: CameraSettings) -> Image.Image:
    """Blur an image by defocus and by motion."""
    side = image.width
    if camera.defocus:
        image = image.filter(ImageFilter.GaussianBlur(camera.defocus * side))
    across, down = (length * side for length in camera.motion)
    steps = math.ceil(math.hypot(across, down))
    if steps == 0:
        return image
    edge = steps + 1  # padding: what moves in from outside must not be black
    wide = Image.fromarray(np.pad(np.asarray(image), ((edge, edge), (edge, edge), (0, 0)), mode="edge"))
    total = wide
    for step in range(1, steps + 1):
        path = (1, 0, across * step / steps, 0, 1, down * step / steps)
        moved = wide.transform(wide.size, Image.Transform.AFFINE, path, Image.Resampling.BILINEAR)
        total = Image.blend(total, moved, 1 / (step + 1))
    return total.crop((edge, edge, edge + side, edge + side))


def _add_noise(image: Image.Image, camera: CameraSettings, rng: np.random.Generator) -> Image.Image:
    """Add sensor noise, which grows with the square root of the light; sRGB amplifies it in the dark."""
    if not camera.noise:
        return image
    pixels = np.asarray(image)
    high, wide = pixels.shape[:2]
    value = np.arange(256) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    slope = np.where(light <= 0.0031308, 12.92, 0.4396 * np.maximum(light, 0.0031308) ** (-1.4 / 2.4))
    sigma = (255 * slope * camera.noise * np.sqrt(light + _READ_NOISE**2)).astype(np.float32)
    if camera.coarse:
        grain = rng.standard_normal(((high + 1) // 2, (wide + 1) // 2, 3), dtype=np.float32)
        coarse = [
            np.asarray(Image.fromarray(grain[..., c]).resize((wide, high), Image.Resampling.BILINEAR))
            for c in range(3)
        ]
        noise = np.stack(coarse, -1) * np.float32(1.4)
    else:
        noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.clip(pixels + noise * sigma[pixels] + 0.5, 0, 255).astype(np.uint8))


def _adjust_colours(image: Image.Image, camera: CameraSettings) -> Image.Image:
    """Change saturation and contrast, and fade the image like an old print."""
    if camera.grey is not None:
        red, green, blue = camera.grey
        image = image.convert("L", (red, green, blue, 0)).convert("RGB")
    elif camera.saturation != 1:
        image = ImageEnhance.Color(image).enhance(camera.saturation)
    if camera.contrast == 1 and camera.fade == 0:
        return image
    value = np.arange(256) / 255
    value = np.clip(0.45 + (value - 0.45) * camera.contrast, 0, 1)
    value = camera.fade * 0.8 + value * (1 - 1.4 * camera.fade)
    return image.point([round(float(v) * 255) for v in value] * 3)


def _compress(image: Image.Image, qualities: tuple[int, ...]) -> Image.Image:
    """Encode an image as JPEG and decode it, once for each quality."""
    for quality in qualities:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        image = Image.open(buffer)
        image.load()
    return image
