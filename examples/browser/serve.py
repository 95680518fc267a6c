"""Serve this folder at http://localhost:8800, with headers that let the page use several threads.

python serve.py [PORT]
"""

import sys
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORT = 8800
"""Not 8000, where `maeface serve` listens: both can run."""


class Handler(SimpleHTTPRequestHandler):
    """Files of this folder, with two more headers."""

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - as the base class
        super().__init__(*args, directory=str(Path(__file__).parent))

    def end_headers(self) -> None:
        """Add the headers."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else PORT
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        sys.exit(f"cannot listen on port {port} ({error.strerror}); give another: python serve.py {port + 1}")
    with server, suppress(KeyboardInterrupt):
        print(f"http://localhost:{server.server_port}", flush=True)
        server.serve_forever()
