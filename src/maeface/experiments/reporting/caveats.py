"""Reasons why the numbers of a run are not comparable to the paper's; they stand at the top of a report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maeface import facts, nested
from maeface.errors import ConfigError
from maeface.experiments.reporting.results import FinishedPart
from maeface.train.run import MAY_CHANGE

FACES_TOLERANCE = 0.05
"""Fraction by which the number of faces may differ from the labelled frames: a frame may lack a face."""
REPORTED_ELSEWHERE = frozenset({"name", "title", "cost", "note", "seeds", "selection", "published"})
"""Settings of the experiment that the report shows elsewhere, or that do not change the numbers."""
MAX_CHANGES = 12
"""Changed settings that are named."""


def find_caveats(parts: Sequence[FinishedPart], changes: Sequence[str] = ()) -> list[str]:
    """Return why the numbers are not comparable to the paper's, most important first; empty if they are.

    Args:
        parts: the finished parts.
        changes: settings that differ from the packaged recipe, from ``find_changes``.
    """
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    lines = [f"{note.removesuffix('.')}." for note in notes]
    for dataset in dict.fromkeys(part.dataset for part in parts):
        lines += _check_data([part for part in parts if part.dataset == dataset], dataset)
    if changes:
        lines.append(f"Settings differ from the packaged recipe: {'; '.join(changes)}.")
    return lines


def describe_selection_bias(parts: Sequence[FinishedPart]) -> list[str]:
    """Return a warning if the test faces chose the epoch; else no line."""
    if all(part.selection != "test" for part in parts):
        return []
    return [
        "The epoch was chosen on the test faces, as in much published work. The scores are therefore "
        "optimistic. With --selection validation, subjects held out of the training choose the epoch."
    ]


def _check_data(parts: Sequence[FinishedPart], dataset: str) -> Iterator[str]:
    """Yield how subjects and faces differ from the dataset's, unless a note of the parts says so already."""
    try:
        expected = facts.dataset(dataset)
    except ConfigError:
        return
    notes = [note for part in parts for note in part.notes]
    for protocol in dict.fromkeys(part.protocol for part in parts):
        folds = expected.protocols.get(protocol)
        if folds is None:
            continue
        tested = {part.fold: part.subjects_test for part in parts if part.protocol == protocol}
        incomplete = [
            f"{count} of {len(folds[fold])} in {fold}"
            for fold, count in tested.items()
            if fold in folds and count != len(folds[fold])
        ]
        if incomplete and not any("test subjects are" in note for note in notes):
            yield f"{expected.title}: tested subjects of protocol {protocol}: {', '.join(incomplete)}."
    if expected.frames is None:
        return
    faces = max(part.faces_train + part.faces_validation + part.faces_test for part in parts)
    noted = any(f"{expected.frames:,}" in note for note in notes)
    if not noted and abs(faces - expected.frames) > FACES_TOLERANCE * expected.frames:
        counts = f"{faces:,} faces in this run, {expected.frames:,} labelled frames in the dataset"
        yield f"{expected.title}: {counts}."


def find_changes(settings: Mapping[str, Any], packaged: Mapping[str, Any]) -> list[str]:
    """Return settings that differ from the packaged recipe: "finetune.optim.epochs 2 (recipe: 20)".

    Args:
        settings: of the run; its ``forced`` overrides take precedence.
        packaged: of the packaged recipe of the same name.
    """
    own, recipe = _effective(settings), _effective(packaged)
    names = [name for name in {**recipe, **own} if own.get(name) != recipe.get(name) and not _ignored(name)]
    lines = [f"{name} {own.get(name, 'default')} (recipe: {recipe.get(name, 'default')})" for name in names]
    more = len(lines) - MAX_CHANGES
    return lines if more <= 0 else [*lines[:MAX_CHANGES], f"and {more} more"]


def _effective(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return flat settings with the ``forced`` ones in their places, without empty ones."""
    values = flatten(settings)
    forced = {name: values.pop(name) for name in list(values) if name.startswith("forced.")}
    values |= {name.removeprefix("forced."): value for name, value in forced.items()}
    return {name: value or "empty" for name, value in values.items() if value not in ("None", "[]")}


def _ignored(name: str) -> bool:
    if name.partition(".")[0] in REPORTED_ELSEWHERE:
        return True
    # "finetune." or "pretrain." may precede the key
    return any(name == key or name.endswith(f".{key}") for key in MAY_CHANGE)


def flatten(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings as "section.key" -> text."""
    return {name: _text(value) for name, value in nested.flatten(settings).items()}


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)
