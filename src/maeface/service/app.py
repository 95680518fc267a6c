"""The application: what can be asked, and what is answered."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from maeface.errors import MaefaceError
from maeface.service import described, page_files, replies
from maeface.service.described import form_of, problems
from maeface.service.guard import Guard
from maeface.service.jobs import REPORT, TABLE
from maeface.service.kinds import FILMS, PHOTOS, VERSION
from maeface.service.photos import (
    Answer,
    FilmLength,
    PhotoRows,
    Question,
    Refused,
)
from maeface.service.refusals import add_refusals
from maeface.service.replies import csv_of, json_of, photo_of, read_table, without_values
from maeface.service.service import FilmOptions, Service
from maeface.service.settings import Settings
from maeface.service.upload import uploaded

READ_TOGETHER = 1 << 18
EXPLAINED = 3
"""Photos that are explained where none of a request can be read."""
CSV, PARQUET = "text/csv; charset=utf-8", "application/vnd.apache.parquet"
Kind = Literal["json", "csv"]
JobId = Annotated[
    str,
    InPath(
        pattern=r"^[A-Za-z0-9_-]{22}$", description="the id of the job", examples=["s3TzIo1BqLsRzl0uJ2Yx0w"]
    ),
]


class PhotoOptions(BaseModel):
    """The query of a request with photos."""

    model_config = ConfigDict(extra="forbid")
    format: Kind = Field("json", description="of the answer", examples=["csv"])


class ResultOptions(BaseModel):
    """The query of a request for a result."""

    model_config = ConfigDict(extra="forbid")
    format: Literal["json", "csv", "parquet"] = Field("json", description="of the answer", examples=["csv"])


class NoOptions(BaseModel):
    """A query without any option."""

    model_config = ConfigDict(extra="forbid")


def make_app(
    settings: Settings,
    token: str | None = None,
    hosts: tuple[str, ...] | None = None,
    log: bool = True,
    started: Callable[[MaefaceError | None], None] = lambda error: None,
) -> FastAPI:
    """Return the application.

    Args:
        settings: of the service.
        token: that each request has to bear; None: none.
        hosts: names by which the service may be asked; None: any.
        log: whether to show a line for each request.
        started: called once with None, when the first worker process has loaded its networks; and with the
            error of a device on which not even the first can start.
    """
    service = Service(settings, started)
    app = FastAPI(
        title="maeface",
        summary="Facial action units (AUs) of photos and films.",
        description="If the service has a token, each request bears it: `Authorization: Bearer TOKEN`.",
        version=version("maeface"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=service.running,
    )
    app.state.service = service
    sizes = {PHOTOS.path: settings.photo_bytes, FILMS.path: settings.film_bytes}
    app.add_middleware(
        Guard,
        token=token,
        hosts=hosts,
        clients=settings.clients,
        max_bytes=sizes,
        registry=service.registry,
        log=log,
        log_polls=settings.log_polls,
    )
    add_refusals(app)
    app.include_router(page_files.make_routes())
    app.include_router(_open_routes(service))
    for routes in (_state_routes, _photo_routes, _film_routes, _job_routes):
        app.include_router(routes(service), dependencies=[] if token is None else [described.TOKEN])
    return app


def _open_routes(service: Service) -> APIRouter:
    """Return the routes that need no token."""
    router = APIRouter(tags=["state"])
    Query_ = Annotated[NoOptions, Query()]

    @router.get("/health", responses=described.refusals(422))
    async def health(query: Query_) -> replies.Health:
        """Say that the service is alive."""
        return replies.Health()

    @router.get("/ready", responses=described.refusals(422, 503))
    async def ready(query: Query_) -> replies.Health:
        """Say whether a worker process is ready."""
        service.require_ready()
        return replies.Health()

    return router


def _state_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["state"])
    Query_ = Annotated[NoOptions, Query()]

    @router.get(f"/{VERSION}/aus", responses=problems())
    async def aus(query: Query_) -> dict[str, replies.AUTrust]:
        """Say what each action unit is, and whether to rely on it for real people."""
        return await asyncio.to_thread(lambda: service.aus)

    @router.get(
        "/metrics",
        response_class=Response,
        responses=problems() | described.texts({"text/plain": described.METRICS}),
    )
    async def metrics(query: Query_) -> Response:
        """Return counts and times for Prometheus."""
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _photo_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["photos"])
    settings = service.settings

    @router.post(
        PHOTOS.path,
        response_model=replies.Photos,
        responses=problems(408, 415, 507) | described.texts({"text/csv": described.ROWS}),
        openapi_extra=form_of("files", several=True),
    )
    async def images(request: Request, query: Annotated[PhotoOptions, Query()]) -> replies.Photos | Response:
        """Predict photos: JPEG, PNG, WebP, BMP, GIF, AVIF or HEIC, in the field ``files``, once for each."""
        service.require_ready()
        sizes = (settings.photo_bytes, settings.photos)
        async with uploaded(request, settings, PHOTOS, *sizes) as paths:
            answers = await service.ask(request, [Question(os.fspath(path), path.name) for path in paths])
        if all(isinstance(answer, Refused) for answer in answers):
            raise HTTPException(422, _describe_all(answers))
        if query.format == "csv":
            return Response(await asyncio.to_thread(_csv, answers), media_type=CSV)
        return await asyncio.to_thread(_photos, answers)

    return router


def _film_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["films"])
    settings = service.settings

    @router.post(
        FILMS.path,
        status_code=202,
        responses=problems(408, 415, 507),
        openapi_extra=form_of("file", several=False),
    )
    async def videos(
        request: Request, response: Response, query: Annotated[FilmOptions, Query()]
    ) -> replies.Job:
        """Take a film, in the field ``file``, to predict it: MP4, MOV, Matroska, WebM, AVI or MPEG."""
        if query.fps is not None and query.every != 1:
            raise HTTPException(422, f"every is {query.every} and fps is {query.fps:g}; give one of them")
        service.require_ready()
        with service.place():
            async with uploaded(request, settings, FILMS, settings.film_bytes, 1) as (path,):
                (length,) = await service.ask(request, [Question(os.fspath(path), path.name, film=True)])
                if not isinstance(length, FilmLength):
                    raise HTTPException(422, _describe(length))
                row = service.add_film(path, length, query)
        if await request.is_disconnected():  # nobody will know of the job
            await service.films.delete(row.id)
            raise ClientDisconnect
        response.headers["Location"] = "/".join(("", VERSION, "jobs", row.id))
        return service.describe(row)

    return router


def _job_routes(service: Service) -> APIRouter:
    router = APIRouter(prefix=f"/{VERSION}/jobs", tags=["films"])
    found = described.texts({"text/csv": described.ROWS})
    found[200]["content"][PARQUET] = {"schema": {"type": "string", "format": "binary"}}
    found[200]["model"] = replies.Frames

    @router.get("/{job}", responses=problems(404))
    async def job(job: JobId, query: Annotated[NoOptions, Query()]) -> replies.Job:
        """Say how far a job is."""
        return service.describe(service.find(job))

    @router.delete("/{job}", status_code=204, responses=problems(404))
    async def delete(job: JobId, query: Annotated[NoOptions, Query()]) -> None:
        """Stop a job, and delete it with its film and its results."""
        await service.films.delete(service.find(job).id)

    @router.get("/{job}/result", responses=problems(404, 409) | found)
    async def result(job: JobId, query: Annotated[ResultOptions, Query()]) -> Response:
        """Return the rows of all frames."""
        path = _finished(job, TABLE)
        if query.format == "json":
            return StreamingResponse(json_of(path), media_type="application/json")
        if query.format == "csv":
            return StreamingResponse(csv_of(read_table(path)), media_type=CSV)
        return StreamingResponse(_pieces(path), media_type=PARQUET)

    @router.get(
        "/{job}/report",
        response_class=Response,
        responses=problems(404, 409) | described.texts({"text/html": described.PAGE}),
    )
    async def report(job: JobId, query: Annotated[NoOptions, Query()]) -> Response:
        """Return the time-line of a film as a page, which plays ``film`` if it is in the same folder."""
        return StreamingResponse(
            _pieces(_finished(job, REPORT)), headers=page_files.SAFE_FRAME, media_type="text/html"
        )

    @router.get(
        "/{job}/{table}",
        response_class=Response,
        responses=problems(404, 409) | described.texts({"text/csv": described.EVENTS}),
    )
    async def table(
        job: JobId,
        table: Annotated[Literal["events", "summary", "pairs"], InPath()],
        query: Annotated[NoOptions, Query()],
    ) -> Response:
        """Return the events of a film, the summary of each person, or pairs of AUs, as CSV."""
        return StreamingResponse(_pieces(_finished(job, f"{Path(TABLE).stem}.{table}.csv")), media_type=CSV)

    def _finished(job: str, name: str) -> Path:
        row, path = service.find(job), service.jobs.path(job, name)
        if row.state == "failed":
            raise HTTPException(409, f"the job has failed, and has no results: {row.error}")
        if row.state != "done":
            raise HTTPException(409, f"the job is {row.state}; its results are there when it is done")
        if not path.is_file():
            raise HTTPException(409, "no such result")
        return path

    return router


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(READ_TOGETHER):
            yield data


def _photos(answers: Sequence[Answer]) -> replies.Photos:
    return replies.Photos(images=[_photo(number, answer) for number, answer in enumerate(answers)])


def _csv(answers: Sequence[Answer]) -> bytes:
    columns = next(answer.rows.column_names for answer in answers if isinstance(answer, PhotoRows))
    return b"".join(
        csv_of(
            answer.rows
            if isinstance(answer, PhotoRows)
            else without_values(columns, str(number), _reason(answer).reason)
            for number, answer in enumerate(answers)
        )
    )


def _photo(number: int, answer: Answer) -> replies.Photo:
    if isinstance(answer, PhotoRows):
        return photo_of(number, answer.rows)
    reason, detail = _reason(answer)
    return replies.Photo(image=number, status=reason, detail=detail, faces=[])


def _describe_all(answers: Sequence[Answer]) -> str:
    """Return why photos cannot be read; the first of several are enough for one line."""
    if len(answers) == 1:
        return _describe(answers[0])
    shown = [f"photo {number}: {_describe(answer)}" for number, answer in enumerate(answers[:EXPLAINED])]
    more = [f"{len(answers) - EXPLAINED} more"] if len(answers) > EXPLAINED else []
    return f"none of {len(answers)} photos can be read; {'; '.join([*shown, *more])}"


def _describe(answer: Answer) -> str:
    reason, detail = _reason(answer)
    return f"{reason}: {detail}" if detail else reason


def _reason(answer: Answer) -> Refused:
    assert isinstance(answer, Refused)
    return answer
