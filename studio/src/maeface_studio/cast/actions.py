"""Which action units a subject shows, and when, in stills and clips: drawn at random, repeatably."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from maeface_studio.cast import speech, views
from maeface_studio.cast.random_draws import bernoulli, categorical, clipped_normal, keyed_generator, uniform
from maeface_studio.cast.sides import draw_one_sided
from maeface_studio.cast.subjects import Subject
from maeface_studio.cast.views import View
from maeface_studio.head.rig import AU_SHAPES

PATTERNS: tuple[tuple[float, tuple[int, ...]], ...] = (
    (3.0, (6, 12, 25)),
    (2.5, (6, 12)),
    (1.0, (12, 25, 26)),
    (1.0, (6, 7, 12)),
    (1.5, (1, 2)),
    (1.2, (1, 2, 5)),
    (1.5, (1, 2, 5, 25, 26)),
    (1.0, (1, 2, 4, 5, 20, 25)),
    (1.0, (1, 4)),
    (1.0, (1, 4, 15)),
    (1.0, (1, 4, 15, 17)),
    (1.5, (15, 17)),
    (1.0, (4, 7)),
    (1.0, (4, 5, 7, 23)),
    (1.5, (4, 7, 24)),
    (1.0, (17, 24)),
    (1.5, (9, 10)),
    (0.7, (4, 7, 9, 10)),
    (0.8, (9, 10, 15, 17)),
    (0.8, (4, 6, 7, 9, 10, 43)),
    (0.6, (6, 20, 25, 26)),
    (1.5, (25, 26)),
    (0.8, (12, 14)),
    (0.6, (12, 14, 24)),
    (0.6, (20, 25)),
)
"""AUs that occur together in life (joy, surprise, fear, sadness, anger, disgust, pain): weight, AUs."""

STILL_KINDS = {"neutral": 0.08, "single": 0.12, "pattern": 0.32, "independent": 0.48}
"""Fractions of the stills: at rest, one AU, a pattern with at most one AU more, every AU drawn by itself."""

INDEPENDENT_RATES: dict[int, float] = {
    1: 0.26, 2: 0.29, 4: 0.23, 5: 0.36, 6: 0.28, 7: 0.29, 9: 0.31, 10: 0.32, 12: 0.32, 14: 0.35, 15: 0.31,
    17: 0.31, 18: 0.82, 20: 0.40, 23: 0.40, 24: 0.64, 25: 0.12, 26: 0.36, 28: 0.80, 43: 0.40,
}  # fmt: skip
"""Probability of an AU in a still of the independent kind; high where ``EXCLUSIVE`` removes some again."""

SINGLE_WEIGHTS = {18: 2.0, 28: 2.0, 24: 1.5, 23: 1.5, 43: 1.5, 25: 0.5}
"""Weight of an AU in the stills of the single kind, where not 1: higher for AUs that patterns lack."""

INTENSITY_FRACTIONS = (0.17, 0.22, 0.24, 0.21, 0.16)
"""Fractions of the intensities A to E among the AUs that are posed."""

EXCLUSIVE: tuple[tuple[int, ...], ...] = (
    (18, 24, 28),
    (23, 28),
    (18, 12),
    (18, 20),
    (5, 43),
    (25, 24),
    (25, 28),
)
"""Groups of AUs that cancel each other's shapes; of each group one stays."""

CLOSED_LIPS = (24, 28)
"""AUs that close the lips, so that neither jaw nor speech can part them."""

SPEECH_FRACTION = 0.18
"""Fraction of the stills with free lips in which the mouth speaks."""

EYE_CONTACT_FRACTION = 0.5
"""Fraction of the stills in which the eyes look roughly at the camera, however the head is turned."""

GAZE_DEG = (38.0, 30.0)
"""Angle of the eyes at a gaze of 1, to the side and up."""

ASYMMETRIC_FRACTION = 0.12
"""Fraction of the posed AUs that are clearly stronger on one side."""

