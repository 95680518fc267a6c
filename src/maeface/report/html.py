"""Write a report as one HTML file: pictures are included, nothing is loaded from elsewhere, no script."""

import base64
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from maeface.report.document import Document, Picture, Section, Table
from maeface.report.figures import png

TEMPLATE = "report.html.jinja"
SCREEN_DPI = 96


def render(document: Document) -> str:
    """Return a report as one HTML page; all text is escaped."""
    environment = Environment(
        loader=PackageLoader("maeface", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        title=document.title,
        lead=document.lead,
        warnings=document.warnings,
        sections=[_section(section) for section in document.sections],
        footer=document.footer,
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
        "head": [_Cell(name, number) for name, number in zip(head, numeric, strict=True)],
        "rows": [
            {
                "cells": [_Cell(text, number) for text, number in zip(row, numeric, strict=True)],
                "strong": k in table.strong,
            }
            for k, row in enumerate(rows)
        ],
    }


def _picture(picture: Picture) -> dict[str, object]:
    dpi = picture.image.info.get("dpi", (SCREEN_DPI,))[0]  # charts have more pixels than the screen shows
    return {
        "source": "data:image/png;base64," + base64.b64encode(png(picture.image)).decode(),
        "width": round(picture.image.width * SCREEN_DPI / dpi),
        "caption": picture.caption,
    }
