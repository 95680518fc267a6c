"""From where a face is seen, in what light, by what camera and before what: drawn at random."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast.draws import between, happens, normal, pick
from maeface_studio.worn.things import OCCLUDERS

RGB = tuple[float, float, float]
Lamp = tuple[float, float, float, float, RGB]
"""Azimuth (0 from the camera, 90 from the viewer's right), elevation, width in degrees, strength, colour."""

WHITE: RGB = (1.0, 1.0, 1.0)

BACKDROPS = ("plain", "gradient", "portrait", "room", "shelves", "outdoors", "bokeh", "curtain", "noise")
"""What ``Backdrop.kind`` counts."""

_BACKDROP_WEIGHTS = (0.12, 0.14, 0.17, 0.2, 0.08, 0.12, 0.06, 0.05, 0.06)

LIGHTS = (
    "key and fill", "window", "overhead", "hard sun", "ring", "frontal", "key and rim", "low key",
    "monitor", "two colours", "overcast",
)  # fmt: skip
_LIGHT_WEIGHTS = (0.2, 0.13, 0.1, 0.1, 0.07, 0.1, 0.09, 0.05, 0.05, 0.03, 0.08)

YAW_LIMIT, PITCH_LIMIT, ROLL_LIMIT = 45.0, 25.0, 20.0
FRONTAL_SHARE = 0.68
"""Share of the pictures that are near frontal; the rest spread over the whole range."""

OCCLUDED_SHARE = 0.06


@dataclass(frozen=True)
class Backdrop:
    """What is behind the head."""

    kind: int = 0
    """Into ``BACKDROPS``."""
    blur: float = 0.0
    """Defocus, as share of the picture's side."""
    light: float = 0.4
    """Mean brightness, linear, on 0..1."""
    seed: int = 0


@dataclass(frozen=True)
class Camera:
    """What happens between the light and the file; as it stands here, a perfect camera.

    Lengths are shares of the picture's side.
    """

    exposure: float = 1.0
    """Factor on what a meter on the face would choose."""
    balance: RGB = WHITE
    noise: float = 0.0
    """Shot noise: standard deviation of white light, as share of it."""
    coarse: bool = False
    """Noise of two pixels' size, as after a phone's smoothing."""
    defocus: float = 0.0
    motion: tuple[float, float] = (0.0, 0.0)
    """Path of the picture during the exposure: to the right, down."""
    vignette: float = 0.0
    """Light lost in the corners."""
    resolution: float = 1.0
    """Share of the pixels along a side that the sensor has."""
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
    """Pose, light, camera and background of a picture; angles in degrees, lengths in cm."""

    yaw: float
    pitch: float
    roll: float
    distance: float
    height: float
    """How much of the world the frame spans at the face."""
    shift: tuple[float, float]
    lamps: tuple[Lamp, ...]
    ambient: RGB
    camera: Camera = Camera()
    backdrop: Backdrop = Backdrop()
    occluder: int = 0
    """Into ``OCCLUDERS``; 0 for nothing before the face."""


def view(rng: np.random.Generator) -> View:
    """Draw a view."""
    yaw, pitch = _pose(rng)
    kind = pick(rng, _LIGHT_WEIGHTS)
    lamps, ambient = _light(rng, LIGHTS[kind])
    occluded = len(OCCLUDERS) > 1 and happens(rng, OCCLUDED_SHARE)
    return View(
        yaw=yaw,
        pitch=pitch,
        roll=normal(rng, 6, ROLL_LIMIT),
        distance=_distance(rng),
        height=between(rng, 27.5, 30.0),
        shift=(normal(rng, 0.5, 1.5), normal(rng, 0.5, 1.5)),
        lamps=lamps,
        ambient=ambient,
        camera=camera(rng, dim=LIGHTS[kind] in ("low key", "monitor", "two colours")),
        backdrop=Backdrop(
            kind=pick(rng, _BACKDROP_WEIGHTS),
            blur=0.0 if happens(rng, 0.25) else between(rng, 0.002, 0.03),
            light=float(np.exp(rng.uniform(math.log(0.02), math.log(0.7)))),
            seed=int(rng.integers(2**31)),
        ),
        occluder=int(rng.integers(1, len(OCCLUDERS))) if occluded else 0,
    )


def camera(rng: np.random.Generator, dim: bool = False) -> Camera:
    """Draw a camera, from a good one in good light to a bad one; in dim light there is more noise."""
    bad = rng.uniform() ** 2  # most are good
    warmth, green = normal(rng, 0.08, 0.25), normal(rng, 0.025, 0.08)
    angle, path = between(rng, 0, math.pi), between(rng, 0.003, 0.006 + 0.02 * bad)
    moved, blurred = happens(rng, 0.14), happens(rng, 0.25)
    small, old, grey = happens(rng, 0.15 + 0.35 * bad), happens(rng, 0.05), happens(rng, 0.07)
    film = rng.dirichlet((3.0, 6.0, 2.0))
    return Camera(
        exposure=float(np.clip(np.exp(rng.normal(-0.25 if dim else 0.0, 0.28)), 0.4, 2.0)),
        balance=(math.exp(warmth), math.exp(green), math.exp(-warmth)),
        noise=float(np.clip(np.exp(rng.normal(-4.7 + 1.5 * bad + 0.6 * dim, 0.6)), 0.002, 0.12)),
        coarse=happens(rng, 0.4),
        defocus=between(rng, 0.001, 0.003 + 0.006 * bad) if blurred else 0.0,
        motion=(path * math.cos(angle), path * math.sin(angle)) if moved else (0.0, 0.0),
        vignette=between(rng, 0, 0.5) if happens(rng, 0.3) else 0.0,
        resolution=between(rng, 0.22, 0.9) if small else 1.0,
        saturation=float(np.clip(rng.normal(1.0, 0.15), 0.5, 1.5)),
        contrast=float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.4)),
        fade=between(rng, 0.05, 0.25) if old else between(rng, 0, 0.03),
        grey=(float(film[0]), float(film[1]), float(film[2]))
        if grey or (old and happens(rng, 0.4))
        else None,
        jpeg=tuple(
            int(quality)
            for quality in rng.integers(92 - int(62 * bad), 96, size=pick(rng, (0.25, 0.5, 0.2, 0.05)))
        ),
    )


