"""The pages that are made from the code, so that they cannot drift from it: commands and Python reference."""

from inspect import isclass
from pathlib import Path
from types import ModuleType
from typing import Any

import typer.main
from sphinx.application import Sphinx
from typer.testing import CliRunner

import maeface
from maeface import cli

FOLDER = Path(__file__).parent / "generated"
RESULTS = ("FrameResult", "FaceResult", "ActionUnit", "VideoResult")


def setup(app: Sphinx) -> None:
    """Write the pages before Sphinx looks for its sources, and name the README in links to the next page."""
    app.connect("builder-inited", lambda _: write(FOLDER))
    app.connect("html-page-context", lambda _app, _page, _template, context, _tree: name_readme(context))


def name_readme(context: dict[str, Any]) -> None:
    """Call the README "First steps", as the menu does: its own title is that of the start page."""
    for way in ("prev", "next"):
        if (page := context.get(way)) and page["link"].endswith("README.html") and page["title"] == "maeface":
            page["title"] = "First steps"


def write(folder: Path) -> None:
    """Write ``commands.md`` and ``reference.rst`` where they have changed."""
    folder.mkdir(exist_ok=True)
    for name, text in (("commands.md", commands()), ("reference.rst", reference())):
        page = folder / name
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def commands() -> str:
    """Return the page with the ``--help`` of each command."""
    group = typer.main.get_command(cli.app)
    parts = ["# Commands\n\nWhat `maeface COMMAND --help` prints, for each command.\n"]
    for name in ["", *group.commands]:
        title = f"maeface {name}".strip()
        guide = f"\nMore: [{name}](../../user_guide/{name}.md)\n" if name else ""
        parts.append(f"## {title}\n\n```text\n{_help_of(name)}```\n{guide}")
    return "\n".join(parts)


def _help_of(command: str) -> str:
    """Return the help of a command as plain text, 80 columns wide."""
    environment = {"TERMINAL_WIDTH": "80", "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    words = [command] if command else []
    result = CliRunner().invoke(cli.app, [*words, "--help"], env=environment, prog_name="maeface")
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines()) + "\n"


def reference() -> str:
    """Return the reference of the names that ``maeface`` exports."""
    modules, others = [], []
    for name in maeface.__all__:
        (modules if isinstance(getattr(maeface, name), ModuleType) else others).append(name)
    others.sort(key=lambda name: (name.endswith("Error"), name))
    lines = [*_title("Python reference", "="), "The names that ``import maeface`` offers:", ""]
    for what, names in (("classes and functions", others), ("modules", modules)):
        lines += [f"* {what}: {', '.join(f'`maeface.{name}`_' for name in names)}"]
    lines.append("")
    for name in others:
        value = getattr(maeface, name)
        kind = "exception" if name.endswith("Error") else "class" if isclass(value) else "function"
        lines += [*_title(f"maeface.{name}", "-"), f".. auto{kind}:: maeface.{name}"]
        lines += ["   :members:", ""] if kind == "class" else [""]
    lines += [*_title("What a predictor returns", "-")]
    for name in RESULTS:
        lines += [f".. autoclass:: maeface.prediction.results.{name}", "   :members:", ""]
    for name in modules:
        lines += [*_title(f"maeface.{name}", "-"), f".. automodule:: maeface.{name}", "   :members:", ""]
    return "\n".join(lines)


def _title(text: str, line: str) -> list[str]:
    return [text, line * len(text), ""]
