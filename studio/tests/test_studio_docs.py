"""The commands of the studio, their options and their pages."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest
import typer.main

from maeface_studio.__main__ import app
from maeface_studio.weights import recipe

STUDIO = Path(__file__).parents[1]
COMMANDS = typer.main.get_command(app).commands
MODULES = {
    "render": "output.render",
    "weights": "weights.make",
    "check": "weights.check",
    "unlike": "weights.unlike",
    "bench": "weights.bench.command",
    "detector": "detector.training",
}
PAGES = [STUDIO / "README.md", *sorted((STUDIO / "docs").glob("*.md")), *STUDIO.glob("benchmarks/*/*.md")]


def test_commands_have_modules_and_pages():
    assert list(COMMANDS) == list(MODULES)
    assert sorted(page.stem for page in (STUDIO / "docs").glob("*.md")) == sorted(MODULES)


@pytest.mark.parametrize("command", MODULES)
def test_a_command_has_a_typed_run_and_a_page(command):
    run = import_module(f"maeface_studio.{MODULES[command]}").run
    signature = inspect.signature(run)
    assert run.__doc__
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
    assert f"docs/{command}.md" in (STUDIO / "README.md").read_text()


@pytest.mark.parametrize("command", MODULES)
def test_every_option_has_help_and_stands_on_its_page(command):
    page = (STUDIO / "docs" / f"{command}.md").read_text()
    assert COMMANDS[command].help
    for parameter in COMMANDS[command].params:
        if parameter.name == "help":
            continue
        assert parameter.help, f"{command} {parameter.name} has no help"
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in page, f"docs/{command}.md does not mention {parameter.opts[0]}"


@pytest.mark.parametrize("page", [str(page.relative_to(STUDIO)) for page in PAGES])
def test_links_and_pictures_exist(page):
    path = STUDIO / page
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), f"{page} points to {target}"


def test_pages_name_only_commands_and_recipes_that_exist():
    recipes = {path.stem for path in recipe.RECIPES.glob("*.toml")}
    for page in PAGES:
        text = page.read_text()
        for command in re.findall(r"maeface-studio ([a-z]+)", text):
            assert command in COMMANDS, f"{page.name}: maeface-studio {command}"
        for name in re.findall(r"maeface-studio weights ([a-z][a-z0-9-]+)", text):
            assert name in recipes, f"{page.name}: maeface-studio weights {name}"
        assert "maeface synth" not in text
