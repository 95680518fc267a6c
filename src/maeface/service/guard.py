"""What stands between the network and the application: time limits, tokens, sizes, counts, the log.

A line of the log has the time, the method, the route, the status and the milliseconds: no address, no name of
a file, no identifier.
"""

import asyncio
import errno
import hmac
import socket
import sqlite3
import time
import traceback
from collections.abc import Mapping
from typing import Any

import h11
import uvicorn
from fastapi import HTTPException
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from maeface.errors import MaefaceError
from maeface.service import log as log_lines
from maeface.service import page_files
from maeface.service.refusals import METHODS, refuse
from maeface.service.upload import describe_too_large

OPEN = ("/health", "/ready", *page_files.PATHS)
"""Paths that need no token, and are answered under any load."""
POLLS = ("health", "ready", "metrics", "job")
"""Routes that programs ask again and again."""
GONE = 499
"""The status of a request whose client is gone, in the log and in the metrics."""
LINGER_S = 1.0
"""How long the rest of a refused body is read, so that the client sees the answer before the end."""
SEND_S = 60.0
"""A client that takes nothing of its answer for so long is given up."""
CLOSE = (b"connection", b"close")
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""The errors of a full disk."""


class Guard:
    """An ASGI application around another one, which has the values and decides who may ask.

    Args:
        app: the application.
        token: that a request has to bear; None: none.
        hosts: names by which the service is asked, without ports; None: any.
        clients: most requests at a time.
        max_bytes: {path: largest body}; other paths have none.
        registry: of the metrics.
        log: whether to show a line for each request.
        log_polls: whether also for a successful one of ``POLLS``.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        hosts: tuple[str, ...] | None,
        clients: int,
        max_bytes: Mapping[str, int],
        registry: CollectorRegistry,
        log: bool = True,
        log_polls: bool = False,
    ) -> None:
        self._app, self._hosts, self._clients = app, hosts, clients
        self._token = None if token is None else token.encode()
        self._max_bytes, self._now = max_bytes, 0
        self._log, self._log_polls = log, log_polls
        names = ("method", "route", "status")
        self._requests = Counter("maeface_requests", "Answered requests.", names, registry=registry)
        self._seconds = Histogram(
            "maeface_request_seconds", "Time to the end of the answer.", ("route",), registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        answer = _Answer(receive, send, _has_body(scope))
        self._now += 1
        try:
            await self._answer(scope, answer)
        except ClientDisconnect:
            answer.status = answer.status or GONE
        except asyncio.CancelledError:  # the service stops, and has waited long enough for requests
            answer.lingers = False
            if not answer.status:
                await refuse(HTTPException(503, "the service stops; try again"))(
                    scope, answer.receive, answer.send
                )
        except Exception as error:
            log_lines.note(f"serve: {_where(error)}")
            if not answer.status:  # else it breaks off: the client must not take it for complete
                await refuse(_excuse(error))(scope, answer.receive, answer.send)
        finally:
            self._now -= 1
            self._count(scope, answer.status or GONE, time.monotonic() - started)

    async def _answer(self, scope: Scope, answer: "_Answer") -> None:
        try:
            self._check(scope)
        except HTTPException as refused:
            await refuse(refused)(scope, answer.receive, answer.send)
            return
        await self._app(scope, answer.receive, answer.send)

    def _check(self, scope: Scope) -> None:
        """Refuse a request by its head alone.

        Raises:
            HTTPException: 400, 401, 403, 413 or 503.
        """
        headers, path = Headers(scope=scope), scope["path"]
        if "transfer-encoding" in headers and "content-length" in headers:
            raise HTTPException(400, "a request has a Content-Length or a Transfer-Encoding, not both")
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            raise HTTPException(403, "the service is not asked by this name")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise HTTPException(403, "pages of other sites may not use the service")
        if path in OPEN:
            return
        if self._token is not None:
            self._check_token(self._token, headers.getlist("authorization"))
        if self._now > self._clients:
            raise HTTPException(503, "too many requests at a time; try again", {"Retry-After": "1"})
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            raise HTTPException(400, "the Content-Length is not a number")
        if path in self._max_bytes and int(length) > self._max_bytes[path]:  # no other path reads a body
            raise HTTPException(413, describe_too_large(self._max_bytes[path]))

    def _check_token(self, token: bytes, given: list[str]) -> None:
        scheme, _, named = "".join(given[:1]).partition(" ")
        if len(given) > 1:
            says = f"expected one token, got {len(given)}; send one header 'Authorization: Bearer TOKEN'"
        elif given and scheme.lower() != "bearer":
            says = "the header does not begin with 'Bearer '; send 'Authorization: Bearer TOKEN'"
        elif not given:
            says = "no token was given; send the header 'Authorization: Bearer TOKEN'"
        elif hmac.compare_digest(named.strip().encode("latin-1"), token):
            return
        else:
            says = "this token is not the right one; ask whoever runs this service"
        raise HTTPException(401, says, {"WWW-Authenticate": "Bearer"})

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "name", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if self._log and (self._log_polls or route not in POLLS or status >= 300):
            log_lines.note(f"{method} {route} {status} {seconds * 1000:.0f} ms")


class _Answer:
    """The two channels of a request: the end of its body is noted, and slow clients are given up.

    Attributes:
        status: of the answer; 0 before it.
        lingers: whether to read on for a moment if the body has not ended when the answer has.
    """

    def __init__(self, receive: Receive, send: Send, has_body: bool) -> None:
        self._receive, self._send = receive, send
        self._is_read = not has_body
        self.status, self.lingers = 0, True

    async def receive(self) -> Message:
        """Receive a piece of the body."""
        message = await self._receive()
        self._is_read |= not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a piece of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self._is_read:
                message["headers"] = [*message["headers"], CLOSE]
        elif self.lingers and not message.get("more_body") and not self._is_read:
            await self._pass_on({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        try:
            await asyncio.wait_for(self._send(message), SEND_S)
        except TimeoutError:
            raise ClientDisconnect from None

    async def _linger(self) -> None:
        """Read the rest of the body for a moment, and forget it."""
        try:
            async with asyncio.timeout(LINGER_S):
                while not self._is_read:
                    await self.receive()
        except TimeoutError:
            pass


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _excuse(error: Exception) -> HTTPException:
    """Return the refusal for an error of the service."""
    is_full = error.errno in FULL if isinstance(error, OSError) else False
    if is_full or (isinstance(error, sqlite3.Error) and "full" in str(error)):
        return HTTPException(507, "the disk of the service is full; try again later")
    return HTTPException(500, "the service has failed")


def _name_of(host: str) -> str:
    """Return a ``Host`` without its port and brackets."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return name.strip("[]").lower()


def _where(error: Exception) -> str:
    """Return the kind of an error and its place; its message may name files."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename.rpartition('/')[2]}:{frame.lineno}"


class StoppingServer(uvicorn.Server):
    """A server that ends the films when it is told to stop, while requests are finished.

    Args:
        config: of the server; its application is one of ``app.make_app``.

    Attributes:
        error: why the service has ended by itself; None: it has not.
    """

    error: MaefaceError | None = None

    def fail(self, error: MaefaceError) -> None:
        """Stop because of an error; to be called by any thread."""
        self.error, self.should_exit = error, True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        films = self.config.app.state.service.films  # type: ignore[union-attr]
        await asyncio.gather(films.stop(), super().shutdown(sockets))
        # After a second Ctrl-C uvicorn leaves this out; workers and jobs have to end all the same.
        if self.force_exit:
            await self.lifespan.shutdown()

    async def _wait_tasks_to_complete(self) -> None:
        """Wait for requests until a second Ctrl-C; from Python 3.12 on, uvicorn does not stop then."""
        waiting = asyncio.ensure_future(super()._wait_tasks_to_complete())
        try:
            while not waiting.done() and not self.force_exit:
                await asyncio.wait({waiting}, timeout=0.1)
        finally:
            waiting.cancel()


class TimedProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, and the head of a request has to come in time.

    Attributes:
        head_s: seconds from the connection, or the last answer, to the end of the head.
    """

    head_s = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        """Wait for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_s, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request; the clock stops at the end of its head."""
        super().data_received(data)
        is_head = self.conn.their_state is h11.IDLE
        if self._timer is None and is_head:
            self._timer = self.loop.call_later(self.head_s, self._give_up)
        elif self._timer is not None and not is_head:
            self._timer.cancel()
            self._timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            head = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(head)
            self.transport.close()
