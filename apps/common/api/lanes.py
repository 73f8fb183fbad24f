"""Reads of the API under ASGI, on threads that stay: each keeps its connection to the database.

Django gives every request a thread of its own, and with it a new connection; at hundreds of reads a second the database
would do little else than greet. Only reads come here. What acts, the kill switch above all, never waits for a lane.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

from django.core import signals
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.http import HttpResponse
from django.urls import set_script_prefix

LANES = 4
WAITING = 256  # more at once are told to come again

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Lanes:
    """An ASGI application: reads under `prefix` on lanes of its own, everything else by `inner`."""

    def __init__(self, inner: Callable[[Scope, Receive, Send], Awaitable[None]], prefix: str) -> None:
        self.inner, self.prefix = inner, prefix
        self.handler = BaseHandler()
        self.handler.load_middleware(is_async=False)
        self.threads = ThreadPoolExecutor(LANES, thread_name_prefix="api-lane")
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a read; hand on what is none."""
        if scope["method"] != "GET" or not scope["path"].startswith(self.prefix):
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

    def _answer(self, scope: Scope) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Run Django's whole chain for a request, in one go on this thread."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=type(self), scope=scope)
        try:
            response = self.handler.get_response(ASGIRequest(scope, BytesIO()))
        except UnicodeDecodeError:
            response = HttpResponse(status=400)
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
        headers += [(b"Set-Cookie", morsel.output(header="").strip().encode()) for morsel in response.cookies.values()]
        body = response.getvalue() if response.streaming else response.content
        response.close()  # sends `request_finished`: old connections are closed
        return response.status_code, headers, body


BUSY = (
    b'{"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "Too many reads wait already.", '
    b'"field": null, "fix": "Ask fewer at once.", "errors": []}'
)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
