"""Options of ``maeface serve`` alone."""

from pathlib import Path
from typing import Annotated

import typer

from maeface import checks, files
from maeface.options import OUTPUT, SPEED

ACCESS, LIMITS = "Access", "Limits"
"""Groups of options in the help."""

Host = Annotated[
    str,
    typer.Option(
        help="Address to listen on. One that others reach needs --token-file or --no-token.",
        rich_help_panel=ACCESS,
    ),
]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.", rich_help_panel=ACCESS)
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="File with a token. Each request then needs the header 'Authorization: Bearer TOKEN'.",
        rich_help_panel=ACCESS,
    ),
]
NoToken = Annotated[
    bool,
    typer.Option(
        "--no-token",
        help="Need no token, whatever the address: anyone who reaches it may use it.",
        rich_help_panel=ACCESS,
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="Folder for uploads, results and the list of jobs. Default: 'serve' in maeface's cache folder.",
        rich_help_panel=OUTPUT,
    ),
]
Keep = Annotated[
    float,
    typer.Option(max=8760, help="Delete results so many hours after they are done.", rich_help_panel=OUTPUT),
]
LogPolls = Annotated[
    bool,
    typer.Option(
        "--log-polls",
        help="Log also successful requests for /health, /ready, /metrics and the state of a job.",
        rich_help_panel=OUTPUT,
    ),
]
MaxPhotosMB = Annotated[
    float,
    typer.Option("--max-photos-mb", help="Largest request with photos, in MB.", rich_help_panel=LIMITS),
]
MaxFilmMB = Annotated[
    float, typer.Option("--max-film-mb", help="Largest request with a film, in MB.", rich_help_panel=LIMITS)
]
MaxPixels = Annotated[
    float,
    typer.Option(
        "--max-pixels", max=100, help="Largest photo, in millions of pixels.", rich_help_panel=LIMITS
    ),
]
MaxSeconds = Annotated[
    float, typer.Option("--max-seconds", help="Longest film, in seconds.", rich_help_panel=LIMITS)
]
PhotoQueue = Annotated[
    int, typer.Option("--queue", min=1, help="Most photos that wait.", rich_help_panel=LIMITS)
]
FilmQueue = Annotated[
    int, typer.Option("--jobs", min=1, help="Most films that wait or are received.", rich_help_panel=LIMITS)
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="|".join(checks.DEVICES),
        help="Device of a worker process; repeat it for several. Default: the GPU if there is one.",
        rich_help_panel=SPEED,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Number of processes for each film. Default: one for each CPU core; on a GPU: up to four.",
        rich_help_panel=SPEED,
    ),
]


def find_folder() -> Path:
    """Return the folder of uploads and jobs where the user names none."""
    return files.cache_folder() / "serve"
