"""Who is shown, which action units are posed, when, and from where: drawn at random, repeatably.

Every draw is a function of (seed, subject, image), so an image does not depend on which others are
made, in which order, or by how many processes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maeface.studio.paint import CLOTH_TONES, HAIR_TONES, IRIS_TONES, Look
from maeface.studio.rig import AU_SHAPES

PATTERNS: tuple[tuple[float, tuple[int, ...]], ...] = (
    (0.20, (6, 12, 25)),
    (0.06, (12, 25)),
    (0.08, (1, 2, 5, 25, 26)),
    (0.10, (1, 2, 4, 5, 20, 25)),
    (0.10, (1, 4, 15, 17)),
    (0.12, (4, 6, 7, 9, 10)),
    (0.08, (4, 5, 7, 23)),
    (0.07, (4, 17, 24)),
    (0.06, (9, 10, 15, 17)),
    (0.07, (12, 14)),
    (0.06, (6, 20, 25, 26)),
)
"""Action units that come together in life (joy, surprise, fear, sadness, pain, anger, ...): share, AUs."""

PATTERN_SHARE = 0.40
"""Share of the images posed from a pattern; in all images AUs are drawn singly as well."""

SINGLY: dict[int, float] = {
    1: 0.16, 2: 0.22, 4: 0.15, 5: 0.24, 6: 0.18, 7: 0.20, 9: 0.21, 10: 0.20, 12: 0.19, 14: 0.23, 15: 0.22,
    17: 0.20, 18: 0.76, 20: 0.25, 23: 0.28, 24: 0.64, 25: 0.08, 26: 0.33, 28: 0.78, 43: 0.30,
}  # fmt: skip
"""Chance of an AU in any image, whatever else is posed: so no AU is a proxy for another."""

LEVEL_SHARES = (0.17, 0.22, 0.24, 0.21, 0.16)
"""Shares of intensities A to E among the AUs that are posed."""

EXCLUSIVE: tuple[tuple[int, ...], ...] = (
    (18, 24, 28),
    (23, 28),
    (18, 12),
    (18, 20),
    (5, 43),
    (25, 24),
    (25, 28),
)
"""AUs that undo each other's shape; of each group one stays."""

CLOSED_LIPS = (24, 28)
"""AUs that press the lips together, so the jaw cannot part them."""

IDENTITY_MODES = 50
NEUTRAL_SHARE = 0.06


@dataclass(frozen=True)
class Subject:
    """A drawn identity."""

    name: str
    number: int
    identity: tuple[float, ...]
    """Shape, 50 coefficients in standard deviations."""
    look: Look


@dataclass(frozen=True)
class View:
    """Pose, camera, light and background of an image; angles in degrees, lengths in cm."""

    yaw: float
    pitch: float
    roll: float
    distance: float
    height: float
    """How much of the world the frame spans at the face."""
    shift: tuple[float, float]
    lamps: tuple[tuple[float, float, float, float, tuple[float, float, float]], ...]
    """Azimuth (0 from the camera, 90 from the viewer's right), elevation, width, strength, colour."""
    ambient: tuple[float, float, float]
    exposure: float
    balance: tuple[float, float, float]
    background: tuple[tuple[float, float, float], tuple[float, float, float]]
    turn: float
    """Direction of the background's gradient."""
    clutter: float
    backdrop: int
    """Seed of the clutter."""


@dataclass(frozen=True)
class Action:
    """What the face does: AU intensities on 0..5 (25: lips drawn apart, on top of the jaw), and the eyes."""

    intensities: dict[int, float]
    asymmetry: dict[int, float]
    gaze: tuple[float, float]
    """-1..1, to the viewer's right and up."""


@dataclass(frozen=True)
class Shot:
    """An image to make."""

    subject: Subject
    clip: str | None
    frame: int
    time_s: float
    view: View
    action: Action
    seed: int


def generator(seed: int, *key: int) -> np.random.Generator:
    """The random numbers that belong to a key, and to nothing else."""
    return np.random.default_rng(np.random.SeedSequence((seed, *key)))