TASKS: dict[str, tuple[tuple[int, ...], ...]] = {
    "T1": ((6, 12, 25), (6, 12), (12, 25, 26)),
    "T2": ((1, 4, 15, 17), (1, 4, 15), (15, 17)),
    "T3": ((1, 2, 5, 25, 26), (1, 2, 5)),
    "T4": ((12, 14), (6, 12, 24), (12, 17)),
    "T5": ((1, 2, 4, 5, 20, 25), (1, 2, 4), (4, 20, 25)),
    "T6": ((4, 6, 7, 9, 10, 43), (4, 6, 7, 20, 25), (4, 7, 10, 25)),
    "T7": ((4, 5, 7, 23), (4, 7, 24), (4, 17, 24)),
    "T8": ((9, 10), (4, 9, 10, 17), (9, 10, 15, 25)),
    "T9": ((1, 2), (12,), (4,), (14,), (18,), (28,), (17,)),
}
"""Patterns of the clips by task: joy, sadness, surprise, embarrassment, fear, pain, anger, disgust (the order
of BP4D's tasks), and a conversation."""

CONVERSATION = "T9"
FPS = 24
EVENT_S = 3.0
"""Approximate time in seconds from one expression to the next, in a long clip."""


@dataclass(frozen=True)
class Action:
    """What the face does: action units, gaze and speech."""

    intensities: dict[int, float]
    """AU -> intensity on 0..5 of the stronger side; AU25: how far the lips part without the jaw."""
    asymmetry: dict[int, float]
    """AU -> left minus right as a fraction of their sum, -1..1, see ``rig.side_factors``."""
    gaze: tuple[float, float]
    """-1..1, to the viewer's right and up."""
    speech: Mapping[str, float] = field(default_factory=dict)
    """Shape weights of a mouth that speaks, in addition."""


@dataclass(frozen=True)
class PlannedImage:
    """An image to render."""

    subject: Subject
    clip: str | None
    """Name of the clip; None for a still."""
    frame: int
    """Number of the still, or of the frame within the clip, from 0."""
    time_s: float
    view: View
    action: Action
    seed: int
    """Of the camera's noise."""


def plan_stills(seed: int, subject: Subject, count: int, one_sided: float = 0.0) -> Iterator[PlannedImage]:
    """Draw the still images of a subject, each with a view and an action of its own.

    Args:
        seed: of the whole cast.
        subject: who is shown.
        count: how many.
        one_sided: fraction of the AUs that only one side shows, or one side much more.
    """
    for frame in range(count):
        rng = keyed_generator(seed, 2, subject.number, frame)
        action, view = _draw_action(rng), views.draw_view(rng)
        if bernoulli(rng, EYE_CONTACT_FRACTION):
            action = replace(action, gaze=_look_at_camera(action.gaze, view))
        sides = draw_one_sided(keyed_generator(seed, 12, subject.number, frame), one_sided)
        action = replace(action, asymmetry={**action.asymmetry, **sides})
        yield PlannedImage(subject, None, frame, 0.0, view, action, int(rng.integers(2**31)))


def plan_clip(
    seed: int, subject: Subject, number: int, frames: int, fps: float = FPS
) -> Iterator[PlannedImage]:
    """Draw a clip: expressions rise, hold and fall, the head moves, the eyes move and blink.

    Args:
        seed: of the whole cast.
        subject: who is shown.
        number: of the clip, from 0; clips go through ``TASKS`` in turn.
        frames: how many.
        fps: frames a second.
    """
    rng = keyed_generator(seed, 3, subject.number, number)
    task = list(TASKS)[number % len(TASKS)]
    name = f"{subject.name}_{task}" + (f"_{number // len(TASKS) + 1}" if number >= len(TASKS) else "")
    view, asymmetry = views.draw_view(rng), _draw_asymmetry(rng)
    course = _draw_course(rng, task, frames, fps)
    speaking = task == CONVERSATION or bernoulli(rng, 0.3)
    mouths = speech.draw_speech(rng, frames, fps) if speaking else [{}] * frames
    gaze, closed = _draw_gaze(rng, frames, fps), _draw_blinks(rng, frames, fps)
    sway = [(clipped_normal(rng, 4, 8), uniform(rng, 0, 1), uniform(rng, 0.1, 0.35)) for _ in range(3)]
    for frame in range(frames):
        intensities, time_s = course[frame], frame / fps
        if closed[frame] > 0:
            intensities = {
                au: level * (1 - closed[frame]) if au == 5 else level for au, level in intensities.items()
            }
            intensities[43] = max(intensities.get(43, 0.0), 5 * closed[frame])
        yaw, pitch, roll = (
            size * math.sin(2 * math.pi * (time_s * rate + start)) for size, start, rate in sway
        )
        turned = _turn_head(view, yaw, 0.6 * pitch, 0.5 * roll)
        free = max(0.0, 1 - max((intensities.get(au, 0.0) for au in CLOSED_LIPS), default=0.0))
        mouth = {shape: value * free for shape, value in mouths[frame].items() if free}
        noise_seed = int(keyed_generator(seed, 4, subject.number, number, frame).integers(2**31))
        action = Action(intensities, asymmetry, gaze[frame], mouth)
        yield PlannedImage(subject, name, frame, time_s, turned, action, noise_seed)


