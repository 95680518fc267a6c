"""Why a run's numbers may not be the paper's: what stands above everything else in a report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maeface import config, facts
from maeface.errors import ConfigError
from maeface.experiments.reporting.results import Part

FACES_DIFFER = 0.05
"""Share by which faces may differ from the dataset's labelled frames: faces are not found in every frame."""
SILENT = frozenset(
    {
        "optim.micro_batch",
        "run.workers",
        "run.device",
        "run.compile",
        "run.checkpoint_every_s",
        "title",
        "cost",
    }
)
"""Ends of settings that change speed, not what is learned."""
SELDOM = frozenset({"name", "title", "cost", "note", "seeds", "selection", "published"})
"""Settings that are told elsewhere, or that take nothing from the numbers."""
CHANGES = 12
"""Changed settings that are named."""


def reasons(parts: Sequence[Part], changed: Sequence[str] = ()) -> list[str]:
    """Why the numbers are not the paper's, gravest first; none where nothing speaks against it.

    Args:
        parts: the finished parts.
        changed: settings that differ from the recipe that comes with the package.
    """
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    lines = [f"{note.removesuffix('.')}." for note in notes]
    for dataset in dict.fromkeys(part.dataset for part in parts):
        lines += _data([part for part in parts if part.dataset == dataset], dataset)
    if changed:
        lines.append(f"Settings differ from the recipe of the package: {'; '.join(changed)}.")
    return lines


def optimistic(parts: Sequence[Part]) -> list[str]:
    """A line where the test part had a say in what is tested."""
    if all(part.selection != "test" for part in parts):
        return []
    return [
        "The test part picked the epoch, as much of the field does: these scores are of what chose them, "
        "so they are optimistic. With --selection validation, subjects held out of training pick it."
    ]


def _data(parts: Sequence[Part], dataset: str) -> Iterator[str]:
    try:
        known = facts.dataset(dataset)
    except ConfigError:
        return
    for protocol in dict.fromkeys(part.protocol for part in parts):
        folds = known.protocols.get(protocol)
        if folds is None:
            continue
        tested = {part.fold: part.subjects_test for part in parts if part.protocol == protocol}
        few = [
            f"{tested[f]} of {len(folds[f])} in {f}"
            for f in tested
            if f in folds and tested[f] != len(folds[f])
        ]
        if few and not any("subjects are not there" in note for part in parts for note in part.notes):
            yield f"{known.title}: subjects tested, of those that {protocol} tests: {', '.join(few)}."
    if known.frames is None:
        return
    most = max(part.faces_train + part.faces_validation + part.faces_test for part in parts)
    told = any(f"{known.frames:,}" in note for part in parts for note in part.notes)
    if not told and abs(most - known.frames) > FACES_DIFFER * known.frames:
        yield f"{known.title}: {most:,} faces in this run, {known.frames:,} labelled frames in the dataset."


def changed(settings: Mapping[str, Any], packaged: Mapping[str, Any]) -> list[str]:
    """Settings that differ from the packaged recipe's, "finetune.optim.epochs 2 (recipe: 20)".

    Args:
        settings: as the run was called with; what is ``forced`` by the call counts as set.
        packaged: those of the recipe of the same name that comes with the package.
    """
    own, theirs = _effective(settings), _effective(packaged)
    names = [name for name in {**theirs, **own} if own.get(name) != theirs.get(name) and not _silent(name)]
    lines = [
        f"{name} {own.get(name, 'as by default')} (recipe: {theirs.get(name, 'as by default')})"
        for name in names
    ]
    more = len(lines) - CHANGES
    return lines if more <= 0 else [*lines[:CHANGES], f"and {more} more"]


def _effective(settings: Mapping[str, Any]) -> dict[str, str]:
    found = flat(settings)
    forced = {name: found.pop(name) for name in list(found) if name.startswith("forced.")}
    found |= {name.removeprefix("forced."): value for name, value in forced.items()}
    return {name: value or "empty" for name, value in found.items() if value not in ("None", "[]")}


def _silent(name: str) -> bool:
    return name.partition(".")[0] in SELDOM or any(name == end or name.endswith(f".{end}") for end in SILENT)


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings as {"section.key": text}."""
    return {name: _text(value) for name, value in config.flatten(values).items()}


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)
