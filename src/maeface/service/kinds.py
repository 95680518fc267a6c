"""Where photos and films are sent, and what is said of a file that is at the wrong place, or is neither."""

import codecs
from pathlib import Path
from typing import NamedTuple

from maeface.faces.formats import HEAD_BYTES, MediaError, Signature, detect_format

VERSION = "v1"
WRONG = ("not_an_image", "refused_format", "no_video")
"""Reasons why a file is of the wrong kind; see ``media``."""


class Place(NamedTuple):
    """A route that takes files.

    Attributes:
        path: of the route.
        field: of the form, in which the files are.
        what: it takes.
        formats: that are read.
    """

    path: str
    field: str
    what: str
    formats: str


PHOTOS = Place(f"/{VERSION}/images", "files", "photo", "JPEG, PNG, WebP, BMP, GIF, AVIF or HEIC")
FILMS = Place(f"/{VERSION}/videos", "file", "film", "MP4, MOV, Matroska, WebM, AVI or MPEG")
UNKNOWN = "of no known format"
_OTHERS = (
    Signature(0, b"PK\x03\x04", "a ZIP archive, or an office document"),
    Signature(0, b"\x1f\x8b", "a gzip archive"),
    Signature(0, b"ID3", "sound (MP3)"),
    Signature(8, b"WAVE", "sound (WAV)"),
    Signature(0, b"fLaC", "sound (FLAC)"),
)


def other_place(place: Place) -> Place:
    """Return the place for films for that of photos, and the reverse."""
    return FILMS if place is PHOTOS else PHOTOS


def explain(error: MediaError, path: Path, place: Place) -> str:
    """Return what is wrong with a file: its kind and where to send it, or else the error's own explanation.

    Args:
        error: that reading it has raised.
        path: of the file.
        place: where it was sent to.
    """
    if error.reason not in WRONG:
        return error.detail
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:  # the client is gone, and its file with it
        return error.detail
    right, (kind, name) = other_place(place), detect_format(head)
    if kind == ("video" if place is PHOTOS else "image"):
        shown = f" ({name.upper()})" if kind == "image" else ""
        return f"this is a {right.what}{shown}; send it to {right.path}, in the field '{right.field}'"
    if kind in ("image", "video"):  # the right kind, but not as it should be
        return error.detail
    found = f"this is {name if kind == 'refused' else _describe(head)}"
    return f"{found}; expected a {place.what} as {place.formats}; a {right.what} goes to {right.path}"


def _describe(head: bytes) -> str:
    """Return what a file is that is neither a photo nor a film, as far as its first bytes say."""
    for one in _OTHERS:
        if head[one.offset :].startswith(one.mark):
            return one.name
    try:
        text, _ = codecs.utf_8_decode(head, "strict", False)  # the last character may be cut
    except UnicodeDecodeError:
        return UNKNOWN
    return "text" if all(one.isprintable() or one.isspace() for one in text) else UNKNOWN
