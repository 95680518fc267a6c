"""Serve this folder at http://localhost:8000, with the headers that let the page compute in several threads."""

import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, *rest):
        super().__init__(*rest, directory=Path(__file__).parent)

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
    print(f"http://localhost:{server.server_port}", flush=True)
    server.serve_forever()
