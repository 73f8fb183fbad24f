"""Who opens a socket: the session's person; while the database does not answer, whom the signed cookie names.

Somebody let in by cookie alone is asked for again until the database answers: who was switched off, has signed out
or has another role by then loses the socket.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.http import HttpRequest, parse_cookie

from apps.users.identity import identity_read

ANSWER_S = 2.0  # a database that is frozen says nothing at all
AGAIN_S = 5.0
THREADS = 4
SIGNED_OUT = 4401

logger = logging.getLogger(__name__)
# Threads of its own: a question that a frozen database does not answer must not keep pages waiting.
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="socket-person")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[Any]]


class PersonMiddleware:
    """Puts the person into a socket's scope as `user`; None when nobody is known."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> Any:
        """Find the person, then hand the socket on."""
        cookies = cookies_of(scope)
        try:
            person = await person_stored(cookies)
        except (DatabaseError, InterfaceError, TimeoutError) as error:
            person = identity_read(cookies)
            logger.warning("a socket asks while the database is gone (%s): the cookie says %s", error, person)
            return await self._by_cookie(person, cookies, scope, receive, send)
        return await self.inner({**scope, "user": person}, receive, send)

    async def _by_cookie(
        self, person: Any, cookies: Mapping[str, str], scope: dict[str, Any], receive: Receive, send: Send
    ) -> Any:
        watch = asyncio.create_task(_close_unless_confirmed(person, cookies, send))
        try:
            return await self.inner({**scope, "user": person}, receive, send)
        finally:
            watch.cancel()


def cookies_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the cookies that a socket came with."""
    lines = [value.decode("latin-1") for name, value in scope.get("headers", []) if name == b"cookie"]
    return dict(parse_cookie("; ".join(lines)))


async def person_stored(cookies: Mapping[str, str]) -> Any:
    """Return the session's person as the database has them; raises when it does not answer in time."""
    async with asyncio.timeout(ANSWER_S):
        return await asyncio.get_running_loop().run_in_executor(_threads, _person, dict(cookies))


def _person(cookies: dict[str, str]) -> Any:
    close_old_connections()
    try:
        request = HttpRequest()
        request.session = SessionStore(cookies.get(settings.SESSION_COOKIE_NAME))
        person = get_user(request)
        return person if person.is_authenticated and person.is_active else None
    finally:
        close_old_connections()


async def _close_unless_confirmed(person: Any, cookies: Mapping[str, str], send: Send) -> None:
    while True:
        await asyncio.sleep(AGAIN_S)
        try:
            found = await person_stored(cookies)
        except (DatabaseError, InterfaceError, TimeoutError):
            continue
        if found is None or (found.pk, found.role) != (getattr(person, "id", None), getattr(person, "role", "")):
            logger.warning("a socket that was let in by cookie alone is closed: the database knows better")
            await send({"type": "websocket.close", "code": SIGNED_OUT})
        return