def _draw_action(rng: np.random.Generator) -> Action:
    """Draw the action of a still."""
    kind = list(STILL_KINDS)[categorical(rng, list(STILL_KINDS.values()))]
    if kind == "pattern":
        pattern = PATTERNS[categorical(rng, [weight for weight, _ in PATTERNS])][1]
        intensities = _draw_pattern(rng, pattern, extra=0.45)
    else:
        aus: set[int] = set()
        if kind == "single":
            every = sorted(INDEPENDENT_RATES)
            aus = {every[categorical(rng, [SINGLE_WEIGHTS.get(au, 1.0) for au in every])]}
        elif kind == "independent":
            aus = {au for au, rate in INDEPENDENT_RATES.items() if bernoulli(rng, rate)}
        intensities = {au: _draw_intensity(rng) for au in sorted(_remove_conflicts(rng, aus))}
    free = not any(au in intensities for au in CLOSED_LIPS)
    speaks = free and kind != "neutral" and bernoulli(rng, SPEECH_FRACTION)
    gaze = (clipped_normal(rng, 0.3, 0.9), clipped_normal(rng, 0.17, 0.5))
    return Action(intensities, _draw_asymmetry(rng), gaze, speech.draw_mouth(rng) if speaks else {})


def _look_at_camera(gaze: tuple[float, float], view: View) -> tuple[float, float]:
    """Return a gaze that compensates the rotation of the head, plus a fifth of the one drawn."""
    right, up = 0.2 * gaze[0] - view.yaw / GAZE_DEG[0], 0.2 * gaze[1] - view.pitch / GAZE_DEG[1]
    return min(max(right, -0.9), 0.9), min(max(up, -0.6), 0.6)


def _draw_pattern(
    rng: np.random.Generator, pattern: tuple[int, ...], extra: float, least: float = 0.0
) -> dict[int, float]:
    """Draw the intensities of a pattern, all about equal, now and then without one of its AUs.

    Args:
        rng: for the draws.
        pattern: AUs.
        extra: probability of one AU more.
        least: lowest intensity of the pattern's AUs.
    """
    kept = [au for au in pattern if bernoulli(rng, 0.85)] or list(pattern)
    rest = [au for au in INDEPENDENT_RATES if au not in pattern]
    aus = {*kept, *([rest[int(rng.integers(len(rest)))]] if bernoulli(rng, extra) else [])}
    strength = _draw_intensity(rng)
    return {
        au: float(np.clip(strength + rng.normal(0, 0.9), max(0.6, least), 5))
        if au in pattern
        else _draw_intensity(rng)
        for au in sorted(_remove_conflicts(rng, aus, frozenset(kept)))
    }