def _pose(rng: np.random.Generator) -> tuple[float, float]:
    if happens(rng, FRONTAL_SHARE):
        return normal(rng, 9, YAW_LIMIT), normal(rng, 6, PITCH_LIMIT)
    return between(rng, -YAW_LIMIT, YAW_LIMIT), between(rng, -PITCH_LIMIT, PITCH_LIMIT)


def _distance(rng: np.random.Generator) -> float:
    """A phone in the own hand, a webcam on a desk, or a camera farther off."""
    low, high = ((38, 60), (50, 90), (90, 260))[pick(rng, (0.3, 0.35, 0.35))]
    return between(rng, low, high)


def _light(rng: np.random.Generator, kind: str) -> tuple[tuple[Lamp, ...], RGB]:
    """The lamps and the ambient light of a set-up."""
    side = 1.0 if happens(rng, 0.5) else -1.0

    def lamp(
        azimuth: tuple[float, float],
        elevation: tuple[float, float],
        width: tuple[float, float],
        strength: tuple[float, float] = (1.0, 1.0),
        tint: RGB | None = None,
    ) -> Lamp:
        colour = tint or _tint(rng, 1.0)
        return (
            between(rng, *azimuth),
            between(rng, *elevation),
            between(rng, *width),
            between(rng, *strength),
            colour,
        )

    def beside(low: float, high: float) -> tuple[float, float]:
        return (low, high) if side > 0 else (-high, -low)

    fill = lamp(beside(-70, -25), (-5, 25), (25, 40), (0.15, 0.6))
    cool: RGB = (between(rng, 0.45, 0.8), between(rng, 0.7, 1.0), 1.25)
    gel: RGB = _tint(rng, 1.0, 0.45)
    setups: dict[str, tuple[Lamp, ...]] = {
        "key and fill": (lamp(beside(20, 60), (10, 50), (14, 30)), fill),
        "window": (lamp(beside(45, 90), (0, 25), (30, 45)), fill),
        "overhead": (lamp((-30, 30), (50, 75), (25, 45)), fill),
        "hard sun": (lamp(beside(10, 75), (20, 65), (3, 7), tint=_tint(rng, 1.0, 0.15)),),
        "ring": (lamp((-3, 3), (-2, 6), (10, 16)),),
        "frontal": (lamp((-15, 15), (0, 25), (14, 30)),),
        "key and rim": (
            lamp(beside(20, 60), (10, 50), (14, 30)),
            fill,
            lamp(beside(-160, -120), (10, 40), (10, 20), (0.4, 1.2)),
        ),
        "low key": (lamp(beside(45, 95), (5, 45), (8, 20)),),
        "monitor": (
            lamp((-20, 20), (-35, 0), (25, 40), tint=cool),
            lamp(beside(30, 110), (0, 60), (20, 40), (0.1, 0.5)),
        ),
        "two colours": (
            lamp(beside(35, 80), (0, 40), (15, 30), tint=gel),
            lamp(beside(-80, -35), (0, 40), (15, 30), (0.6, 1.0), tint=_tint(rng, 1.0, 0.45)),
        ),
        "overcast": (lamp((-40, 40), (40, 85), (50, 70)),),
    }  # fmt: skip
    dark = {"low key": (0.03, 0.1), "hard sun": (0.1, 0.4), "overcast": (0.5, 0.8), "monitor": (0.05, 0.3)}
    return setups[kind], _tint(rng, between(rng, *dark.get(kind, (0.08, 0.6))))


def _tint(rng: np.random.Generator, level: float, spread: float = 0.06) -> RGB:
    colour: NDArray[np.float64] = level * np.exp(np.clip(rng.normal(0, spread, 3), -1.2, 1.2) - spread**2 / 2)
    return float(colour[0]), float(colour[1]), float(colour[2])