def subject(seed: int, number: int) -> Subject:
    """Draw subject ``number`` (from 0); melanin is even over any run of subjects (golden section)."""
    rng = generator(seed, 1, number)
    identity = np.clip(rng.standard_normal(IDENTITY_MODES), -2.2, 2.2) * 0.85
    melanin = ((number + 0.5) * 0.6180339887 + generator(seed, 0).uniform()) % 1.0
    masculine = rng.uniform()
    grey = rng.uniform() < 0.12
    light_hair = 0 if melanin > 0.45 else int(rng.integers(1, 6))
    hair = len(HAIR_TONES) - 1 if grey else int(rng.choice([0, 1])) if melanin > 0.45 else light_hair
    iris = int(rng.integers(0, 2)) if melanin > 0.5 else int(rng.integers(0, len(IRIS_TONES)))
    bearded = masculine > 0.5
    beard = float(rng.choice([0.1, 0.35, 0.5, 0.8, 1.0])) * (0.6 + 0.4 * rng.uniform()) if bearded else 0.0
    look = Look(
        melanin=float(melanin),
        redness=float(rng.uniform()),
        hair=hair,
        iris=iris,
        cloth=int(rng.integers(len(CLOTH_TONES))),
        baldness=float(rng.uniform(0.3, 1.0))
        if bearded and rng.uniform() < 0.35
        else float(rng.uniform(0, 0.25)),
        hair_cm=float(rng.choice([0.0, 0.15, 0.5, 1.0, 1.6]))
        if bearded
        else float(rng.choice([0.8, 1.3, 1.8, 2.2])),
        brow=float(rng.uniform(0.55, 0.95)),
        brow_cm=float(rng.uniform(0.30, 0.52) if bearded else rng.uniform(0.20, 0.38)),
        beard=beard,
        freckles=float(rng.uniform() ** 3),
        makeup=0.0 if bearded else float(rng.uniform() ** 2),
        lip_red=float(rng.uniform(0, 0.2))
        if bearded or rng.uniform() < 0.5
        else float(rng.uniform(0.2, 1.0)),
        lash=float(rng.uniform(0.4, 0.7) if bearded else rng.uniform(0.55, 0.95)),
        gloss=float(rng.uniform()),
        age=0.3,
        moles=0.2,
        glasses=0,
        hat=0,
        hair_style=0,
        grey=0.0,
    )
    return Subject(f"S{number + 1:03d}", number, tuple(identity.tolist()), look)


def stills(seed: int, who: Subject, count: int) -> Iterator[Shot]:
    """The still images of a subject, each with its own pose, light and action."""
    for frame in range(count):
        rng = generator(seed, 2, who.number, frame)
        action = _action(rng)
        yield Shot(who, None, frame, 0.0, _view(rng), action, int(rng.integers(2**31)))


def clip(seed: int, who: Subject, number: int, frames: int, fps: float = 24.0) -> Iterator[Shot]:
    """A clip of a subject: some AUs rise, hold and fall, the head moves a little, the eyes blink once."""
    rng = generator(seed, 3, who.number, number)
    view, peak = _view(rng), _action(rng, patterns=1.0)
    intensities = {au: max(level, 2.6) for au, level in peak.intensities.items() if au != 43}
    onset, apex, offset = rng.uniform(0.08, 0.2), rng.uniform(0.38, 0.48), rng.uniform(0.6, 0.7)
    lag = {au: rng.uniform(-0.04, 0.04) for au in intensities}
    blink, sway = rng.uniform(0.1, 0.9), rng.uniform(-1, 1, (3, 2))
    name = f"{who.name}_clip{number + 1}"
    for frame in range(frames):
        t = frame / max(frames - 1, 1)
        now = {
            au: level * _rise_and_fall(t - lag[au], onset, apex, offset) for au, level in intensities.items()
        }
        closed = max(0.0, 1 - abs(t - blink) * frames / 2.5)
        if closed > 0:
            now[43] = 5 * closed
            now.pop(5, None)
        moved = [a * math.sin(2 * math.pi * (t + b)) for a, b in sway]
        pose = _turned(view, 3 * moved[0], 2 * moved[1], 1.5 * moved[2])
        action = Action(now, peak.asymmetry, peak.gaze)
        yield Shot(
            who,
            name,
            frame,
            frame / fps,
            pose,
            action,
            int(generator(seed, 4, who.number, number, frame).integers(2**31)),
        )


def _action(rng: np.random.Generator, patterns: float = PATTERN_SHARE) -> Action:
    chosen: dict[int, bool] = {}  # AU -> whether a pattern asks for it
    if rng.uniform() >= NEUTRAL_SHARE or patterns == 1.0:
        for au, chance in SINGLY.items():
            if rng.uniform() < chance * (0.25 if patterns == 1.0 else 1.0):
                chosen[au] = False
        if rng.uniform() < patterns:
            shares = np.array([share for share, _ in PATTERNS])
            pattern = PATTERNS[int(rng.choice(len(PATTERNS), p=shares / shares.sum()))][1]
            chosen |= {au: True for au in pattern if rng.uniform() < 0.85}
    for group in EXCLUSIVE:
        rivals = [au for au in group if au in chosen]
        if len(rivals) > 1:
            asked = [au for au in rivals if chosen[au]] or rivals
            keep = int(rng.choice(asked))
            for au in rivals:
                if au != keep:
                    del chosen[au]
    if 26 in chosen and any(au in chosen for au in CLOSED_LIPS):
        drop = 26 if rng.uniform() < 0.5 else None
        for au in (drop,) if drop else CLOSED_LIPS:
            chosen.pop(au, None)
    levels = rng.choice(5, size=len(chosen), p=LEVEL_SHARES) + 1
    spread = rng.uniform(-0.45, 0.45, size=len(chosen))
    intensities = {
        au: float(np.clip(level + d, 0.55, 5))
        for au, level, d in zip(sorted(chosen), levels, spread, strict=True)
    }
    asymmetry = {au: float(np.clip(rng.normal(0, 0.10), -0.3, 0.3)) for au in (*AU_SHAPES, 25)}
    gaze = (float(np.clip(rng.normal(0, 0.3), -0.8, 0.8)), float(np.clip(rng.normal(0, 0.15), -0.4, 0.4)))
    return Action(intensities, asymmetry, gaze)


