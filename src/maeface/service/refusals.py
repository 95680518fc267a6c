"""Refusals of paths, methods and options that there are not, each in one line."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as RoutingError
from starlette.routing import Match

from maeface import checks

METHODS = ("GET", "POST", "DELETE")
SHOWN = 40
"""Characters of what a client has sent that are shown to it."""
KINDS = {"integer": "a whole number", "number": "a number", "string": "text"}


def add_refusals(app: FastAPI) -> None:
    """Let an application refuse in plain words what its routes do not take."""

    def refuse_options(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return refuse(_in_path(first) if first["loc"][0] == "path" else _in_query(app, request, first))

    def refuse_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, RoutingError)
        if isinstance(error, HTTPException):  # a route has raised it
            return refuse(error)
        path = quote(request.url.path)
        if error.status_code == 404:
            return refuse(HTTPException(404, f"no such path: {path}; /openapi.json describes all paths"))
        methods = ", ".join(_methods(app, request))
        line = f"{quote(request.method)} is not possible here; expected {methods}"
        return refuse(HTTPException(error.status_code, line, {"Allow": methods}))

    app.add_exception_handler(RequestValidationError, refuse_options)
    app.add_exception_handler(RoutingError, refuse_route)


def refuse(error: HTTPException) -> JSONResponse:
    """Return the answer for a refusal."""
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def quote(given: object) -> str:
    """Return what a client has sent, in quotes and not too long."""
    text = str(given)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Return the methods that a path has."""
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    return [
        name
        for name, scope in scopes.items()
        if any(one.matches(scope)[0] is Match.FULL for one in app.routes)
    ]


def _in_path(error: Mapping[str, Any]) -> HTTPException:
    """Return the refusal of a part of a path; what it could be instead is no secret, unless it is an id."""
    name, expected = error["loc"][-1], error.get("ctx", {}).get("expected")
    return HTTPException(404, f"no such {name}" + (f"; expected {expected}" if expected else ""))


def _in_query(app: FastAPI, request: Request, error: Mapping[str, Any]) -> HTTPException:
    """Return the refusal of a parameter; what is expected is read from the application's own description."""
    operation = app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = {one["name"]: one["schema"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    name = str(error["loc"][-1])
    if name in known:
        return HTTPException(422, f"{name} is {quote(error['input'])}; expected {_expected(known[name])}")
    near = checks.find_nearest(name, known)
    advice = f"did you mean {near}?" if near else f"expected {' or '.join(known) or 'none'}"
    return HTTPException(422, f"unknown parameter {quote(name)}; {advice}")


def _expected(schema: Mapping[str, Any]) -> str:
    """Return what the schema of a parameter allows, in words."""
    one = schema.get("anyOf", [schema])[0]  # the other is that it may be left out
    if "enum" in one:
        return " or ".join(", ".join(one["enum"]).rsplit(", ", 1))
    return f"{KINDS[one['type']]}, {one['minimum']:.10g} to {one['maximum']:.10g}"
