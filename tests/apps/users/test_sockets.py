"""Who may open a socket: by session, and by the signed cookie alone while PostgreSQL is stopped."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from channels.routing import ProtocolTypeRouter
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connections
from django.http import HttpResponse
from django.utils.module_loading import import_string

from apps.common.consumers import HubConsumer
from apps.common.hub.core import hub_current
from apps.users import identity, sockets
from apps.users.models import User

pytestmark = pytest.mark.django_db(transaction=True)
HOST = [(b"host", b"127.0.0.1:8800"), (b"origin", b"http://127.0.0.1:8800")]
BACKEND = "django.contrib.auth.backends.ModelBackend"


def cookies_for(person: User) -> dict[str, str]:
    """Sign a person in; return what their browser holds then."""
    session = SessionStore()
    session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(person.pk), BACKEND
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.save()
    response = HttpResponse()
    identity.identity_write(response, person, secure=False)
    return {
        settings.SESSION_COOKIE_NAME: str(session.session_key),
        identity.COOKIE: response.cookies[identity.COOKIE].value,
    }


def page(cookies: dict[str, str]) -> WebsocketCommunicator:
    """Return a page's socket with these cookies."""
    line = "; ".join(f"{name}={value}" for name, value in cookies.items()).encode()
    application = ProtocolTypeRouter({"websocket": sockets.PersonMiddleware(HubConsumer.as_asgi())})
    return WebsocketCommunicator(application, "/ws/", headers=[*HOST, (b"cookie", line)])


@pytest.fixture
async def hub():
    yield hub_current()
    await hub_current().close()


@pytest.fixture
def gone(monkeypatch):
    """Return a switch: `down()` leads every question to where nobody listens, `up()` back again."""
    place = connections["default"].settings_dict
    kept = dict(place)

    def lead(**where: str) -> None:
        place.update(kept | where)
        sockets._threads.submit(connections.close_all).result(10)  # a thread keeps the connection it has

    monkeypatch.setattr(sockets, "_threads", ThreadPoolExecutor(1))
    yield SimpleNamespace(down=lambda: lead(HOST="127.0.0.1", PORT="1"), up=lead)
    lead()
    sockets._threads.shutdown()


async def test_the_session_opens_the_socket_and_the_cookie_alone_does_not(hub, people):
    cookies = await asyncio.to_thread(cookies_for, people["viewer"])
    opened = page(cookies)
    assert (await opened.connect(10))[0]
    await opened.disconnect()
    del cookies[settings.SESSION_COOKIE_NAME]
    assert await page(cookies).connect(10) == (False, 4401)  # signed out elsewhere: the database says so, and decides


async def test_with_the_database_gone_the_signed_cookie_opens_it_for_what_its_role_allows(hub, people, gone):
    cookies = await asyncio.to_thread(cookies_for, people["viewer"])
    gone.down()
    opened = page(cookies)
    assert (await opened.connect(10))[0]
    client = next(iter(hub.room.clients))
    assert (client.user.id, client.user.role) == (people["viewer"].pk, "viewer")
    await opened.disconnect()
    forged = cookies | {identity.COOKIE: cookies[identity.COOKIE][:-2] + "xx"}
    assert await page(forged).connect(10) == (False, 4401)
    assert await page({settings.SESSION_COOKIE_NAME: cookies[settings.SESSION_COOKIE_NAME]}).connect(10) == (
        False,
        4401,
    )


async def test_a_database_that_says_nothing_is_waited_for_no_longer_than_a_moment(hub, people, monkeypatch):
    cookies = await asyncio.to_thread(cookies_for, people["trader"])
    frozen = asyncio.Event()
    monkeypatch.setattr(sockets, "ANSWER_S", 0.1)
    monkeypatch.setattr(sockets, "person_stored", _frozen(frozen))
    opened = page(cookies)
    assert (await opened.connect(10))[0]
    assert next(iter(hub.room.clients)).user.role == "trader"
    await opened.disconnect()


def _frozen(until: asyncio.Event):
    async def ask(_cookies):
        async with asyncio.timeout(sockets.ANSWER_S):
            await until.wait()

    return ask


async def test_who_is_still_known_keeps_the_socket_when_the_database_is_back(hub, people, gone, monkeypatch):
    monkeypatch.setattr(sockets, "AGAIN_S", 0.05)
    cookies = await asyncio.to_thread(cookies_for, people["trader"])
    gone.down()
    opened = page(cookies)
    assert (await opened.connect(10))[0]
    gone.up()
    assert await opened.receive_nothing(1.0)
    await opened.disconnect()


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"is_active": False}])
async def test_who_may_less_by_then_loses_the_socket_when_the_database_is_back(hub, people, gone, monkeypatch, change):
    monkeypatch.setattr(sockets, "AGAIN_S", 0.05)
    cookies = await asyncio.to_thread(cookies_for, people["trader"])
    await User.objects.filter(pk=people["trader"].pk).aupdate(**change)
    gone.down()
    opened = page(cookies)
    assert (await opened.connect(10))[0]
    gone.up()
    assert await opened.receive_output(10) == {"type": "websocket.close", "code": 4401}
    await opened.disconnect()


def routes() -> list[str]:
    """Every socket that the web process serves."""
    patterns = [*import_string(settings.WEBSOCKET_URLPATTERNS), *import_string("trader.api.sockets")]
    return [f"/{one.pattern}" for one in patterns]


@pytest.mark.parametrize("route", routes())
async def test_no_socket_says_anything_to_the_unknown(hub, route):
    application = import_string(settings.ASGI_APPLICATION)
    socket = WebsocketCommunicator(application, route, headers=HOST)
    accepted, _ = await socket.connect(10)
    if accepted:
        await socket.send_to('{"op":"sub","topics":["signals"]}')
        assert (await socket.receive_output(15))["type"] == "websocket.close"
    await socket.disconnect()
