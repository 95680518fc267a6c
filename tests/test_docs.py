"""The lists that must not drift apart: verbs, commands, pages, options, recipes, exported names."""

import inspect
import re
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import pytest
import typer.main

from maeface import cli, config

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "user_guide"
COMMANDS = typer.main.get_command(cli.app).commands
VERBS = [
    "datasets",
    "prepare",
    "pretrain",
    "finetune",
    "evaluate",
    "predict",
    "aus",
    "demo",
    "reproduce",
    "serve",
    "plan",
    "export",
    "doctor",
]


def test_verbs_are_commands():
    assert list(COMMANDS) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_a_typed_run_and_a_page(verb):
    run = import_module(f"maeface.{verb}").run
    signature = inspect.signature(run)
    assert run.__doc__
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
    assert (PAGES / f"{verb}.md").is_file()
    assert f"docs/user_guide/{verb}.md" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_help_and_stands_on_its_page(verb):
    page = (PAGES / f"{verb}.md").read_text()
    assert COMMANDS[verb].help
    for parameter in COMMANDS[verb].params:
        if parameter.name == "help":
            continue
        assert parameter.help, f"{verb} {parameter.name} has no help"
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in page, (
                f"docs/user_guide/{verb}.md does not mention {parameter.opts[0]}"
            )


@pytest.mark.parametrize(
    "page", sorted(str(p.relative_to(ROOT)) for f in (ROOT, ROOT / "docs", PAGES) for p in f.glob("*.md"))
)
def test_links_and_pictures_exist(page):
    file = ROOT / page
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", file.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (file.parent / target).exists(), f"{page} points to {target}"


def headings(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


@pytest.mark.parametrize(
    "page", sorted(str(p.relative_to(ROOT)) for f in (ROOT, ROOT / "docs", PAGES) for p in f.glob("*.md"))
)
def test_links_point_to_headings_that_exist(page):
    file = ROOT / page
    for target, heading in re.findall(r"\]\(([^)#\s]*\.md)?#([^)\s]+)\)", file.read_text()):
        assert heading in headings(file.parent / target if target else file), f"{page}: {target}#{heading}"


def test_pages_name_only_recipes_that_exist():
    for page in [*ROOT.glob("*.md"), *PAGES.glob("*.md")]:
        for verb, recipe in re.findall(
            r"maeface (pretrain|finetune|reproduce) ([a-z0-9-]+)\b(?!\.toml)", page.read_text()
        ):
            assert recipe in config.recipes(), f"{page.name}: maeface {verb} {recipe}"


@pytest.mark.parametrize(
    "page", sorted(str(p.relative_to(ROOT)) for f in (ROOT, ROOT / "docs", PAGES) for p in f.glob("*.md"))
)
def test_tables_are_whole(page):
    """Each run of lines that begin with a bar is one table: a header, a separator, rows of as many cells."""
    text = re.sub(
        r"```.*?```", lambda code: "\n" * code[0].count("\n"), (ROOT / page).read_text(), flags=re.S
    )
    lines = text.splitlines()
    for k, line in enumerate(lines):
        if not line.startswith("|") or (k and lines[k - 1].startswith("|")):
            continue
        table = list(takewhile(lambda row: row.startswith("|"), lines[k:]))
        where = f"{page}, line {k + 1}: {line[:60]}"
        assert len(table) > 2, f"{where}: a table with fewer than three lines, or cut off by a blank line"
        assert re.fullmatch(r"\|(:?-+:?\|)+", table[1].replace(" ", "")), f"{where}: no separator"
        cells = [len(re.split(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row).strip())) for row in table]
        assert len(set(cells)) == 1, f"{where}: rows of {sorted(set(cells))} cells"


def test_the_readme_is_short():
    """One picture, three commands to begin with, and five lines a topic; the lists of links may be longer."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("![") == 1
    topics = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.S | re.M))
    begin = re.findall(r"```sh\n(.*?)```", topics["Three commands"], re.S)
    assert len(begin) == 1 and len(begin[0].splitlines()) == 3
    for title in topics.keys() - {"Documentation"}:
        prose = re.sub(r"```.*?```", "", topics[title], flags=re.S).splitlines()
        assert len([line for line in prose if line]) <= 5, f"README, {title}: more than five lines"
