"""The roles of the people of the cast in a dataset: the names they get and the clips they appear in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from maeface import facts
from maeface.errors import ConfigError
from maeface_studio.cast import actions
from maeface_studio.cast.subjects import Subject, draw_subject
from maeface_studio.output.layouts import bp4d, bp4dplus, disfa
from maeface_studio.output.layouts.recording import Format, Recording

Layout = Literal["bp4d", "bp4dplus", "disfa"]

RECORDINGS: Mapping[str, Callable[[Path, str, Format], Recording]] = MappingProxyType(
    {"bp4d": bp4d.Recording, "bp4dplus": bp4dplus.Recording, "disfa": disfa.Recording}
)
"""The class that writes a subject of each layout; its arguments: folder of the dataset, subject, format."""

_TASKS = {"bp4d": len(bp4d.TASKS), "bp4dplus": len(bp4dplus.TASKS)}
_ROTATED = ("bp4dplus",)
"""Layouts whose tasks differ from ``actions.TASKS``: each subject begins with another task of the cast."""


@dataclass(frozen=True)
class Role:
    """A person of the cast and what is rendered of them.

    Attributes:
        subject: the person.
        clips: numbers of clips as ``actions.plan_clip`` takes them, in the order in which they are rendered.
        name: of the subject in the layout; None for a person without clips.
    """

    subject: Subject
    clips: tuple[int, ...] = ()
    name: str | None = None


@cache
def assign_roles(
    seed: int, subjects: int, clips: int, clip_subjects: int | None, layout: Layout | None, first: int = 0
) -> tuple[Role, ...]:
    """Return the people of the cast in the order in which they are drawn, with their clips and names.

    In a layout whose subject names tell women from men (``F001``, ``M001``), each person gets the next free
    name of their sex; people for whom no name is left are skipped.

    Args:
        seed: of the cast.
        subjects: number of people.
        clips: number of clips of each of the first ``clip_subjects``.
        clip_subjects: number of people with clips; None for all.
        layout: None for no names.
        first: number of the first person of the cast, from 0.

    Raises:
        ConfigError: the layout's dataset has fewer subjects or tasks.
    """
    with_clips = subjects if clip_subjects is None else min(clip_subjects, subjects)
    names = list(facts.dataset(layout).subject_names) if layout else []
    _check(layout, len(names), with_clips, clips)
    roles: list[Role] = []
    for number in count(first):
        if len(roles) == subjects:
            break
        subject, index = draw_subject(seed, number), len(roles)
        if index >= with_clips or not clips:
            roles.append(Role(subject))
            continue
        free_names = [name for name in names if name[0] == subject.sex.upper() or name[0] not in "FM"]
        if layout and not free_names:
            continue
        if free_names:
            names.remove(free_names[0])
        tasks = len(actions.TASKS)
        begin = index * clips % tasks if layout in _ROTATED else 0
        order = tuple((begin + clip) % tasks if begin else clip for clip in range(clips))
        roles.append(Role(subject, order, free_names[0] if free_names else None))
    return tuple(roles)


def _check(layout: Layout | None, names: int, subjects: int, clips: int) -> None:
    if layout is None:
        return
    title = facts.dataset(layout).title
    if not subjects or not clips:
        raise ConfigError(f"the layout of {title} contains clips only; give --clips as well")
    if subjects > names:
        raise ConfigError(
            f"{title} has {names} subjects, but clips of {subjects} were requested; "
            f"give --clip-subjects {names} or less"
        )
    most = _TASKS.get(layout, clips)
    if clips > most:
        raise ConfigError(f"{title} has {most} tasks per subject, but {clips} clips were requested")
