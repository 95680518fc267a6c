"""Views of a face: head pose, light, camera and background, drawn at random."""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast.random_draws import bernoulli, categorical, clipped_normal, uniform

RGB = tuple[float, float, float]

WHITE: RGB = (1.0, 1.0, 1.0)

YAW_LIMIT, PITCH_LIMIT, ROLL_LIMIT = 45.0, 25.0, 20.0
"""Greatest angle of the head to either side, degrees."""

FRONTAL_FRACTION = 0.68
"""Fraction of the images that are near frontal; the rest spread over the whole range."""

OCCLUDED_FRACTION = 0.06
"""Fraction of the images with something in front of the face."""


class BackdropKind(IntEnum):
    """What is behind the head."""

    PLAIN = 0
    GRADIENT = 1
    PORTRAIT = 2
    ROOM = 3
    SHELVES = 4
    OUTDOORS = 5
    BOKEH = 6
    CURTAIN = 7
    NOISE = 8


class LightSetup(IntEnum):
    """How the lamps are set up."""

    KEY_AND_FILL = 0
    WINDOW = 1
    OVERHEAD = 2
    HARD_SUN = 3
    RING = 4
    FRONTAL = 5
    KEY_AND_RIM = 6
    LOW_KEY = 7
    MONITOR = 8
    TWO_COLOURS = 9
    OVERCAST = 10


class Occluder(IntEnum):
    """What is in front of the face."""

    NONE = 0
    HAND_AT_CHIN = 1
    HAND_AT_CHEEK = 2
    FINGER_AT_MOUTH = 3
    MICROPHONE = 4
    CUP = 5
    PHONE = 6
    SCARF = 7
    LOCK_OF_HAIR = 8


_BACKDROP_WEIGHTS = (0.12, 0.14, 0.17, 0.2, 0.08, 0.12, 0.06, 0.05, 0.06)
_LIGHT_WEIGHTS = (0.2, 0.13, 0.1, 0.1, 0.07, 0.1, 0.09, 0.05, 0.05, 0.03, 0.08)
_DIM = (LightSetup.LOW_KEY, LightSetup.MONITOR, LightSetup.TWO_COLOURS)
_AMBIENT_RANGES = {
    LightSetup.LOW_KEY: (0.03, 0.1),
    LightSetup.HARD_SUN: (0.1, 0.4),
    LightSetup.OVERCAST: (0.5, 0.8),
    LightSetup.MONITOR: (0.05, 0.3),
}


class Lamp(NamedTuple):
    """A lamp, which stays where it is when the head turns; angles in degrees."""

    azimuth: float
    """0 from the camera, 90 from the viewer's right."""
    elevation: float
    width: float
    """Angle that it spans as seen from the face."""
    strength: float
    colour: RGB


@dataclass(frozen=True)
class Backdrop:
    """The background."""

    kind: BackdropKind = BackdropKind.PLAIN
    blur: float = 0.0
    """Defocus, as a fraction of the image's side."""
    light: float = 0.4
    """Mean brightness, linear, on 0..1."""
    seed: int = 0


@dataclass(frozen=True)
class CameraSettings:
    """The optics, sensor and processing of a camera; the defaults are a perfect camera.

    Lengths are fractions of the image's side.
    """

    exposure: float = 1.0
    """Factor on what a meter on the face would choose."""
    balance: RGB = WHITE
    """Gain of the channels."""
    noise: float = 0.0
    """Shot noise: standard deviation of white light, as a fraction of it."""
    coarse: bool = False
    """Noise of two pixels' size, as after a phone's smoothing."""
    defocus: float = 0.0
    motion: tuple[float, float] = (0.0, 0.0)
    """Path of the image during the exposure: to the right, down."""
    vignette: float = 0.0
    """Light lost in the corners."""
    resolution: float = 1.0
    """Fraction of the pixels along a side that the sensor has."""
    saturation: float = 1.0
    contrast: float = 1.0
    fade: float = 0.0
    """How far black is lifted and white dulled, as in an old print."""
    grey: RGB | None = None
    """Weights of the channels of a black and white film; None for colour."""
    jpeg: tuple[int, ...] = ()
    """Qualities at which the file was saved, one generation after the other."""


