"""The import floors, the sizes of modules and functions, and what importing must not do."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import architecture

PACKAGE = Path(__file__).parents[1] / "src" / "maeface"
FILES = architecture.modules(PACKAGE)
GRAPH = architecture.imports(PACKAGE)

GROUND = {
    "errors",
    "checks",
    "files",
    "console",
    "process",
    "config",
    "options",
    "predict_options",
    "export_options",
    "serve_options",
    "facts",
    "metrics",
    "nested",
    "paths",
    "portable",
}
VERBS = {
    "plan",
    "datasets",
    "prepare",
    "pretrain",
    "finetune",
    "evaluate",
    "predict",
    "export",
    "aus",
    "demo",
    "reproduce",
    "doctor",
    "serve",
}
ENTIRE = {"demo", "reproduce", "serve"}  # verbs that call other verbs, or what does
# folder or module -> what it may import beside itself and the ground
BELOW = {
    "runtime": set(),
    "faces": {"runtime"},
    "data": {"faces", "runtime"},
    "model": {"runtime"},
    "train": {"model"},
    "report": {"analysis"},
    "analysis": set(),
    "interchange": {"analysis"},
    "diagnosis": {"faces", "data", "model", "runtime", "prediction"},
    "deployment": {"prediction", "faces", "data", "model", "runtime"},
    "prediction": {"faces", "data", "model", "runtime", "analysis", "interchange", "report"},
}
COLUMNS = set(BELOW)
BELOW |= dict.fromkeys(VERBS - ENTIRE, COLUMNS)
BELOW |= {
    "experiments": COLUMNS | (VERBS - ENTIRE),
    "demo": COLUMNS | (VERBS - ENTIRE),
    "reproduce": COLUMNS | {"experiments"},
    "service": COLUMNS | {"predict"},
    "serve": COLUMNS | {"service"},
    "cli": VERBS,
    "__main__": {"cli"},
}
# Inside the two largest folders, from the bottom to the top; a row imports rows below it and itself.
INSIDE = {
    "data": [{"tables"}, {"manifest"}, {"shards"}, {"ingest"}, {"loading"}, {"formats"}, {"readers"}],
    "experiments": [{"settings"}, {"reporting"}, {"running"}, {"figures"}],
}


def owner(module: str, depth: int = 1) -> str:
    """The part of the package that a module belongs to: its folder, or itself."""
    parts = module.split(".")
    return parts[depth] if len(parts) > depth else "__init__"


@pytest.mark.parametrize("module", FILES)
def test_modules_import_only_from_below(module):
    name = owner(module)
    if name == "__init__":  # the names that users type, imported when they are first used
        return
    if name in GROUND:
        allowed = GROUND
    else:
        assert name in BELOW, f"{name} has no floor: give it one here and in docs/design.md"
        allowed = BELOW[name] | GROUND | {name}
    wrong = {target for target in GRAPH[module] if owner(target) not in allowed}
    assert not wrong, f"{module} must not import {sorted(wrong)}"


@pytest.mark.parametrize("folder", INSIDE)
def test_folders_import_only_from_below_inside_too(folder):
    height = {name: k for k, row in enumerate(INSIDE[folder]) for name in row}
    for module, targets in GRAPH.items():
        if owner(module) != folder or owner(module, 2) == "__init__":
            continue
        here = owner(module, 2)
        assert here in height, f"{module} has no floor inside {folder}"
        for target in targets:
            if owner(target) == folder:
                there = owner(target, 2)
                assert there == here or height[there] < height[here], f"{module} imports {target}"


def test_there_is_no_import_circle():
    assert architecture.circle(GRAPH) == []


def test_the_tool_does_not_know_the_studio():
    assert architecture.foreign(PACKAGE, "maeface_studio") == set()


@pytest.mark.parametrize("folder", INSIDE)
def test_a_folder_opens_on_nine_entries_at_most(folder):
    assert len(architecture.entries(PACKAGE / folder)) <= 9


@pytest.mark.parametrize("module", FILES)
def test_modules_and_functions_stay_small(module):
    assert architecture.too_long(FILES[module]) == []


def test_layout_is_the_one_that_is_documented():
    names = {owner(module) for module in FILES} - {"__init__", "__main__"}
    assert names == (GROUND | set(BELOW)) - {"__main__"}
    design = (PACKAGE.parents[1] / "docs" / "design.md").read_text()
    names |= {entry for folder in INSIDE for row in INSIDE[folder] for entry in row}
    missing = [name for name in sorted(names) if name not in design]
    assert not missing, f"docs/design.md does not mention {missing}"


def test_importing_the_door_loads_no_torch():
    code = "import sys, maeface, maeface.cli; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("verb", ["predict", "prepare", "evaluate", "datasets", "aus", "doctor"])
def test_a_verb_loads_no_library_that_it_seldom_needs(verb):
    code = f"""
import sys, maeface.cli, maeface.{verb}
if "{verb}" == "predict":
    from maeface.faces.retinaface import RetinaFace
    RetinaFace("mobilenet0.25")
libraries = ("torchvision", "timm", "matplotlib", "tensorboard", "torch._dynamo", "sympy", "scipy")
sys.exit(", ".join(name for name in libraries if name in sys.modules) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


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
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.match(r"/\w+/", node.value), path
