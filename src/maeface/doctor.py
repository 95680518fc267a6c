"""``maeface doctor``: what is installed here, whether it works, and how fast.

It works where libraries do not: they are imported, and back ends run, in processes of their own.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module

from rich.table import Column, Table
from rich.text import Text

from maeface import checks, console
from maeface.diagnosis.finding import REINSTALL, Clock, Finding, describe

LIMIT_S = 60.0
LONGEST_S = 86_400.0
"""More is as good as no limit, and too much for an operating system to wait."""
GROUPS = {
    "version": ("libraries", "find_libraries"),
    "device": ("machine", "find_devices"),
    "back end": ("machine", "find_backends"),
    "weights": ("weights", "find_weights"),
    "extra": ("libraries", "find_extras"),
    "studio": ("libraries", "find_studio"),
}
"""The groups of the report, and the module and function that find each."""
FIRST = {"device", "back end"}
"""The groups that are looked at first: where time runs out, the others tell less."""


@dataclass(frozen=True)
class Report:
    """What was found, group by group."""

    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What is needed and does not work."""
        return tuple(one for one in self.findings if one.needed and one.state != "ok")


def run(speed: bool = True, time_limit: float = LIMIT_S) -> Report:
    """Look at this installation.

    Args:
        speed: whether to run each back end for a second, on a picture that comes with the package.
        time_limit: most seconds for all that runs in processes; one that takes half of it is "stopped".

    Raises:
        ConfigError: a time limit that is not above 0.
    """
    checks.require_positive("time_limit", time_limit)
    time_limit = min(time_limit, LONGEST_S)  # also where it is infinite
    clock = Clock(time_limit)
    groups = [name for name in GROUPS if speed or name != "back end"]
    found: dict[str, list[Finding]] = {}
    with console.progress("doctor", len(groups), "groups", alike=False) as advance:
        for name in sorted(groups, key=lambda name: name not in FIRST):
            found[name] = list(_find(name, clock))
            advance(note=name)
    return Report(tuple(one for name in groups for one in found[name]))


def _find(group: str, clock: Clock) -> Iterator[Finding]:
    """Yield the findings of a group; an exception is one, because the other groups are worth a look."""
    module, function = GROUPS[group]
    try:
        find = getattr(import_module(f"maeface.diagnosis.{module}"), function)
        yield from find(clock)
    except Exception as error:
        yield Finding(group, "maeface", "broken", describe(error), True, REINSTALL)


def render(report: Report) -> Table:
    """Return the findings as a table of the command line."""
    table = Table("", "", "", Column(overflow="fold"), box=None, pad_edge=False, show_header=False)
    shown = ""
    for one in report.findings:
        style = "" if one.state == "ok" else "red" if one.needed or one.state == "broken" else "dim"
        state = "not found" if one.state == "missing" and not one.needed else one.state
        cells = (one.group if one.group != shown else "", one.name, state, one.detail)
        table.add_row(*(Text(cell, style) for cell in cells))
        shown = one.group
    return table


def conclude(report: Report) -> str:
    """Return lines with what is needed and does not work, and what to do; or that all works."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in report.broken:
        alike.setdefault((one.state, one.advice), []).append(one.name)
    lines = [
        f"{', '.join(names)} {'are' if len(names) > 1 else 'is'} {state}: {advice}"
        for (state, advice), names in alike.items()
    ]
    return "\n".join(lines) or "all that maeface needs works"


def to_json(report: Report) -> str:
    """Return the findings as JSON, and ``ok``: whether all that is needed works."""
    content = {"ok": not report.broken, "findings": [asdict(one) for one in report.findings]}
    return json.dumps(content, indent=2, ensure_ascii=False)
