"""Write a report as GitHub's Markdown; its pictures are files in ``document.PICTURES``."""

from collections.abc import Iterator

from maeface.report.document import Document, Table

MARKUP = "\\`*_[]<>|#~&"


def render(document: Document) -> str:
    """Return a report as Markdown; all text is escaped."""
    pictures = iter([path for path, _ in document.pictures()])
    lines = [f"# {_escape(document.title)}", ""]
    for warning in document.warnings:
        lines += [f"> **{_escape(warning)}**", ">"]
    lines += [""] if document.warnings else []
    for paragraph in document.lead:
        lines += [_escape(paragraph), ""]
    for section in document.sections:
        lines += [f"## {_escape(section.title)}", ""]
        for paragraph in section.paragraphs:
            lines += [_escape(paragraph), ""]
        for table in section.tables:
            lines += [*_table(table), ""]
        for picture in section.pictures:
            caption = _escape(picture.caption)
            lines += [f"![{caption}]({next(pictures)})", "", f"*{caption}*", ""]
    if document.footer:
        lines += ["---", "", _escape(document.footer), ""]
    return "\n".join(lines)


def _table(table: Table) -> Iterator[str]:
    head, rows, numeric = table.cells()
    if table.caption:
        yield _escape(table.caption)
        yield ""
    yield f"| {' | '.join(map(_escape, head))} |"
    yield f"| {' | '.join('---:' if number else '---' for number in numeric)} |"
    for k, row in enumerate(rows):
        cells = [_escape(cell) for cell in row]
        if k in table.strong:
            cells = [f"**{cell}**" if cell else cell for cell in cells]
        yield f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """Return text on one line with all markup escaped."""
    for sign in MARKUP:
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
