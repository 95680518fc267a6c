"""The import floors, the sizes of modules and functions, and what importing must not do."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "maeface"
MODULES = sorted(PACKAGE.rglob("*.py"))

GROUND = {"errors", "checks", "files", "console", "config", "options", "facts", "metrics"}
VERBS = {"datasets", "prepare", "pretrain", "finetune", "evaluate", "predict", "synth", "demo", "reproduce"}
# folder -> the folders of its own column below it
BELOW = {
    "faces": set(),
    "data": {"faces"},
    "studio": {"faces", "data"},
    "distillation": {"faces"},
    "model": set(),
    "train": {"model"},
    "report": set(),
}
ENTIRE = {"demo", "reproduce"}  # verbs that call other verbs
VERBS_USED_BY = {"demo": VERBS - ENTIRE, "reproduce": {"experiments"}}
# between the verbs and what runs many of them
ABOVE = {"experiments"}


def owner(path: Path) -> str:
    """The folder, or the top-level module, that a file belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported(tree: ast.AST) -> set[str]:
    """The parts of maeface that a module imports, as folder or top-level module names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("maeface")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("maeface"):
            found |= (
                {f"maeface.{alias.name}" for alias in node.names}
                if node.module == "maeface"
                else {node.module}
            )
    return {name.split(".")[1] for name in found if "." in name}


def allowed(name: str) -> set[str]:
    if name in GROUND:
        return GROUND
    if name in BELOW:
        return GROUND | BELOW[name] | {name}
    if name in VERBS:
        return GROUND | set(BELOW) | VERBS_USED_BY.get(name, set()) | {name}
    if name in ABOVE:
        return GROUND | set(BELOW) | (VERBS - ENTIRE) | {name}
    if name in {"cli", "__main__"}:
        return GROUND | VERBS | {"cli"}
    assert name == "__init__", f"{name} has no floor: give it one here and in docs/design.md"
    return set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_only_from_below(path):
    name = owner(path)
    wrong = imported(ast.parse(path.read_text())) - allowed(name)
    assert not wrong, f"{name} must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 330
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 65, f"{node.name} is {node.end_lineno - node.lineno} lines"


def test_layout_is_the_one_that_is_documented():
    names = {owner(path) for path in MODULES} - {"__init__", "__main__", "cli"}
    assert names == GROUND | VERBS | ABOVE | set(BELOW)
    design = (PACKAGE.parents[1] / "docs" / "design.md").read_text()
    missing = [name for name in sorted(names) if name not in design]
    assert not missing, f"docs/design.md does not mention {missing}"


def test_importing_the_door_loads_no_torch():
    code = "import sys, maeface, maeface.cli; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_everything_changes_nothing_global():
    code = """
import sys, logging, pkgutil, importlib, torch
before = (logging.root.level, torch.get_default_dtype(), torch.get_num_threads())
import maeface
for module in pkgutil.walk_packages(maeface.__path__, "maeface."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = (logging.root.level, torch.get_default_dtype(), torch.get_num_threads())
sys.exit(before != after)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sources_hold_no_absolute_paths():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.match(r"/\w+/", node.value), path
