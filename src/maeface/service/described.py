"""What the description of the service, ``/openapi.json``, says beyond the types of its functions."""

from collections.abc import Mapping
from typing import Any

from fastapi import Depends
from fastapi.security import HTTPBearer

from maeface.service import replies

Responses = dict[int | str, dict[str, Any]]

TOKEN = Depends(HTTPBearer(auto_error=False, description="the token of --token-file"))
"""Describes that a route needs a token; ``guard`` asks for it, before any route is chosen."""
ALWAYS = (400, 401, 403, 413, 422, 503)
EXAMPLES = {
    400: "the body is not well-formed multipart/form-data",
    401: "no token was given; send the header 'Authorization: Bearer TOKEN'",
    403: "pages of other sites may not use the service",
    404: "no such job",
    408: "the body comes too slowly",
    409: "the job is running; its results are there when it is done",
    413: "the body is too large; expected at most 64 MB",
    415: "compressed bodies are not read; send the file as it is",
    422: "unknown parameter 'formt'; did you mean format?",
    503: "too many photos wait; try again",
    507: "the disk of the service is full; try again later",
}
"""A line of each refusal."""
ROWS = "input,frame,time_s,face,track,status\n0,0,0.0,0,,ok\n"
EVENTS = "input,track,au,event\nfilm,0,AU12,0\n"
METRICS = 'maeface_requests_total{method="GET",route="aus",status="200"} 1.0\n'
PAGE = "<!doctype html>"
"""The beginnings of answers that are no JSON, the first columns of tables only."""


def problems(*codes: int) -> Responses:
    """Return the refusals of a route: these, and those of every route but ``/health`` and ``/ready``."""
    return refusals(*ALWAYS, *codes)


def refusals(*codes: int) -> Responses:
    """Return refusals, each with an example."""
    return {
        code: {
            "model": replies.Problem,
            "content": {"application/json": {"example": {"detail": EXAMPLES[code]}}},
        }
        for code in codes
    }


def texts(examples: Mapping[str, str]) -> Responses:
    """Return the answers of a route that are no JSON: kind of the content -> an example."""
    return {
        200: {"content": {k: {"schema": {"type": "string"}, "example": one} for k, one in examples.items()}}
    }


def form_of(field: str, several: bool) -> dict[str, Any]:
    """Return the documentation of a form with files."""
    one = {"type": "string", "format": "binary"}
    many = {"type": "array", "items": one, "minItems": 1}
    schema = {
        "type": "object",
        "required": [field],
        "properties": {field: many if several else one},
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
