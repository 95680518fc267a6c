"""Latency of ``maeface serve``: many clients on this machine send one photo again and again.

Clients that are told to come again (503) wait as ``Retry-After`` says, and that is part of no latency.

    uv run python benchmarks/serve.py PHOTO [--clients 200] [--seconds 60]
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


async def client(port: int, request: bytes, end: float, times: list[float], statuses: Counter[str]) -> None:
    """Send requests until the end."""
    while (begun := time.monotonic()) < end:
        try:
            status, wait = await ask(port, request)
        except (OSError, asyncio.IncompleteReadError) as error:
            statuses[type(error).__name__] += 1
            await asyncio.sleep(0.1)
            continue
        statuses[str(status)] += 1
        if status == 200:
            times.append(time.monotonic() - begun)
        await asyncio.sleep(wait)


async def load(port: int, request: bytes, clients: int, seconds: float) -> tuple[list[float], Counter[str]]:
    """Send requests from many clients."""
    times: list[float] = []
    statuses: Counter[str] = Counter()
    end = time.monotonic() + seconds
    await asyncio.gather(*(client(port, request, end, times, statuses) for _ in range(clients)))
    return times, statuses


def main() -> None:
    """Start a service, send requests, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 200])
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    body = PART + given.photo.read_bytes() + b"\r\n--xx--\r\n"
    request = HEAD.format(len(body)).encode() + body
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "maeface", "serve", "--port", "0", "--folder", f"{folder}/data"]
        with log.open("wb") as file, subprocess.Popen(command, stderr=file) as service:
            try:
                while not (found := re.search(r"http://127.0.0.1:(\d+)\n", log.read_text())):
                    time.sleep(0.1)
                port = int(found[1])
                print("| clients | photos/s | median | 95 % | 99 % | answers |\n|---|---|---|---|---|---|")
                while asyncio.run(ask(port, request))[0] != 200:
                    time.sleep(0.2)
                for clients in given.clients:
                    times, statuses = asyncio.run(load(port, request, clients, given.seconds))
                    ms = np.percentile(times, [50, 95, 99]) * 1000 if times else [np.nan] * 3
                    cells = " | ".join(f"{value:.0f} ms" for value in ms)
                    rate, all_ = (
                        len(times) / given.seconds,
                        ", ".join(f"{n} x {s}" for s, n in statuses.items()),
                    )
                    print(f"| {clients} | {rate:.1f} | {cells} | {all_} |", flush=True)
            finally:
                service.terminate()
    print(f"load average before the end: {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")


if __name__ == "__main__":
    main()
