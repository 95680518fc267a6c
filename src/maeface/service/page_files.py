"""The files of the page, and the headers under which browsers show them."""

from importlib import resources
from pathlib import Path

from fastapi import APIRouter, Response

FRAME = "frame.html"
"""The file of the page that shows the report of a film."""
_PARTS = ("page.css", "page.js", "service.js", "faces.js", "film.js", "camera.js", FRAME)
PATHS = {"/": "index.html", **{f"/{name}": name for name in _PARTS}}
"""The files of the page, which shows nothing by itself."""
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src blob:; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of the page: it loads nothing from elsewhere, and stands in no other page."""
SAFE_FRAME = SAFE | {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
    "sandbox allow-scripts"
}
"""Headers of a film's report, and of the frame that shows it: it can neither load nor ask for anything.

The report itself names the scripts that may run.
"""


def make_routes() -> APIRouter:
    """Return the routes of the page."""
    router = APIRouter(include_in_schema=False)
    folder = resources.files("maeface.service") / "page"

    def add(path: str, name: str) -> None:
        content = (folder / name).read_bytes()
        kind = KINDS[Path(name).suffix]

        @router.get(path, name="page")
        async def page() -> Response:
            return Response(content, headers=SAFE_FRAME if name == FRAME else SAFE, media_type=kind)

    for path, name in PATHS.items():
        add(path, name)
    return router
