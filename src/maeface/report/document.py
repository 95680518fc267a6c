"""The content of a report, which ``html``, ``markdown`` and ``latex`` write: text, tables and pictures."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

PICTURES = "figures"
"""Folder beside the report with the pictures that Markdown and LaTeX include."""


@dataclass(frozen=True)
class Picture:
    """A picture and its caption, which is also its alternative text."""

    image: Image.Image
    caption: str


@dataclass(frozen=True)
class Table:
    """A table and its caption. The index is the first column if it has a name.

    Attributes:
        data: its cells.
        caption: the line above it.
        decimals: of floating-point numbers.
        strong: positions of rows in bold type.
    """

    data: pd.DataFrame
    caption: str = ""
    decimals: int = 3
    strong: frozenset[int] = frozenset()

    def cells(self) -> tuple[list[str], list[list[str]], list[bool]]:
        """Return the names of the columns, the rows as text, and which columns hold numbers."""
        data = self.data if self.data.index.name is None else self.data.reset_index()
        rows = [
            [_text(value, self.decimals) for value in row] for row in data.itertuples(index=False, name=None)
        ]
        numeric = [
            pd.api.types.is_numeric_dtype(dtype) or _are_numbers([row[k] for row in rows])
            for k, dtype in enumerate(data.dtypes)
        ]
        return [str(name) for name in data.columns], rows, numeric


@dataclass(frozen=True)
class Section:
    """A section of a report: paragraphs of plain text, then tables, then pictures."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Document:
    """A report. All text is plain: the writers escape it, because it may come from file names or labels.

    Attributes:
        title: the heading.
        sections: in order.
        lead: paragraphs below the heading.
        warnings: paragraphs in a box above the lead.
        footer: a last line, such as versions.
    """

    title: str
    sections: Sequence[Section]
    lead: Sequence[str] = ()
    warnings: Sequence[str] = ()
    footer: str = ""

    def pictures(self) -> Iterator[tuple[str, Picture]]:
        """Yield each picture with the path, relative to the report, that Markdown and LaTeX use."""
        for s, section in enumerate(self.sections, start=1):
            for p, picture in enumerate(section.pictures, start=1):
                yield f"{PICTURES}/{s:02d}-{p}.png", picture


def _are_numbers(column: Sequence[str]) -> bool:
    """Return whether all cells of a column of text are numbers, and not all are missing."""
    return all(re.fullmatch(r"-?[\d,.]+%?|–", text) for text in column) and any(set(column) - {"–"})


def _text(value: object, decimals: int) -> str:
    if value is None or value is pd.NA or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        return "–"
    return f"{value:.{decimals}f}" if isinstance(value, (float, np.floating)) else str(value)
