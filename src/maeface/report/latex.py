"""A report as LaTeX: tables of booktabs, every sign escaped; pdfLaTeX, XeLaTeX and LuaLaTeX read it."""

import unicodedata

from maeface.report.document import Document
from maeface.report.page import Table

HEAD = r"""% Needs booktabs, graphicx and geometry. A tabular can be copied into a paper as it stands.
\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[a4paper,landscape,margin=18mm]{geometry}
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt}
\begin{document}
"""
SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "−": "$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "→": r"$\rightarrow$",
    "·": r"$\cdot$",
    "\u00a0": "~",
}
WIDE = 12
"""Columns from which a table is set smaller, to fit the page."""
LONG = 40
"""Rows that a page holds; a longer table goes on in another one."""


def latex(document: Document) -> str:
    """A whole document; pictures are files in ``document.PICTURES`` beside it."""
    files = iter([path for path, _ in document.pictures()])
    parts = [HEAD, rf"\section*{{{escape(document.title)}}}"]
    parts += [rf"\textbf{{{escape(warning)}}}" + "\n" for warning in document.warnings]
    parts += [escape(paragraph) + "\n" for paragraph in document.lead]
    for section in document.sections:
        parts.append(rf"\subsection*{{{escape(section.title)}}}")
        parts += [escape(paragraph) + "\n" for paragraph in section.paragraphs]
        for table in section.tables:
            parts += _tabulars(table)
        for picture in section.pictures:
            size = r"width=\linewidth,height=0.6\textheight,keepaspectratio"
            parts.append(
                "\\begin{center}\n"
                rf"\includegraphics[{size}]{{{next(files)}}}\\{{\small {escape(picture.caption)}}}"
                "\n\\end{center}\n"
            )
    if document.footer:
        parts.append(rf"\bigskip{{\footnotesize {escape(document.footer)}}}")
    return "\n".join([*parts, "\\end{document}", ""])


def tabular(table: Table, start: int = 0, stop: int | None = None) -> str:
    """Rows ``start`` to ``stop`` of a table as a booktabs ``tabular``."""
    head, rows, numeric = table.cells()
    lines = [rf"\begin{{tabular}}{{@{{}}{''.join('r' if right else 'l' for right in numeric)}@{{}}}}"]
    lines += [r"\toprule", " & ".join(map(escape, head)) + r" \\", r"\midrule"]
    for k, row in list(enumerate(rows))[start:stop]:
        cells = [escape(cell) for cell in row]
        if k in table.strong:
            cells = [rf"\textbf{{{cell}}}" if cell else cell for cell in cells]
        # A row that begins with a bracket would be read as the distance after the row above it.
        lines.append(("{}" if cells and cells[0].startswith("[") else "") + " & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _tabulars(table: Table) -> list[str]:
    """A table in pieces that fit a page, with its caption."""
    wide = len(table.data.columns) >= WIDE
    made = []
    for start in range(0, max(1, len(table.data)), LONG):
        caption = table.caption + (" (continued)" if start else "")
        lines = [r"\begin{center}"]
        lines += [rf"{{\small {escape(caption)}}}\\[3pt]"] if caption else []
        lines += [r"\footnotesize\setlength{\tabcolsep}{3pt}" if wide else r"\small"]
        made.append("\n".join([*lines, tabular(table, start, start + LONG), r"\end{center}", ""]))
    return made


def escape(text: str) -> str:
    """Text as LaTeX sets it; a sign beyond Latin script is written as its code point."""
    whole = "".join(SIGNS.get(sign) or _letter(sign) for sign in text.replace("--", "-\u200b-"))
    return whole.replace("\u200b", "{}")  # two hyphens would be set as a dash


def _letter(sign: str) -> str:
    if sign == "\u200b":
        return sign
    if sign.isascii():
        return sign if sign.isprintable() else " "
    if ord(sign) < 0x180 and unicodedata.category(sign)[0] == "L":
        return sign
    return f"U+{ord(sign):04X}"
