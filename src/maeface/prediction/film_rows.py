"""The rows of each film of a table, one film at a time, in little memory."""

import re
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from pathlib import Path

import pandas as pd

from maeface.analysis.timeline import NEEDED
from maeface.interchange.native import read_pieces
from maeface.prediction.columns import FACE

ROWS_TOGETHER = 16_384
"""Rows of a film that are read together."""


def columns_needed(shown: bool) -> Callable[[str], bool]:
    """Return which columns are needed of a film, of which pages and copies are made or not."""
    names = {*NEEDED, *(FACE if shown else ())}
    return lambda name: name in names or bool(re.fullmatch(r"AU\d\d(_[piLR])?", name))


def read_films(
    table: Path, films: Collection[str], needed: Callable[[str], bool]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows of some films of a table, one film at a time."""
    pieces: list[pd.DataFrame] = []
    last = ""
    for name, rows in split_by_input(read_pieces(table, ROWS_TOGETHER, needed)):
        if name != last and pieces:
            yield last, _join(pieces)
        last = name
        if name in films:
            pieces.append(_compact(rows))
    if pieces:
        yield last, _join(pieces)


def split_by_input(pieces: Iterator[pd.DataFrame]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows of each input in each piece of a table."""
    for piece in pieces:
        for name, rows in groupby(range(len(piece)), piece["input"].tolist().__getitem__):
            places = list(rows)
            yield str(name), piece.iloc[places[0] : places[-1] + 1]


def _compact(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose 0 and 1 take a byte."""
    return rows.astype({name: "Int8" for name in rows if re.fullmatch(r"AU\d\d", str(name))})


def _join(pieces: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of pieces, and empty the list."""
    rows = pd.concat(pieces, ignore_index=True)
    pieces.clear()
    return rows
