"""Which action units are posed and when, in stills and clips of a subject: drawn at random, repeatably."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from maeface_studio.cast import speech, views
from maeface_studio.cast.draws import between, generator, happens, normal, pick
from maeface_studio.cast.people import Subject
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
"""AUs that come together in life (joy, surprise, fear, sadness, anger, disgust, pain): weight, AUs."""

KINDS = {"neutral": 0.08, "single": 0.12, "pattern": 0.32, "independent": 0.48}
"""Shares of the stills: at rest, one AU, a pattern with at most one AU more, every AU for itself."""

SINGLY: dict[int, float] = {
    1: 0.26, 2: 0.29, 4: 0.23, 5: 0.36, 6: 0.28, 7: 0.29, 9: 0.31, 10: 0.32, 12: 0.32, 14: 0.35, 15: 0.31,
    17: 0.31, 18: 0.82, 20: 0.40, 23: 0.40, 24: 0.64, 25: 0.12, 26: 0.36, 28: 0.80, 43: 0.40,
}  # fmt: skip
"""Chance of an AU in a still of the independent kind; high where ``EXCLUSIVE`` takes some away again."""

SINGLE_WEIGHTS = {18: 2.0, 28: 2.0, 24: 1.5, 23: 1.5, 43: 1.5, 25: 0.5}
"""How often an AU is shown by itself, where not 1: more of those that patterns leave out."""

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
"""AUs that press the lips together, so neither jaw nor speech can part them."""

SPEECH_SHARE = 0.18
"""Share of the stills that are taken in the middle of a word, if the lips are free."""

CONTACT_SHARE = 0.5
"""Share of the stills in which the eyes look at the camera, roughly, however the head is turned."""

GAZE_DEG = (38.0, 30.0)
"""How far the eyes turn at a gaze of 1, across and up."""

LOPSIDED_SHARE = 0.12
"""Share of the posed AUs that are clearly stronger on one side."""

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
"""Clips by task: joy, sadness, surprise, embarrassment, fear, pain, anger, disgust (as the tasks of BP4D go),
and a conversation."""

TALK = "T9"
FPS = 24
EVENT_S = 3.0
"""About how long an expression and the rest before the next one take together, in a long clip."""


@dataclass(frozen=True)
class Action:
    """What the face does: AU intensities on 0..5 (25: lips drawn apart, on top of the jaw), eyes, speech."""

    intensities: dict[int, float]
    asymmetry: dict[int, float]
    gaze: tuple[float, float]
    """-1..1, to the viewer's right and up."""
    speech: Mapping[str, float] = field(default_factory=dict)
    """Shape weights on top, of a mouth that talks."""


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


def stills(seed: int, who: Subject, count: int) -> Iterator[Shot]:
    """The still images of a subject, each with its own pose, light and action."""
    for frame in range(count):
        rng = generator(seed, 2, who.number, frame)
        action, view = _still(rng), views.view(rng)
        if happens(rng, CONTACT_SHARE):
            action = replace(action, gaze=_at_camera(action.gaze, view))
        yield Shot(who, None, frame, 0.0, view, action, int(rng.integers(2**31)))


def clip(seed: int, who: Subject, number: int, frames: int, fps: float = FPS) -> Iterator[Shot]:
    """A clip of a subject: expressions rise, hold and fall, the head moves, the eyes look about and blink.

    Args:
        seed: of the whole cast.
        who: the subject.
        number: of the clip, from 0: the task is ``TASKS`` in turn.
        frames: how many.
        fps: frames a second.
    """
    rng = generator(seed, 3, who.number, number)
    task = list(TASKS)[number % len(TASKS)]
    name = f"{who.name}_{task}" + (f"_{number // len(TASKS) + 1}" if number >= len(TASKS) else "")
    view, asymmetry = views.view(rng), _asymmetry(rng)
    course = _course(rng, task, frames, fps)
    talking = task == TALK or happens(rng, 0.3)
    words = speech.talk(rng, frames, fps) if talking else [{}] * frames
    gaze, closed = _glances(rng, frames, fps), _blinks(rng, frames, fps)
    sway = [(normal(rng, 4, 8), between(rng, 0, 1), between(rng, 0.1, 0.35)) for _ in range(3)]
    for frame in range(frames):
        now, time_s = course[frame], frame / fps
        if closed[frame] > 0:
            now = {au: level * (1 - closed[frame]) if au == 5 else level for au, level in now.items()}
            now[43] = max(now.get(43, 0.0), 5 * closed[frame])
        moved = [size * math.sin(2 * math.pi * (time_s * rate + start)) for size, start, rate in sway]
        pose = _turned(view, moved[0], 0.6 * moved[1], 0.5 * moved[2])
        free = max(0.0, 1 - max((now.get(au, 0.0) for au in CLOSED_LIPS), default=0.0))
        shapes = {shape: value * free for shape, value in words[frame].items() if free}
        noise = int(generator(seed, 4, who.number, number, frame).integers(2**31))
        yield Shot(who, name, frame, time_s, pose, Action(now, asymmetry, gaze[frame], shapes), noise)


def _still(rng: np.random.Generator) -> Action:
    kind = list(KINDS)[pick(rng, list(KINDS.values()))]
    if kind == "pattern":
        pattern = PATTERNS[pick(rng, [weight for weight, _ in PATTERNS])][1]
        intensities = _together(rng, pattern, extra=0.45)
    else:
        chosen: set[int] = set()
        if kind == "single":
            aus = sorted(SINGLY)
            chosen = {aus[pick(rng, [SINGLE_WEIGHTS.get(au, 1.0) for au in aus])]}
        elif kind == "independent":
            chosen = {au for au, chance in SINGLY.items() if happens(rng, chance)}
        intensities = {au: _level(rng) for au in sorted(_settled(rng, chosen))}
    free = not any(au in intensities for au in CLOSED_LIPS)
    talks = free and kind != "neutral" and happens(rng, SPEECH_SHARE)
    gaze = (normal(rng, 0.3, 0.9), normal(rng, 0.17, 0.5))
    return Action(intensities, _asymmetry(rng), gaze, speech.mouth(rng) if talks else {})


