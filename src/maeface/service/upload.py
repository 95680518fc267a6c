"""Uploads: the files of a multipart body, written to disk as they come.

Names that a client gives to files are not used for anything.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from fastapi import HTTPException, Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from maeface.service.kinds import Place, other_place
from maeface.service.refusals import quote
from maeface.service.settings import MB, Settings

BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
"""As RFC 2046 allows it."""
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it would log bytes of malformed forms
SLOWEST = 10_000
"""Bytes a second that a client has to send, in the mean."""
WRITTEN_TOGETHER = 1 << 18


@asynccontextmanager
async def uploaded(
    request: Request, settings: Settings, place: Place, max_bytes: int, max_files: int
) -> AsyncIterator[list[Path]]:
    """Yield the files of a request in a temporary folder, which is removed at the end.

    Args:
        request: its body is ``multipart/form-data``.
        settings: of the service.
        place: what is received.
        max_bytes: of the whole body.
        max_files: of the body.

    Raises:
        HTTPException: 400, 408, 413, 415 or 422.
        OSError: the disk is full.
        ClientDisconnect: the client is gone.
    """
    boundary = _boundary(request, place)
    with TemporaryDirectory(dir=settings.folder, prefix="upload-", ignore_cleanup_errors=True) as folder:
        form = _Form(Path(folder), boundary, place, max_files)
        try:
            async for data in _receive(request, settings.slow_s, max_bytes):
                form.parser.write(data)
                if form.unwritten >= WRITTEN_TOGETHER:
                    await asyncio.to_thread(form.write)
            form.parser.finalize()
            await asyncio.to_thread(form.write)
        except MultipartParseError:
            raise HTTPException(400, "the body is not well-formed multipart/form-data") from None
        finally:
            form.close()
        if not form.is_complete:
            raise HTTPException(400, "the body ends before the multipart/form-data does")
        if not form.paths:
            raise HTTPException(422, f"the form has no file; {_show(place)}")
        yield form.paths


def _show(place: Place) -> str:
    """Return how to send a file to a place."""
    return f"send a {place.what} in the field '{place.field}', as curl does: -F {place.field}=@FILE"


def _boundary(request: Request, place: Place) -> bytes:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "compressed bodies are not read; send the file as it is")
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        found = quote(kind.decode("latin-1")) if kind else "no Content-Type"
        raise HTTPException(415, f"expected multipart/form-data, got {found}; {_show(place)}")
    boundary = parameters.get(b"boundary", b"")
    if not BOUNDARY.fullmatch(boundary):
        raise HTTPException(400, "the boundary of the multipart/form-data is missing or is not allowed")
    return boundary


async def _receive(request: Request, slow_s: float, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body; a client that is slower than ``SLOWEST`` after ``slow_s`` is given up."""
    started, received = time.monotonic(), 0
    while True:
        left = started + slow_s + received / SLOWEST - time.monotonic()
        try:
            message = await asyncio.wait_for(request.receive(), max(left, 0))
        except TimeoutError:
            raise HTTPException(408, "the body comes too slowly") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise HTTPException(413, describe_too_large(max_bytes))
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


def describe_too_large(max_bytes: int) -> str:
    """Return the message for a body that is too large."""
    return f"the body is too large; expected at most {max_bytes / MB:g} MB"


class _Form:
    """What a parser has found of a form.

    Attributes:
        parser: to be fed with the body.
        paths: of the files, in order.
        unwritten: bytes that are to be written.
        is_complete: whether the form has ended.
    """

    def __init__(self, folder: Path, boundary: bytes, place: Place, max_files: int) -> None:
        self._folder, self._place, self._max_files = folder, place, max_files
        self._header, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._pieces: list[tuple[Path, bytes]] = []
        self._open: tuple[Path, BinaryIO] | None = None
        self.paths: list[Path] = []
        self.unwritten, self.is_complete = 0, False
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add,
                "on_end": self._end,
            },
        )

    def _begin(self) -> None:
        self._disposition = b""

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"name", b"").decode(errors="replace")
        if name != self._place.field:
            raise HTTPException(422, self._describe_other(name))
        if len(self.paths) == self._max_files:
            what = "one file" if self._max_files == 1 else f"at most {self._max_files} files"
            raise HTTPException(413, f"the form has too many files; expected {what}")
        self.paths.append(self._folder / str(len(self.paths)))
        self._pieces.append((self.paths[-1], b""))  # the file may have no bytes

    def _describe_other(self, name: str) -> str:
        """Return what to do instead of giving a field that the form has not."""
        place, other = self._place, other_place(self._place)
        if name == other.field:
            advice = f"; a {other.what} goes to {other.path}"
        else:
            advice = ", and options in the query (?name=value)"
        return f"the form has the field {quote(name)}; expected a {place.what} in '{place.field}'{advice}"

    def _add(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append((self.paths[-1], data[start:end]))
        self.unwritten += end - start

    def _end(self) -> None:
        self.is_complete = True

    def write(self) -> None:
        """Write what has come; to be called in a thread."""
        pieces, self._pieces, self.unwritten = self._pieces, [], 0
        for path, data in pieces:
            self._file(path).write(data)
        if self._open is not None:
            self._open[1].flush()

    def _file(self, path: Path) -> BinaryIO:
        if self._open is None or self._open[0] != path:
            self.close()
            self._open = path, path.open("wb")
        return self._open[1]

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            with suppress(OSError):
                self._open[1].close()
            self._open = None
