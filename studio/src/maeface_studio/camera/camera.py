"""What a camera makes of the light: background, exposure, noise, blur, resolution, compression."""

import io
import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from maeface_studio.camera import backdrop
from maeface_studio.cast.views import Camera, View
from maeface_studio.head.rig import Floats

FACE_LIGHT = (0.38, 0.085)
"""Linear brightness that the median of the face is exposed to, for the lightest and the darkest skin."""

FACE_RANGE = (0.03, 0.55)
"""The median of the face stays within it, whatever the exposure: a face remains one."""

METER = ((0.32, 0.72), (0.34, 0.66))
"""Rows and columns, as shares of the side, in which the camera meters: the face, not hat or hair."""

_BRIGHTEST = 4.0
_STEPS = 4096
_READ_NOISE = 0.06
"""Noise of black, as share of the shot noise of white."""


def develop(rendered: Floats, view: View, melanin: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn a rendered head into the picture that a camera takes of it.

    Args:
        rendered: (H, H, 4) linear RGB, premultiplied by alpha.
        view: with the camera and the backdrop.
        melanin: of the subject, 0..1; a meter opens up for dark skin, but not wholly.
        rng: for the noise; the same numbers and view give the same picture.

    Returns:
        (H, H, 3) sRGB.
    """
    camera = view.camera
    rendered = np.nan_to_num(rendered)  # a driver's odd pixel must not stop a night's work
    side = rendered.shape[0]
    alpha = np.clip(rendered[..., 3:], 0, 1)
    behind = backdrop.paint(view.backdrop, side) * np.float32(camera.exposure)
    light = rendered[..., :3] * np.float32(_gain(rendered, camera.exposure, melanin)) + (1 - alpha) * behind
    light *= np.array(camera.balance, np.float32)
    if camera.vignette:
        light *= _falloff(side, camera.vignette)[..., None]
    image = _focus(Image.fromarray(_exposed(light)), camera)
    if camera.resolution < 1:
        small = max(8, round(side * camera.resolution))
        image = _noisy(image.resize((small, small), Image.Resampling.BOX), camera, rng)
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    else:
        image = _noisy(image, camera, rng)
    return np.asarray(_saved(_graded(image, camera), camera.jpeg))


def _gain(rendered: Floats, exposure: float, melanin: float) -> float:
    """Factor that brings the face to its light, times the camera's exposure, within ``FACE_RANGE``."""
    (top, bottom), (left, right) = (tuple(round(rendered.shape[0] * at) for at in span) for span in METER)
    sparse = rendered[top:bottom:3, left:right:3]
    face = sparse[sparse[..., 3] > 0.9][:, :3]
    if len(face) == 0:
        return exposure
    median = max(float(np.median(face @ np.array([0.2126, 0.7152, 0.0722], np.float32))), 1e-4)
    light, dark = FACE_LIGHT
    wanted = light * (dark / light) ** melanin * exposure
    return float(np.clip(wanted, *FACE_RANGE)) / median


def _falloff(side: int, vignette: float) -> Floats:
    x = np.linspace(-1, 1, side, dtype=np.float32) ** 2
    return np.asarray(1 - vignette * ((x + x[:, None]) / 2) ** 1.5, np.float32)


def _exposed(light: Floats) -> NDArray[np.uint8]:
    """Linear light to sRGB; highlights roll off."""
    index = np.sqrt(np.clip(light, 0, _BRIGHTEST)) * ((_STEPS - 1) / math.sqrt(_BRIGHTEST))
    return _curve()[(index + 0.5).astype(np.int16)]


@cache
def _curve() -> NDArray[np.uint8]:
    """The display's value (sRGB) by the root of the light."""
    light = np.linspace(0, math.sqrt(_BRIGHTEST), _STEPS) ** 2
    light = np.where(light > 0.7, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.45), light)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(value * 255 + 0.5).astype(np.uint8)


def _focus(image: Image.Image, camera: Camera) -> Image.Image:
    """Defocus and motion."""
    side = image.width
    if camera.defocus:
        image = image.filter(ImageFilter.GaussianBlur(camera.defocus * side))
    across, down = (length * side for length in camera.motion)
    steps = math.ceil(math.hypot(across, down))
    if steps == 0:
        return image
    edge = steps + 1  # so that what moves in from outside is not black
    wide = Image.fromarray(np.pad(np.asarray(image), ((edge, edge), (edge, edge), (0, 0)), mode="edge"))
    total = wide
    for step in range(1, steps + 1):
        path = (1, 0, across * step / steps, 0, 1, down * step / steps)
        moved = wide.transform(wide.size, Image.Transform.AFFINE, path, Image.Resampling.BILINEAR)
        total = Image.blend(total, moved, 1 / (step + 1))
    return total.crop((edge, edge, edge + side, edge + side))


def _noisy(image: Image.Image, camera: Camera, rng: np.random.Generator) -> Image.Image:
    """Noise of the sensor: grows with the root of the light; the display's curve lifts it in the dark."""
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


def _graded(image: Image.Image, camera: Camera) -> Image.Image:
    """Colour, contrast, an old print's fading."""
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


def _saved(image: Image.Image, qualities: tuple[int, ...]) -> Image.Image:
    """A JPEG file and read again, once for each quality."""
    for quality in qualities:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        image = Image.open(buffer)
        image.load()
    return image
