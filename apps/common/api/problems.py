"""Errors of the API: RFC 9457 `application/problem+json`, with the field that is wrong and what to do."""

import logging
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from ninja.errors import AuthenticationError, HttpError, ValidationError
from pydantic import Field

from apps.common.api.fields import Out

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
RETRY_S = "5"


class FieldProblem(Out):
    """One field that is wrong, and what it must be."""

    field: str
    fix: str


class ProblemOut(Out):
    """Why a request was not done. `field` names what is wrong in it, `fix` says what to do."""

    type: str = Field("about:blank", description="Always about:blank: the status says the kind.")
    title: str
    status: int
    detail: str
    field: str | None
    fix: str | None
    errors: list[FieldProblem] = Field(description="Every wrong field, where there are several.")


class Problem(Exception):
    """A request that is not done: status, what is wrong in words, the field, and the fix."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        field: str | None = None,
        fix: str | None = None,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.field, self.fix = status, detail, field, fix
        self.errors = list(errors) or ([(field, fix or detail)] if field else [])
        self.headers = dict(headers or {})


def problem_response(problem: Problem) -> HttpResponse:
    """Return the answer that tells a problem."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "field": problem.field,
        "fix": problem.fix,
        "errors": [{"field": field, "fix": fix} for field, fix in problem.errors],
    }
    headers = {**HEADERS, **problem.headers}
    return HttpResponse(msgspec.json.encode(body), status=problem.status, content_type=MEDIA_TYPE, headers=headers)


def problem_of(error: Exception) -> Problem:
    """Return what an exception means to a client; one that is a fault of ours gets an id for the logs."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ValidationError):
        return _of_fields(error.errors)
    if isinstance(error, Http404):
        return Problem(404, "There is nothing at this address.", fix="See /api/v1/openapi.json for what there is.")
    if isinstance(error, AuthenticationError):
        return unauthorised(
            "This takes a token.", "Send `Authorization: Bearer …`; `manage.py token create` makes one."
        )
    if isinstance(error, HttpError):
        fix = "Send one JSON object in UTF-8, without NaN." if error.status_code == HTTPStatus.BAD_REQUEST else None
        return Problem(error.status_code, f"{error.message.rstrip('.')}.", fix=fix)
    if isinstance(error, OperationalError | InterfaceError):
        logger.warning("an API request is answered with 503: %s", error)
        return Problem(
            503,
            "The database does not answer.",
            fix="Try again in a moment. Engaging the kill switch works without it.",
            headers={"Retry-After": RETRY_S},
        )
    identifier = uuid.uuid4().hex[:8]
    logger.error("API request broke: id %s", identifier, exc_info=error)
    return Problem(500, "A fault of ours, not of your input.", fix=f"Look {identifier} up in the web process's log.")


def unauthorised(detail: str, fix: str) -> Problem:
    """Return the problem of someone whom no token names."""
    return Problem(401, detail, fix=fix, headers={"WWW-Authenticate": 'Bearer realm="quarterdeck"'})


def on_exception(request: HttpRequest, error: Any) -> HttpResponse:
    """Answer any exception of a view."""
    return problem_response(problem_of(error))


def _of_fields(errors: Sequence[Mapping[str, Any]]) -> Problem:
    found = [(_field(error["loc"]), _words(error)) for error in errors]
    field, fix = found[0]
    return Problem(422, f"{field}: {fix}.", field=field, fix=fix, errors=found)


def _field(place: Sequence[Any]) -> str:
    """Return a field's name as the client knows it: `parameters.window`, not `body.payload.parameters.window`."""
    source, *path = place
    if source == "body":
        path = path[1:]  # without the name of the view's argument
    elif source != "body" and path:
        path = path[-1:]
    return ".".join(str(part) for part in path if part != "[key]") or str(source)


def _words(error: Mapping[str, Any]) -> str:
    kind = error["type"]
    if kind == "missing":
        return "is missing: give it"
    if kind == "extra_forbidden":
        return "is unknown: leave it out"
    return str(error["msg"]).removeprefix("Value error, ").rstrip(".")
