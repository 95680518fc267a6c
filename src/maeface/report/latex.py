"""Write a report as LaTeX with booktabs tables, for pdfLaTeX, XeLaTeX and LuaLaTeX."""

import unicodedata

from maeface.report.document import Document, Table

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
"""Number of columns from which a table is set in a smaller font."""
LONG = 40
"""Rows that fit a page; a longer table is split."""


def render(document: Document) -> str:
    """Return a whole LaTeX document; its pictures are files in ``document.PICTURES``."""
    pictures = iter([path for path, _ in document.pictures()])
    blocks = [HEAD, rf"\section*{{{escape(document.title)}}}"]
    blocks += [rf"\textbf{{{escape(warning)}}}" + "\n" for warning in document.warnings]
    blocks += [escape(paragraph) + "\n" for paragraph in document.lead]
    for section in document.sections:
        blocks.append(rf"\subsection*{{{escape(section.title)}}}")
        blocks += [escape(paragraph) + "\n" for paragraph in section.paragraphs]
        for table in section.tables:
            blocks += _pages(table)
        for picture in section.pictures:
            size = r"width=\linewidth,height=0.6\textheight,keepaspectratio"
            blocks.append(
                "\\begin{center}\n"
                rf"\includegraphics[{size}]{{{next(pictures)}}}\\{{\small {escape(picture.caption)}}}"
                "\n\\end{center}\n"
            )
    if document.footer:
        blocks.append(rf"\bigskip{{\footnotesize {escape(document.footer)}}}")
    return "\n".join([*blocks, "\\end{document}", ""])


def tabular(table: Table, start: int = 0, stop: int | None = None) -> str:
    """Return rows ``start`` to ``stop`` of a table as a booktabs ``tabular``."""
    head, rows, numeric = table.cells()
    alignment = "".join("r" if number else "l" for number in numeric)
    lines = [rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}"]
    lines += [r"\toprule", " & ".join(map(escape, head)) + r" \\", r"\midrule"]
    for k, row in list(enumerate(rows))[start:stop]:
        cells = [escape(cell) for cell in row]
        if k in table.strong:
            cells = [rf"\textbf{{{cell}}}" if cell else cell for cell in cells]
        # LaTeX would read a bracket at the start of a row as the distance to the row above.
        lines.append(("{}" if cells and cells[0].startswith("[") else "") + " & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _pages(table: Table) -> list[str]:
    """Return a table with its caption, split into pieces that fit a page."""
    wide = len(table.data.columns) >= WIDE
    pieces = []
    for start in range(0, max(1, len(table.data)), LONG):
        caption = table.caption + (" (continued)" if start else "")
        lines = [r"\begin{center}"]
        lines += [rf"{{\small {escape(caption)}}}\\[3pt]"] if caption else []
        lines += [r"\footnotesize\setlength{\tabcolsep}{3pt}" if wide else r"\small"]
        pieces.append("\n".join([*lines, tabular(table, start, start + LONG), r"\end{center}", ""]))
    return pieces


def escape(text: str) -> str:
    """Return text with all LaTeX markup escaped; characters beyond Latin script become their code points."""
    joined = "".join(SIGNS.get(sign) or _letter(sign) for sign in text.replace("--", "-\u200b-"))
    return joined.replace("\u200b", "{}")  # LaTeX would set two hyphens as a dash


def _letter(sign: str) -> str:
    if sign == "\u200b":
        return sign
    if sign.isascii():
        return sign if sign.isprintable() else " "
    if ord(sign) < 0x180 and unicodedata.category(sign)[0] == "L":
        return sign
    return f"U+{ord(sign):04X}"