@dataclass(frozen=True)
class View:
    """Head pose, light, camera and background of an image; angles in degrees, lengths in cm."""

    yaw: float
    """To the viewer's right."""
    pitch: float
    """Up."""
    roll: float
    """Clockwise as seen."""
    distance: float
    """From the camera to the head."""
    height: float
    """What the frame spans at the face."""
    shift: tuple[float, float]
    """Of the head from the middle of the frame: to the right, up."""
    lamps: tuple[Lamp, ...]
    ambient: RGB
    camera: CameraSettings = CameraSettings()
    backdrop: Backdrop = Backdrop()
    occluder: Occluder = Occluder.NONE


def draw_view(rng: np.random.Generator) -> View:
    """Draw a view."""
    yaw, pitch = _draw_yaw_and_pitch(rng)
    setup = LightSetup(categorical(rng, _LIGHT_WEIGHTS))
    lamps, ambient = _draw_light(rng, setup)
    occluded = bernoulli(rng, OCCLUDED_FRACTION)
    return View(
        yaw=yaw,
        pitch=pitch,
        roll=clipped_normal(rng, 6, ROLL_LIMIT),
        distance=_draw_distance(rng),
        height=uniform(rng, 27.5, 30.0),
        shift=(clipped_normal(rng, 0.5, 1.5), clipped_normal(rng, 0.5, 1.5)),
        lamps=lamps,
        ambient=ambient,
        camera=draw_camera_settings(rng, dim=setup in _DIM),
        backdrop=Backdrop(
            kind=BackdropKind(categorical(rng, _BACKDROP_WEIGHTS)),
            blur=0.0 if bernoulli(rng, 0.25) else uniform(rng, 0.002, 0.03),
            light=float(np.exp(rng.uniform(math.log(0.02), math.log(0.7)))),
            seed=int(rng.integers(2**31)),
        ),
        occluder=Occluder(int(rng.integers(1, len(Occluder)))) if occluded else Occluder.NONE,
    )


def draw_camera_settings(rng: np.random.Generator, dim: bool = False) -> CameraSettings:
    """Draw a camera, from a good one in good light to a bad one.

    Args:
        rng: for the draws.
        dim: whether the light is dim, which brings less exposure and more noise.
    """
    badness = rng.uniform() ** 2  # most are good
    warmth, green = clipped_normal(rng, 0.08, 0.25), clipped_normal(rng, 0.025, 0.08)
    angle, path = uniform(rng, 0, math.pi), uniform(rng, 0.003, 0.006 + 0.02 * badness)
    moved, blurred = bernoulli(rng, 0.14), bernoulli(rng, 0.25)
    small, old, grey = bernoulli(rng, 0.15 + 0.35 * badness), bernoulli(rng, 0.05), bernoulli(rng, 0.07)
    film = rng.dirichlet((3.0, 6.0, 2.0))
    return CameraSettings(
        exposure=float(np.clip(np.exp(rng.normal(-0.25 if dim else 0.0, 0.28)), 0.4, 2.0)),
        balance=(math.exp(warmth), math.exp(green), math.exp(-warmth)),
        noise=float(np.clip(np.exp(rng.normal(-4.7 + 1.5 * badness + 0.6 * dim, 0.6)), 0.002, 0.12)),
        coarse=bernoulli(rng, 0.4),
        defocus=uniform(rng, 0.001, 0.003 + 0.006 * badness) if blurred else 0.0,
        motion=(path * math.cos(angle), path * math.sin(angle)) if moved else (0.0, 0.0),
        vignette=uniform(rng, 0, 0.5) if bernoulli(rng, 0.3) else 0.0,
        resolution=uniform(rng, 0.22, 0.9) if small else 1.0,
        saturation=float(np.clip(rng.normal(1.0, 0.15), 0.5, 1.5)),
        contrast=float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.4)),
        fade=uniform(rng, 0.05, 0.25) if old else uniform(rng, 0, 0.03),
        grey=(float(film[0]), float(film[1]), float(film[2]))
        if grey or (old and bernoulli(rng, 0.4))
        else None,
        jpeg=tuple(
            int(quality)
            for quality in rng.integers(
                92 - int(62 * badness), 96, size=categorical(rng, (0.25, 0.5, 0.2, 0.05))
            )
        ),
    )


