"""Who of the cast plays which subject of a dataset, and in which clips."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from maeface import facts
from maeface.errors import ConfigError
from maeface_studio.cast import cast, people
from maeface_studio.output.layouts import bp4d, bp4dplus, disfa
from maeface_studio.output.layouts.recording import Format, Recording

Name = Literal["bp4d", "bp4dplus", "disfa"]

RECORDINGS: Mapping[str, Callable[[Path, str, Format], Recording]] = MappingProxyType(
    {"bp4d": bp4d.Recording, "bp4dplus": bp4dplus.Recording, "disfa": disfa.Recording}
)
"""What writes a subject of a layout: (folder of the dataset, subject, format)."""

_TASKS = {"bp4d": len(bp4d.TASKS), "bp4dplus": len(bp4dplus.TASKS)}
_OWN_TASKS = ("bp4dplus",)
"""Whose tasks are not those of ``cast.TASKS``: there the subjects take turns in them."""


@dataclass(frozen=True)
class Part:
    """A person of the cast, and what is to be shot of them."""

    subject: people.Subject
    clips: tuple[int, ...] = ()
    """Numbers of ``cast.clip``, in the order in which they are shot."""
    name: str | None = None
    """As the layout calls the person; None of whom it has no clip."""


@cache
def parts(
    seed: int, subjects: int, clips: int, clip_subjects: int | None, layout: Name | None
) -> tuple[Part, ...]:
    """The people of the cast in the order in which they are drawn, with their clips and names.

    In a layout whose subjects' names tell women from men (``F001``, ``M001``), the next person drawn gets
    the next free name of their sex; whoever is left without one is passed over.

    Args:
        seed: of the cast.
        subjects: how many people.
        clips: of each of the first ``clip_subjects``.
        clip_subjects: None for all.
        layout: None for no names.

    Raises:
        ConfigError: the layout's dataset has fewer subjects or tasks.
    """
    shot = subjects if clip_subjects is None else min(clip_subjects, subjects)
    names = list(facts.dataset(layout).subject_names) if layout else []
    _check(layout, len(names), shot, clips)
    found: list[Part] = []
    for number in count():
        if len(found) == subjects:
            return tuple(found)
        who, place = people.subject(seed, number), len(found)
        if place >= shot or not clips:
            found.append(Part(who))
            continue
        fitting = [name for name in names if name[0] == who.sex.upper() or name[0] not in "FM"]
        if layout and not fitting:
            continue
        if fitting:
            names.remove(fitting[0])
        turn = place * clips % len(cast.TASKS) if layout in _OWN_TASKS else 0
        every = len(cast.TASKS)
        order = tuple((turn + clip) % every if turn else clip for clip in range(clips))
        found.append(Part(who, order, fitting[0] if fitting else None))
    raise AssertionError("the numbers never end")


def _check(layout: Name | None, names: int, subjects: int, clips: int) -> None:
    if layout is None:
        return
    title = facts.dataset(layout).title
    if not subjects or not clips:
        raise ConfigError(f"the layout of {title} holds clips only, and there are none; give --clips as well")
    if subjects > names:
        raise ConfigError(
            f"{title} has {names} subjects, and clips of {subjects} were asked for; "
            f"give --clip-subjects {names} or less"
        )
    most = _TASKS.get(layout, clips)
    if clips > most:
        raise ConfigError(f"{title} has {most} tasks a subject, and {clips} clips were asked for")