def _remove_conflicts(
    rng: np.random.Generator, aus: set[int], preferred: frozenset[int] = frozenset()
) -> set[int]:
    """Keep one AU, if possible a preferred one, of each group that cancels out (``EXCLUSIVE``)."""
    aus = set(aus)
    for group in EXCLUSIVE:
        rivals = [au for au in group if au in aus]
        if len(rivals) > 1:
            keep = int(rng.choice([au for au in rivals if au in preferred] or rivals))
            aus -= {au for au in rivals if au != keep}
    if 26 in aus and aus & set(CLOSED_LIPS):
        aus -= {26} if bernoulli(rng, 0.5) else set(CLOSED_LIPS)
    return aus


def _draw_intensity(rng: np.random.Generator) -> float:
    return float(np.clip(1 + categorical(rng, INTENSITY_FRACTIONS) + rng.uniform(-0.45, 0.45), 0.55, 5))


def _draw_asymmetry(rng: np.random.Generator) -> dict[int, float]:
    """Draw ``Action.asymmetry`` of every AU."""
    return {
        au: clipped_normal(rng, 0.35, 0.55)
        if bernoulli(rng, ASYMMETRIC_FRACTION)
        else clipped_normal(rng, 0.08, 0.25)
        for au in (*AU_SHAPES, 25)
    }


def _draw_course(rng: np.random.Generator, task: str, frames: int, fps: float) -> list[dict[int, float]]:
    """Draw the intensities in every frame: one expression after the other, at rest in between."""
    events = max(1, round(frames / fps / EVENT_S))
    length = frames / events
    course: list[dict[int, float]] = []
    for event in range(events):
        patterns = TASKS[task]
        pattern = patterns[categorical(rng, [2.0] + [1.0] * (len(patterns) - 1))]
        peak = _draw_pattern(rng, pattern, extra=0.35, least=2.6)
        onset, apex, offset = uniform(rng, 0.08, 0.2), uniform(rng, 0.38, 0.48), uniform(rng, 0.6, 0.7)
        lag = {au: uniform(rng, -0.04, 0.04) for au in peak}
        for frame in range(round(event * length), round((event + 1) * length)):
            t = (frame - event * length) / max(length - 1, 1)
            course.append(
                {au: level * _rise_and_fall(t - lag[au], onset, apex, offset) for au, level in peak.items()}
            )
    return course


def _draw_gaze(rng: np.random.Generator, frames: int, fps: float) -> list[tuple[float, float]]:
    """Draw the gaze in every frame: fixations of 0.5 to 2.5 seconds."""
    gaze: list[tuple[float, float]] = []
    while len(gaze) < frames:
        fixation = (clipped_normal(rng, 0.25, 0.8), clipped_normal(rng, 0.12, 0.4))
        gaze += [fixation] * max(1, round(uniform(rng, 0.5, 2.5) * fps))
    return gaze[:frames]


def _draw_blinks(rng: np.random.Generator, frames: int, fps: float) -> list[float]:
    """Draw how far the lids are closed in every frame, 0..1: a blink of 0.2 s every 1.5 to 5 s."""
    closed = [0.0] * frames
    middle = uniform(rng, 0.2, 2.0) * fps
    while middle < frames:
        for frame in range(max(0, math.floor(middle - 3)), min(frames, math.ceil(middle + 4))):
            closed[frame] = max(closed[frame], 1 - abs(frame - middle) / (0.1 * fps))
        middle += uniform(rng, 1.5, 5.0) * fps
    return closed


def _turn_head(view: View, yaw: float, pitch: float, roll: float) -> View:
    """Add angles in degrees to the head pose of a view, within its limits."""

    def clamp(angle: float, limit: float) -> float:
        return min(max(angle, -limit), limit)

    return replace(
        view,
        yaw=clamp(view.yaw + yaw, views.YAW_LIMIT),
        pitch=clamp(view.pitch + pitch, views.PITCH_LIMIT),
        roll=clamp(view.roll + roll, views.ROLL_LIMIT),
    )


def _rise_and_fall(t: float, onset: float, apex: float, offset: float) -> float:
    """Return 0 before the onset, 1 from the apex to the offset, then 0: smooth, and falling as it rose."""
    up = np.clip((t - onset) / (apex - onset), 0, 1)
    down = np.clip((t - offset) / (apex - onset), 0, 1)
    return float(up * up * (3 - 2 * up) - down * down * (3 - 2 * down))
