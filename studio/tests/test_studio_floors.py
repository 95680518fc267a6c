"""The import floors of the studio, and the sizes of its modules and functions."""

from pathlib import Path

import pytest

import architecture

PACKAGE = Path(__file__).parents[1] / "src" / "maeface_studio"
FILES = architecture.modules(PACKAGE)
GRAPH = architecture.imports(PACKAGE)

# From the bottom to the top; a folder imports folders before it and itself.
FLOORS = ["head", "cast", "skin", "worn", "hair", "camera", "output", "detector", "weights", "__main__"]
ALONE = {"detector"}  # imports the tool only


@pytest.mark.parametrize("module", FILES)
def test_modules_import_only_from_below(module):
    if module.count(".") == 0:
        return
    here = module.split(".")[1]
    allowed = {here} if here in ALONE else set(FLOORS[: FLOORS.index(here) + 1])
    wrong = {target for target in GRAPH[module] if target.split(".")[1] not in allowed}
    assert not wrong, f"{module} must not import {sorted(wrong)}"


def test_there_is_no_import_circle():
    assert architecture.circle(GRAPH) == []


def test_the_studio_opens_on_nine_entries_at_most():
    assert architecture.entries(PACKAGE) == sorted(set(FLOORS) - {"__main__"})
    assert len(FLOORS) - 1 <= 9


@pytest.mark.parametrize("module", FILES)
def test_modules_and_functions_stay_small(module):
    assert architecture.too_long(FILES[module]) == []
