"""Reads of the API under ASGI, on threads that stay: each keeps its connection to the database.

Django gives every request a thread of its own, and with it a new connection; at hundreds of reads a second the database
would do little else than greet. Only reads with a token come here, and they need none of the pages' middlewares: no
session, no form, no message. What acts, the kill switch above all, never waits for a lane.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from io import BytesIO
from typing import Any

from django.core import signals
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.db import connection
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

LANES = 4
WAITING = 256  # more at once are told to come again

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class ReadHandler(BaseHandler):
    """Django's handler without middlewares; what a view raises is answered all the same."""

    def load_middleware(self, is_async: bool = False) -> None:
        """Put nothing before the view."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = convert_exception_to_response(self._checked)

    def _checked(self, request: Any) -> HttpResponseBase:
        request.get_host()  # a host that is none of ours is refused, as the pages' middleware does
        return self._get_response(request)


class Lanes:
    """An ASGI application: reads with a token under `prefix` on lanes of its own, everything else by `inner`."""

    def __init__(self, inner: Callable[[Scope, Receive, Send], Awaitable[None]], prefix: str) -> None:
        self.inner, self.prefix = inner, prefix
        self.handler = ReadHandler()
        self.handler.load_middleware()
        self.threads = ThreadPoolExecutor(LANES, thread_name_prefix="api-lane")
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a read; hand on what is none."""
        if not self._is_ours(scope):
            await self.inner(scope, receive, send)
            return
        if self.waiting >= WAITING:
            await _send(send, 503, [(b"retry-after", b"1"), (b"content-type", b"application/problem+json")], BUSY)
            return
        self.waiting += 1
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self.threads, self._answer, scope)
        finally:
            self.waiting -= 1
        await _send(send, *answer)

    def _is_ours(self, scope: Scope) -> bool:
        is_read = scope["method"] == "GET" and scope["path"].startswith(self.prefix)
        return is_read and any(name == b"authorization" for name, _ in scope["headers"])

    def _answer(self, scope: Scope) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Answer a request on this thread; once more where its connection turned out to be dead."""
        response = self._once(scope)
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            connection.close()
            response = self._once(scope)
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
        return response.status_code, headers, response.content

    def _once(self, scope: Scope) -> HttpResponse:
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=type(self), scope=scope)
        connection.health_check_done = True  # a question more for each; `_answer` asks again instead
        try:
            response: Any = self.handler.get_response(ASGIRequest(scope, BytesIO()))
        except UnicodeDecodeError:
            response = HttpResponse(status=400)
        response.close()  # sends `request_finished`: old connections are closed
        return response


BUSY = (
    b'{"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "Too many reads wait already.", '
    b'"field": null, "fix": "Ask fewer at once.", "errors": []}'
)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