def _at_camera(gaze: tuple[float, float], view: View) -> tuple[float, float]:
    """A gaze that makes up for the head's turn, but for a little of the one drawn."""
    across, up = 0.2 * gaze[0] - view.yaw / GAZE_DEG[0], 0.2 * gaze[1] - view.pitch / GAZE_DEG[1]
    return min(max(across, -0.9), 0.9), min(max(up, -0.6), 0.6)


def _together(
    rng: np.random.Generator, pattern: tuple[int, ...], extra: float, least: float = 0.0
) -> dict[int, float]:
    """A pattern at about one strength, now and then without one of its AUs or with one more."""
    kept = [au for au in pattern if happens(rng, 0.85)] or list(pattern)
    others = [au for au in SINGLY if au not in pattern]
    chosen = {*kept, *([others[int(rng.integers(len(others)))]] if happens(rng, extra) else [])}
    strength = _level(rng)
    return {
        au: float(np.clip(strength + rng.normal(0, 0.9), max(0.6, least), 5))
        if au in pattern
        else _level(rng)
        for au in sorted(_settled(rng, chosen, frozenset(kept)))
    }


def _settled(rng: np.random.Generator, chosen: set[int], asked: frozenset[int] = frozenset()) -> set[int]:
    """What is left where some undo each other; those that a pattern asks for stay."""
    chosen = set(chosen)
    for group in EXCLUSIVE:
        rivals = [au for au in group if au in chosen]
        if len(rivals) > 1:
            keep = int(rng.choice([au for au in rivals if au in asked] or rivals))
            chosen -= {au for au in rivals if au != keep}
    if 26 in chosen and chosen & set(CLOSED_LIPS):
        chosen -= {26} if happens(rng, 0.5) else set(CLOSED_LIPS)
    return chosen


def _level(rng: np.random.Generator) -> float:
    return float(np.clip(1 + pick(rng, LEVEL_SHARES) + rng.uniform(-0.45, 0.45), 0.55, 5))


def _asymmetry(rng: np.random.Generator) -> dict[int, float]:
    """Share by which the left side exceeds the mean, of every AU."""
    return {
        au: normal(rng, 0.35, 0.55) if happens(rng, LOPSIDED_SHARE) else normal(rng, 0.08, 0.25)
        for au in (*AU_SHAPES, 25)
    }


def _course(rng: np.random.Generator, task: str, frames: int, fps: float) -> list[dict[int, float]]:
    """Intensities in every frame: one expression after the other, at rest in between."""
    events = max(1, round(frames / fps / EVENT_S))
    length = frames / events
    course: list[dict[int, float]] = []
    for event in range(events):
        patterns = TASKS[task]
        pattern = patterns[pick(rng, [2.0] + [1.0] * (len(patterns) - 1))]
        peak = _together(rng, pattern, extra=0.35, least=2.6)
        onset, apex, offset = between(rng, 0.08, 0.2), between(rng, 0.38, 0.48), between(rng, 0.6, 0.7)
        lag = {au: between(rng, -0.04, 0.04) for au in peak}
        for frame in range(round(event * length), round((event + 1) * length)):
            t = (frame - event * length) / max(length - 1, 1)
            course.append(
                {au: level * _rise_and_fall(t - lag[au], onset, apex, offset) for au, level in peak.items()}
            )
    return course


def _glances(rng: np.random.Generator, frames: int, fps: float) -> list[tuple[float, float]]:
    """Where the eyes look: from one place to the next, a second or so at each."""
    found: list[tuple[float, float]] = []
    while len(found) < frames:
        place = (normal(rng, 0.25, 0.8), normal(rng, 0.12, 0.4))
        found += [place] * max(1, round(between(rng, 0.5, 2.5) * fps))
    return found[:frames]


def _blinks(rng: np.random.Generator, frames: int, fps: float) -> list[float]:
    """How far the lids are shut, 0..1: a blink of a fifth of a second every few seconds."""
    closed = [0.0] * frames
    at = between(rng, 0.2, 2.0) * fps
    while at < frames:
        for frame in range(max(0, math.floor(at - 3)), min(frames, math.ceil(at + 4))):
            closed[frame] = max(closed[frame], 1 - abs(frame - at) / (0.1 * fps))
        at += between(rng, 1.5, 5.0) * fps
    return closed


def _turned(view: View, yaw: float, pitch: float, roll: float) -> View:
    def held(angle: float, limit: float) -> float:
        return min(max(angle, -limit), limit)

    return replace(
        view,
        yaw=held(view.yaw + yaw, views.YAW_LIMIT),
        pitch=held(view.pitch + pitch, views.PITCH_LIMIT),
        roll=held(view.roll + roll, views.ROLL_LIMIT),
    )


def _rise_and_fall(t: float, onset: float, apex: float, offset: float) -> float:
    """0 before the onset, 1 from the apex to the offset, 0 again as long after; smooth."""
    up = np.clip((t - onset) / (apex - onset), 0, 1)
    down = np.clip((t - offset) / (apex - onset), 0, 1)
    return float(up * up * (3 - 2 * up) - down * down * (3 - 2 * down))
