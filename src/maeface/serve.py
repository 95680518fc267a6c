"""``maeface serve``: photos and films over HTTP to tables of action units.

It listens on this machine only, unless it is told otherwise. Nobody but who starts it chooses what is loaded:
there is no request for that.
"""

import logging
import os
import socket
import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from maeface import checks, console, files, portable
from maeface.errors import ConfigError, MaefaceError, ResourceError, install_command
from maeface.faces.detector_weights import locate_detector_weights, source_of
from maeface.model.arrays import load_arrays
from maeface.model.zoo import find
from maeface.paths import StrPath, to_path
from maeface.service.settings import Settings as Settings

if TYPE_CHECKING:
    from maeface.service.guard import StoppingServer

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
LOCAL = ("localhost", "127.0.0.1", "::1")
LEAST_TOKEN = 16
"""Characters of the shortest token."""
BACKLOG = 1024
"""Connections that wait to be accepted."""
STOP_S = 5
"""Seconds that requests may need to end after SIGTERM."""


def run(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: StrPath | None = None,
    no_token: bool = False,
    log: bool = True,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        settings: what predicts, and the limits.
        host: address to listen on.
        port: number of the port; 0: any that is free.
        token_file: file with the token that each request has to bear.
        no_token: listen on another address than this machine's own without a token.
        log: whether to show a line for each request.

    Raises:
        ConfigError: a wrong option, or an address that others reach without a token.
        WeightsError: the weights are missing or damaged.
        ResourceError: the extra ``serve`` is not installed, a device is not there, the folder is in use, or
            the port is; or the weights of the face detector cannot be downloaded.
    """
    token_file = to_path(token_file)
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ResourceError(
            f"maeface serve needs {', '.join(missing)}; install it: {install_command('serve')}"
        )
    for name in settings.device:
        checks.require_device(name)
    if token_file is not None and no_token:
        raise ConfigError(f"give {checks.name_of('token_file')} or {checks.name_of('no_token')}, not both")
    token = None if token_file is None else read_token(token_file)
    if host not in LOCAL and token is None and not no_token:
        raise ConfigError(
            f"{checks.name_of('host')} {host} is reached by others; give {checks.name_of('token_file')}, or "
            f"{checks.name_of('no_token')} if something else keeps them out"
        )
    from maeface.service.app import make_app

    weights, folder = find(settings.weights).absolute(), make_folder(settings.folder)
    load_arrays(weights)  # what is wrong with them is said here, not by each process
    with files.lock(folder):  # a message before the start; the application does the same again
        check_jobs(folder)
    with open_socket(host, port) as opened:
        detector = source_of(locate_detector_weights("mobilenet0.25", settings.detector))
        settings = settings.model_copy(update={"weights": weights, "folder": folder, "detector": detector})
        hosts = None if token is not None or no_token else LOCAL
        shown = f"[{host}]" if ":" in host else host
        ready = f"ready: http://{shown}:{opened.getsockname()[1]} (Ctrl-C stops it)"
        console.note("maeface serve: loading the networks")

        def started(error: MaefaceError | None) -> None:
            if error is None:
                console.note(ready)
            else:
                server.fail(error)

        server = _make_server(make_app(settings, token, hosts, log, started))
        server.run(sockets=[opened])
    if server.error is not None:
        raise server.error


def read_token(path: Path) -> str:
    """Return the token of a file, without spaces around it.

    Raises:
        ConfigError: the file cannot be read, others can read it, or it holds no token.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
        private = portable.is_private(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "expected ASCII text"
        raise ConfigError(f"cannot read {checks.name_of('token_file')} {path}: {reason}") from error
    if not private:
        raise ConfigError(f"others can read {path}; make it yours alone: chmod 600 {path}")
    if len(text) < LEAST_TOKEN or not text.isprintable() or " " in text:
        raise ConfigError(
            f"{path} holds no token of {LEAST_TOKEN} characters or more without spaces; make one: "
            f"openssl rand -hex 32 > {path}"
        )
    return text


def make_folder(folder: Path) -> Path:
    """Return the absolute path of a folder that only its owner may read, which is created if necessary.

    Raises:
        ConfigError: it is there, and others can read it.
        ResourceError: it cannot be created.
    """
    checks.require_writable_folders(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot create {folder}: {error.strerror}") from error
    if not portable.is_private(folder):
        raise ConfigError(
            f"others can open {folder}; make it yours alone (chmod 700 {folder}), or name a new folder"
        )
    return folder.absolute()


def check_jobs(folder: Path) -> None:
    """Check that the list of jobs of a folder can be opened.

    Raises:
        ResourceError: it is damaged, of another version, or on a full disk.
    """
    from maeface.service.jobs import FILE, Jobs

    try:
        Jobs(folder, 0).close()
    except sqlite3.Error as error:
        raise ResourceError(
            f"cannot open the list of jobs, {folder / FILE}: {error}; move it away, or give another "
            f"{checks.name_of('folder')}"
        ) from error


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address of this machine; who comes early waits in its queue.

    Raises:
        ResourceError: the address is not this machine's, or its port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise ResourceError(f"cannot listen on {host}, port {port}: {reason}") from error
    return opened


def _make_server(app: object) -> "StoppingServer":
    import uvicorn

    from maeface.service.guard import StoppingServer, TimedProtocol
    from maeface.service.log import Lines

    logging.basicConfig(handlers=[Lines()], level=logging.WARNING)
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=TimedProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=1 << 14,
        backlog=BACKLOG,
    )
    return StoppingServer(config)