def _view(rng: np.random.Generator) -> View:
    warmth = rng.normal(0, 0.05)
    return View(
        yaw=float(np.clip(rng.normal(0, 13), -35, 35)),
        pitch=float(np.clip(rng.normal(0, 7), -18, 18)),
        roll=float(np.clip(rng.normal(0, 5), -12, 12)),
        distance=float(rng.uniform(45, 130)),
        height=float(rng.uniform(27.5, 30.0)),
        shift=(float(rng.normal(0, 0.5)), float(rng.normal(0, 0.5))),
        lamps=_lamps(rng),
        ambient=_tint(rng, rng.uniform(0.08, 0.6)),
        exposure=float(np.exp(rng.normal(0.0, 0.16))),
        balance=(float(np.exp(warmth)), 1.0, float(np.exp(-warmth))),
        background=(_tint(rng, rng.uniform(0.02, 0.8), 0.2), _tint(rng, rng.uniform(0.02, 0.8), 0.2)),
        turn=float(rng.uniform(0, 2 * math.pi)),
        clutter=float(rng.uniform(0, 0.5) if rng.uniform() < 0.6 else 0.0),
        backdrop=int(rng.integers(2**31)),
    )


def _lamps(
    rng: np.random.Generator,
) -> tuple[tuple[float, float, float, float, tuple[float, float, float]], ...]:
    """One of: key and fill, window, overhead, sun, ring light, key and rim."""
    side = 1 if rng.uniform() < 0.5 else -1
    kind = int(rng.integers(6))
    key = (side * rng.uniform(20, 60), rng.uniform(10, 50), rng.uniform(14, 30), 1.0, _tint(rng, 1.0))
    fill = (
        -side * rng.uniform(25, 70),
        rng.uniform(-5, 25),
        rng.uniform(25, 40),
        rng.uniform(0.15, 0.6),
        _tint(rng, 1.0),
    )
    rim = (
        -side * rng.uniform(120, 160),
        rng.uniform(10, 40),
        rng.uniform(10, 20),
        rng.uniform(0.4, 1.2),
        _tint(rng, 1.0),
    )
    window = (side * rng.uniform(45, 85), rng.uniform(0, 25), rng.uniform(30, 45), 1.0, _tint(rng, 1.0))
    overhead = (rng.uniform(-30, 30), rng.uniform(50, 75), rng.uniform(25, 45), 1.0, _tint(rng, 1.0))
    sun = (side * rng.uniform(15, 65), rng.uniform(25, 60), rng.uniform(5, 9), 1.0, _tint(rng, 1.0, 0.2))
    front = (rng.uniform(-12, 12), rng.uniform(0, 25), rng.uniform(14, 30), 1.0, _tint(rng, 1.0))
    lamps = ((key, fill), (window, fill), (overhead, fill), (sun,), (front,), (key, fill, rim))[kind]
    return tuple((float(a), float(e), float(w), float(s), tint) for a, e, w, s, tint in lamps)


def _tint(rng: np.random.Generator, level: float, spread: float = 0.06) -> tuple[float, float, float]:
    colour: NDArray[np.float64] = level * np.exp(rng.normal(0, spread, 3) - spread**2 / 2)
    return float(colour[0]), float(colour[1]), float(colour[2])


def _turned(view: View, yaw: float, pitch: float, roll: float) -> View:
    return replace(view, yaw=view.yaw + yaw, pitch=view.pitch + pitch, roll=view.roll + roll)


def _rise_and_fall(t: float, onset: float, apex: float, offset: float) -> float:
    """0 before the onset, 1 from the apex to the offset, 0 again as long after; smooth."""
    up = np.clip((t - onset) / (apex - onset), 0, 1)
    down = np.clip((t - offset) / (apex - onset), 0, 1)
    return float(up * up * (3 - 2 * up) - down * down * (3 - 2 * down))
