"""The API that collects the apps' routers: strict requests, answers by their schema, one description of it all."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, re_path
from django.utils.functional import cached_property
from ninja import NinjaAPI
from ninja.errors import AuthenticationError
from ninja.operation import Operation
from ninja.parser import Parser
from pydantic import TypeAdapter

from apps.common.api.pages import json_answer
from apps.common.api.problems import MEDIA_TYPE, Problem, ProblemOut, on_exception, problem_of, problem_response

ALWAYS = (401, 403, 422, 503)
JSON_FIX = "Send the header Content-Type: application/json."
View = Callable[..., HttpResponseBase]


def answers(schema: Any, *more: int, status: int = 200) -> dict[Any, Any]:
    """Return every answer an operation may give: its own, the problems that any may have, and `more` of them.

    400 stands for a body: with it comes 415.
    """
    problems = {*ALWAYS, *more, *((415,) if 400 in more else ())}
    return {status: schema, frozenset(problems): ProblemOut}


class StrictParser(Parser):
    """Reads JSON as RFC 8259 has it: no NaN, no text that is not UTF-8."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Return the body's value."""
        return msgspec.json.decode(request.body)


class Api(NinjaAPI):
    """Routers of apps under one address. `entrance` finds out who asks, for what has no operation of its own."""

    def __init__(self, entrance: Callable[[HttpRequest], Any], **more: Any) -> None:
        super().__init__(
            parser=StrictParser(), docs_url=None, docs_decorator=self._for_known, urls_namespace="api", **more
        )
        self.entrance = entrance
        self.add_decorator(strict, mode="operation")
        for error in list(self._exception_handlers):
            self._exception_handlers[error] = on_exception

    def get_openapi_schema(self, **more: Any) -> Any:
        """Return the description of the API; made once."""
        return self._description

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Return the name of an operation for programs that are made from the description."""
        return operation.view_func.__name__

    @cached_property
    def _description(self) -> Any:
        found = super().get_openapi_schema()
        for operation in (one for path in found["paths"].values() for one in path.values()):
            for status, answer in operation["responses"].items():
                content = answer.get("content", {})
                if int(status) >= 400 and "application/json" in content:
                    content[MEDIA_TYPE] = content.pop("application/json")
            for parameter in operation["parameters"]:
                parameter["schema"] = _without_null(parameter["schema"])
        return found

    def _get_urls(self) -> list[Any]:
        found = super()._get_urls()
        found.append(re_path(r"^.*$", self._for_known(_nothing), name="nothing"))
        for pattern in found:
            if isinstance(pattern, URLPattern):
                guarded = self._for_known(_nothing) if pattern.name == "api-root" else pattern.callback
                pattern.callback = door(guarded)
        return found

    def _for_known(self, view: View) -> View:
        @functools.wraps(view)
        def known(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not self.entrance(request):
                raise AuthenticationError
            return view(request, *args, **kwargs)

        return known


def door(view: View) -> View:
    """Make a view of the API: no redirect to a sign-in page, and every error as a problem."""

    @functools.wraps(view)
    def entered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            answer = view(request, *args, **kwargs)
        except Exception as error:
            return problem_response(problem_of(error))
        if answer.status_code == 405:
            allowed = answer.headers.get("Allow", "")
            return problem_response(
                Problem(405, f"This address takes {allowed}, not {request.method}.", headers={"Allow": allowed})
            )
        return answer

    entered.login_required = False  # type: ignore[attr-defined]
    entered.csrf_exempt = True  # type: ignore[attr-defined]
    return entered


def strict(view: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse unknown query fields, and answer by the operation's own schema: what does not fit it does not leave."""
    operation: Operation = view._ninja_operation  # type: ignore[attr-defined]
    known = frozenset(_query_names(operation))
    status = next(code for code in operation.response_models if code < 400)
    takes_body = any(model.__ninja_param_source__ == "body" for model in operation.models)
    adapter: TypeAdapter[Any] = TypeAdapter(operation.response_models[status].model_fields["response"].annotation)

    @functools.wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        unknown = sorted(set(request.GET) - known)
        if unknown:
            fix = f"leave it out; there are: {', '.join(sorted(known)) or 'none'}"
            raise Problem(422, f"{unknown[0]} is unknown here.", field=unknown[0], fix=fix)
        if takes_body and request.content_type != "application/json":
            raise Problem(415, f"This takes JSON, not {request.content_type[:80]!r}.", fix=JSON_FIX)
        value = view(request, *args, **kwargs)
        if isinstance(value, HttpResponseBase):  # JSON already, by the database
            return value
        return json_answer(adapter.dump_json(adapter.validate_python(value)), status)

    return checked


def _query_names(operation: Operation) -> Iterable[str]:
    for model in operation.models:
        if model.__ninja_param_source__ == "query":
            yield from getattr(model, "__ninja_flatten_map__", {})


def _nothing(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    raise Http404


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a query field's schema without null, which no query can say: such a field is left out instead."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name not in ("anyOf", "default")}, **kinds[0]}