def _draw_yaw_and_pitch(rng: np.random.Generator) -> tuple[float, float]:
    if bernoulli(rng, FRONTAL_FRACTION):
        return clipped_normal(rng, 9, YAW_LIMIT), clipped_normal(rng, 6, PITCH_LIMIT)
    return uniform(rng, -YAW_LIMIT, YAW_LIMIT), uniform(rng, -PITCH_LIMIT, PITCH_LIMIT)


def _draw_distance(rng: np.random.Generator) -> float:
    """Draw the distance in cm of a phone in the own hand, a webcam on a desk, or a camera farther off."""
    low, high = ((38, 60), (50, 90), (90, 260))[categorical(rng, (0.3, 0.35, 0.35))]
    return uniform(rng, low, high)


def _draw_light(rng: np.random.Generator, setup: LightSetup) -> tuple[tuple[Lamp, ...], RGB]:
    """Draw the lamps and the ambient light of a set-up."""
    side = 1.0 if bernoulli(rng, 0.5) else -1.0

    def lamp(
        azimuth: tuple[float, float],
        elevation: tuple[float, float],
        width: tuple[float, float],
        strength: tuple[float, float] = (1.0, 1.0),
        tint: RGB | None = None,
    ) -> Lamp:
        colour = tint or _draw_tint(rng, 1.0)
        return Lamp(
            uniform(rng, *azimuth),
            uniform(rng, *elevation),
            uniform(rng, *width),
            uniform(rng, *strength),
            colour,
        )

    def on_side(low: float, high: float) -> tuple[float, float]:
        return (low, high) if side > 0 else (-high, -low)

    fill = lamp(on_side(-70, -25), (-5, 25), (25, 40), (0.15, 0.6))
    cool: RGB = (uniform(rng, 0.45, 0.8), uniform(rng, 0.7, 1.0), 1.25)
    gel: RGB = _draw_tint(rng, 1.0, 0.45)
    setups: dict[LightSetup, tuple[Lamp, ...]] = {
        LightSetup.KEY_AND_FILL: (lamp(on_side(20, 60), (10, 50), (14, 30)), fill),
        LightSetup.WINDOW: (lamp(on_side(45, 90), (0, 25), (30, 45)), fill),
        LightSetup.OVERHEAD: (lamp((-30, 30), (50, 75), (25, 45)), fill),
        LightSetup.HARD_SUN: (lamp(on_side(10, 75), (20, 65), (3, 7), tint=_draw_tint(rng, 1.0, 0.15)),),
        LightSetup.RING: (lamp((-3, 3), (-2, 6), (10, 16)),),
        LightSetup.FRONTAL: (lamp((-15, 15), (0, 25), (14, 30)),),
        LightSetup.KEY_AND_RIM: (
            lamp(on_side(20, 60), (10, 50), (14, 30)),
            fill,
            lamp(on_side(-160, -120), (10, 40), (10, 20), (0.4, 1.2)),
        ),
        LightSetup.LOW_KEY: (lamp(on_side(45, 95), (5, 45), (8, 20)),),
        LightSetup.MONITOR: (
            lamp((-20, 20), (-35, 0), (25, 40), tint=cool),
            lamp(on_side(30, 110), (0, 60), (20, 40), (0.1, 0.5)),
        ),
        LightSetup.TWO_COLOURS: (
            lamp(on_side(35, 80), (0, 40), (15, 30), tint=gel),
            lamp(on_side(-80, -35), (0, 40), (15, 30), (0.6, 1.0), tint=_draw_tint(rng, 1.0, 0.45)),
        ),
        LightSetup.OVERCAST: (lamp((-40, 40), (40, 85), (50, 70)),),
    }  # fmt: skip
    return setups[setup], _draw_tint(rng, uniform(rng, *_AMBIENT_RANGES.get(setup, (0.08, 0.6))))


def _draw_tint(rng: np.random.Generator, level: float, spread: float = 0.06) -> RGB:
    colour: NDArray[np.float64] = level * np.exp(np.clip(rng.normal(0, spread, 3), -1.2, 1.2) - spread**2 / 2)
    return float(colour[0]), float(colour[1]), float(colour[2])
