"""A report as one HTML file that opens by itself: pictures inside, nothing fetched, no script."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from maeface.report.figures import png

SCREEN_DPI = 96


@dataclass(frozen=True)
class Picture:
    """A picture and the line below it, which also stands for it where it cannot be seen."""

    image: Image.Image
    caption: str


@dataclass(frozen=True)
class Table:
    """A table and the line above it. The index is the first column if it has a name.

    Attributes:
        data: its cells.
        caption: the line above it.
        decimals: of numbers that are not whole.
        strong: rows to set off, by their place.
    """

    data: pd.DataFrame
    caption: str = ""
    decimals: int = 3
    strong: frozenset[int] = frozenset()

    def cells(self) -> tuple[list[str], list[list[str]], list[bool]]:
        """Column names, the text of every cell row by row, and which columns hold numbers."""
        data = self.data if self.data.index.name is None else self.data.reset_index()
        rows = [
            [_text(value, self.decimals) for value in row] for row in data.itertuples(index=False, name=None)
        ]
        numeric = [
            pd.api.types.is_numeric_dtype(dtype) or _numbers([row[k] for row in rows])
            for k, dtype in enumerate(data.dtypes)
        ]
        return [str(name) for name in data.columns], rows, numeric


@dataclass(frozen=True)
class Section:
    """A part of the page: paragraphs of plain text, then tables, then pictures."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


def page(
    title: str,
    sections: Sequence[Section],
    lead: Sequence[str] = (),
    footer: str = "",
    warnings: Sequence[str] = (),
) -> str:
    """One self-contained HTML page. All text is escaped; it may come from file names or labels.

    Args:
        title: the heading.
        sections: the parts, in order.
        lead: paragraphs below the heading.
        footer: a last line: versions, settings.
        warnings: what nobody may miss, in a box above everything else.
    """
    environment = Environment(
        loader=PackageLoader("maeface", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        title=title,
        lead=lead,
        warnings=warnings,
        sections=[_section(section) for section in sections],
        footer=footer,
    )


class _Cell(NamedTuple):
    text: str
    number: bool


def _section(section: Section) -> dict[str, object]:
    return {
        "title": section.title,
        "paragraphs": section.paragraphs,
        "tables": [_table(table) for table in section.tables],
        "pictures": [_picture(picture) for picture in section.pictures],
    }


def _table(table: Table) -> dict[str, object]:
    head, rows, numeric = table.cells()
    return {
        "caption": table.caption,
        "head": [_Cell(name, right) for name, right in zip(head, numeric, strict=True)],
        "rows": [
            {
                "cells": [_Cell(text, right) for text, right in zip(row, numeric, strict=True)],
                "strong": k in table.strong,
            }
            for k, row in enumerate(rows)
        ],
    }


def _numbers(column: Sequence[str]) -> bool:
    """Whether text is numbers throughout, however they are written."""
    return all(re.fullmatch(r"-?[\d,.]+%?|–", text) for text in column) and any(set(column) - {"–"})


def _text(value: object, decimals: int) -> str:
    if value is None or value is pd.NA or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        return "–"
    return f"{value:.{decimals}f}" if isinstance(value, (float, np.floating)) else str(value)


def _picture(picture: Picture) -> dict[str, object]:
    dpi = picture.image.info.get("dpi", (SCREEN_DPI,))[0]  # charts are drawn finer than they are shown
    return {
        "source": "data:image/png;base64," + base64.b64encode(png(picture.image)).decode(),
        "width": round(picture.image.width * SCREEN_DPI / dpi),
        "caption": picture.caption,
    }
