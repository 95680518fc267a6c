"""Latency of ``maeface serve``: many clients on this machine send one photo again and again.

The table has the times of answers with values, from the connection to the last byte, and counts the others by
their status. Clients that are told to come again (503) wait as ``Retry-After`` says; that is part of no time.

    uv run python benchmarks/serve.py [PHOTO] [--clients 1 200] [--seconds 60]
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import maeface

PHOTO = Path(maeface.__file__).parent / "au_pictures" / "AU12.jpg"
HEADER = "| clients | photos/s | p50 | p95 | p99 | answers | errors |\n|---|---|---|---|---|---|---|"
HEAD = (
    "POST /v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=xx\r\n"
    "Content-Length: {}\r\n\r\n"
)
PART = b'--xx\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'


async def ask(port: int, request: bytes) -> tuple[int, float]:
    """Send a request on a connection of its own; return the status and the seconds to wait."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        await reader.readexactly(length)
    finally:
        writer.close()
    again = re.search(rb"retry-after: (\d+)", head)
    return int(head.split()[1]), float(again[1]) if again else 0.0


async def client(port: int, request: bytes, end: float, times: list[float], errors: Counter[str]) -> None:
    """Send requests until the end."""
    while (begun := time.monotonic()) < end:
        wait = 0.1
        try:
            status, wait = await ask(port, request)
        except (OSError, EOFError) as error:
            errors[type(error).__name__] += 1
        else:
            if status == 200:
                times.append(time.monotonic() - begun)
            else:
                errors[str(status)] += 1
        await asyncio.sleep(max(0, min(wait, end - time.monotonic())))


async def load(
    port: int, request: bytes, clients: int, seconds: float
) -> tuple[list[float], Counter[str], float]:
    """Send requests from many clients; return the times, the errors and the seconds to the last answer."""
    times: list[float] = []
    errors: Counter[str] = Counter()
    begun = time.monotonic()
    await asyncio.gather(*(client(port, request, begun + seconds, times, errors) for _ in range(clients)))
    return times, errors, time.monotonic() - begun


def measure(port: int, request: bytes, clients: int, seconds: float) -> str:
    """Return a row of the table."""
    times, errors, took_s = asyncio.run(load(port, request, clients, seconds))
    cells = [f"{value * 1000:.0f} ms" for value in np.percentile(times, (50, 95, 99))] if times else ["-"] * 3
    counts = ", ".join(f"{count} x {name}" for name, count in sorted(errors.items())) or "none"
    return " | ".join(
        ["", str(clients), f"{len(times) / took_s:.1f}", *cells, str(len(times)), counts, ""]
    ).strip()


def wait_for(service: subprocess.Popen[bytes], log: Path) -> int:
    """Return the port of a service when it is ready."""
    while not (found := re.search(r"^ready: http://127\.0\.0\.1:(\d+) ", log.read_text(), re.M)):
        if service.poll() is not None:
            sys.exit(f"maeface serve did not start: {log.read_text()}")
        time.sleep(0.1)
    return int(found[1])


def main() -> None:
    """Start a service, send requests, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path, nargs="?", default=PHOTO, help="default: a rendered face")
    parser.add_argument(
        "--clients", type=int, nargs="+", default=[1, 200], help="at a time; a row for each number"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="in which requests begin")
    given = parser.parse_args()
    body = PART + given.photo.read_bytes() + b"\r\n--xx--\r\n"
    request = HEAD.format(len(body)).encode() + body
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "maeface", "serve", "--port", "0", "--folder", f"{folder}/data"]
        with log.open("wb") as file, subprocess.Popen(command, stderr=file) as service:
            try:
                port = wait_for(service, log)
                if (status := asyncio.run(ask(port, request))[0]) != 200:  # the first one is slower
                    sys.exit(f"{given.photo} was answered with {status}; expected a photo that can be read")
                print(HEADER)
                for clients in given.clients:
                    print(measure(port, request, clients, given.seconds), flush=True)
            finally:
                service.terminate()
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")


if __name__ == "__main__":
    main()
