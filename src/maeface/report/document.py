"""A report before it is HTML, Markdown or LaTeX: the same words, tables and pictures in each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maeface.report.page import Picture, Section, Table, page

PICTURES = "figures"
"""Folder beside the report with the pictures that Markdown and LaTeX point to."""


@dataclass(frozen=True)
class Document:
    """What a report says.

    Attributes:
        title: the heading.
        warnings: what nobody may miss, above everything else.
        lead: paragraphs below the heading.
        sections: the parts, in order.
        footer: a last line.
    """

    title: str
    warnings: Sequence[str]
    lead: Sequence[str]
    sections: Sequence[Section]
    footer: str = ""

    def pictures(self) -> Iterator[tuple[str, Picture]]:
        """Every picture with the path that Markdown and LaTeX know it by, relative to the report."""
        for s, section in enumerate(self.sections, start=1):
            for p, picture in enumerate(section.pictures, start=1):
                yield f"{PICTURES}/{s:02d}-{p}.png", picture


def html(document: Document) -> str:
    """One file that opens by itself, pictures inside."""
    return page(document.title, document.sections, document.lead, document.footer, warnings=document.warnings)


def markdown(document: Document) -> str:
    """GitHub's Markdown; pictures are files in ``PICTURES``."""
    files = iter([path for path, _ in document.pictures()])
    lines = [f"# {_plain(document.title)}", ""]
    for warning in document.warnings:
        lines += [f"> **{_plain(warning)}**", ">"]
    lines += [""] if document.warnings else []
    for paragraph in document.lead:
        lines += [_plain(paragraph), ""]
    for section in document.sections:
        lines += [f"## {_plain(section.title)}", ""]
        for paragraph in section.paragraphs:
            lines += [_plain(paragraph), ""]
        for table in section.tables:
            lines += [*_markdown_table(table), ""]
        for picture in section.pictures:
            lines += [f"![{_plain(picture.caption)}]({next(files)})", "", f"*{_plain(picture.caption)}*", ""]
    if document.footer:
        lines += ["---", "", _plain(document.footer), ""]
    return "\n".join(lines)


def _markdown_table(table: Table) -> Iterator[str]:
    head, rows, numeric = table.cells()
    if table.caption:
        yield _plain(table.caption)
        yield ""
    yield f"| {' | '.join(map(_plain, head))} |"
    yield f"| {' | '.join('---:' if right else '---' for right in numeric)} |"
    for k, row in enumerate(rows):
        cells = [_plain(cell) for cell in row]
        if k in table.strong:
            cells = [f"**{cell}**" if cell else cell for cell in cells]
        yield f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text in which nothing is markup, on one line: it may come from labels or file names."""
    for sign in "\\`*_[]<>|#~&":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
