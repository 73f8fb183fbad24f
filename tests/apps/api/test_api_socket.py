"""The socket of programs: who may open it, and that no message is missed or doubled, whenever it comes back."""

import asyncio
import contextlib
from datetime import timedelta

import pytest
from channels.testing import WebsocketCommunicator
from django.utils import timezone

from apps.common.hub.core import hub_current
from apps.common.models import Outbox
from apps.common.relay import Relay
from apps.common.residents import ResidentContext
from apps.users import log_socket, tokens
from apps.users.models import ApiToken, Scope, User
from apps.users.services import api_token_create, api_token_revoke
from tests.apps.common.conftest import bus, clean_bus
from tests.apps.common.hub_samples import note_write

__all__ = ["bus", "clean_bus"]
pytestmark = pytest.mark.django_db(transaction=True)
HOST = (b"host", b"127.0.0.1:8800")
NOTES = "test.notes"


class Lease:
    """A lease for a relay that is alone."""

    superseded = False

    def report(self, **_):
        pass


@pytest.fixture
async def hub(bus):
    context = ResidentContext(Lease(), bus, None, asyncio.get_running_loop())
    relay = asyncio.create_task(Relay("main", context).run())
    yield hub_current()
    context.stop.set()
    await asyncio.wait_for(relay, 5)
    await hub_current().close()


async def token_new(person: User, *scopes: str, **more) -> tuple[ApiToken, str]:
    wanted = scopes or (Scope.READ,)
    return await asyncio.to_thread(
        lambda: api_token_create(user=person, name="follower", scopes=wanted, by="test", **more)
    )


def opened(*headers: tuple[bytes, bytes]) -> WebsocketCommunicator:
    from trader.asgi import application

    return WebsocketCommunicator(application, "/api/v1/log/", headers=[HOST, *headers])


def bearer(token: str) -> tuple[bytes, bytes]:
    return (b"authorization", f"Bearer {token}".encode())


async def write(first: int, last: int) -> None:
    for number in range(first, last + 1):
        await asyncio.to_thread(note_write, number, f"note {number}")


class Follower:
    """A program that keeps what it hears, and the numbers it heard it under."""

    def __init__(self, socket: WebsocketCommunicator) -> None:
        self.socket = socket
        self.numbers: list[int] = []
        self.frames: list[dict] = []

    async def ask(self, **words) -> None:
        await self.socket.send_json_to(words)

    async def hear(self, kind: str, count: int = 1) -> list[dict]:
        """Return once `count` frames of a kind are there."""
        async with asyncio.timeout(15):
            while len([frame for frame in self.frames if frame["k"] == kind]) < count:
                found = await self.socket.receive_json_from(15)
                for frame in found if isinstance(found, list) else [found]:
                    assert "html" not in frame
                    self.frames.append(frame)
                    if frame["k"] == "log":
                        self.numbers.append(frame["n"])
        return [frame for frame in self.frames if frame["k"] == kind]


async def follow(token: str) -> Follower:
    socket = opened(bearer(token))
    assert (await socket.connect(10))[0]
    return Follower(socket)


async def closing(socket: WebsocketCommunicator) -> int:
    async with asyncio.timeout(15):
        while (frame := await socket.receive_output(15))["type"] != "websocket.close":
            pass
    return int(frame["code"])


async def test_a_token_in_the_header_opens_it_and_messages_come_with_their_numbers(hub, people):
    _, token = await token_new(people["viewer"])
    program = await follow(token)
    await program.ask(op="sub", topics=[NOTES])
    (snapshot,) = await program.hear("snap")
    assert (snapshot["t"], snapshot["n"], snapshot["v"]) == (NOTES, 0, [])
    await write(1, 3)
    found = await program.hear("log", 3)
    assert program.numbers == [1, 2, 3]
    assert found[0]["v"]["text"] == "note 1"
    await program.socket.disconnect()


async def test_a_token_in_the_first_frame_opens_it_too(hub, people):
    _, token = await token_new(people["viewer"])
    program = Follower(opened())
    assert (await program.socket.connect(10))[0]
    await program.ask(op="auth", token=token)
    await program.ask(op="sub", topics=[NOTES])
    assert (await program.hear("snap"))[0]["t"] == NOTES
    await program.socket.disconnect()


async def test_whoever_comes_back_gets_every_message_behind_its_number_once(hub, people, monkeypatch):
    monkeypatch.setattr(log_socket, "PAGE", 7)  # several pages of the outbox
    _, token = await token_new(people["viewer"])
    await write(1, 40)
    program = await follow(token)
    await program.ask(op="sub", topics=[NOTES], since={NOTES: 12})
    more = asyncio.create_task(write(41, 60))
    await program.hear("log", 48)
    await more
    assert program.numbers == list(range(13, 61))
    assert not [frame for frame in program.frames if frame["k"] == "snap"]
    await program.socket.disconnect()


async def test_from_the_beginning_of_what_is_kept_and_what_is_gone_is_said(hub, people):
    _, token = await token_new(people["viewer"])
    await write(1, 6)
    async with asyncio.timeout(10):  # the relay has handed all on
        while await hub.room.redis.xlen("qd:log:" + NOTES) < 6:
            await asyncio.sleep(0.02)
    await Outbox.objects.filter(topic=NOTES, n__lte=2).adelete()
    program = await follow(token)
    await program.ask(op="sub", topics=[NOTES], since={NOTES: 0})
    await program.hear("log", 4)
    assert program.numbers == [3, 4, 5, 6]
    assert [frame for frame in program.frames if frame["k"] == "gap"] == [
        {"k": "gap", "t": NOTES, "after": 0, "next": 3}
    ]
    await program.socket.disconnect()


async def test_topics_that_are_none_or_no_log_are_refused_with_the_reason(hub, people):
    _, token = await token_new(people["viewer"])
    program = await follow(token)
    await program.ask(op="sub", topics=["nothing", "test.price.1"])
    found = {frame["t"]: frame["why"] for frame in await program.hear("refused", 2)}
    assert "no topic" in found["nothing"]
    assert "log topics" in found["test.price.1"]
    await program.socket.disconnect()


async def test_unsubscribed_it_hears_no_more(hub, people):
    _, token = await token_new(people["viewer"])
    program = await follow(token)
    await program.ask(op="sub", topics=[NOTES])
    await program.hear("snap")
    await program.ask(op="unsub", topics=[NOTES])
    async with asyncio.timeout(10):
        while hub.logs.feeds:
            await asyncio.sleep(0.02)
    await write(1, 1)
    assert await program.socket.receive_nothing(0.5)
    await program.socket.disconnect()


@pytest.mark.parametrize("origin", [b"https://evil.example", b"null"])
async def test_a_foreign_origin_is_refused_whatever_the_token(hub, people, origin):
    _, token = await token_new(people["viewer"])
    assert await opened(bearer(token), (b"origin", origin)).connect(10) == (False, 4403)
    own = opened(bearer(token), (b"origin", b"http://127.0.0.1:8800"))
    assert (await own.connect(10))[0]
    await own.disconnect()


@pytest.mark.parametrize("text", ["", "qd_x", "qd_eyJpIjoiMSJ9.xxxx", "x" * 3000])
async def test_a_token_that_is_none_is_refused(hub, people, text):
    assert await opened(bearer(text)).connect(10) == (False, 4401)


async def test_a_session_or_nothing_does_not_open_it(hub, people):
    silent = opened()
    assert (await silent.connect(10))[0]
    await silent.send_json_to({"op": "sub", "topics": [NOTES]})
    assert await closing(silent) == 4401
    assert not hub.room.clients


async def test_who_says_nothing_is_let_go(hub, people, monkeypatch):
    monkeypatch.setattr(log_socket, "FIRST_FRAME_S", 0.05)
    silent = opened()
    assert (await silent.connect(10))[0]
    assert await closing(silent) == 4401


async def test_a_token_without_the_scope_is_refused(hub, people):
    _, token = await token_new(people["trader"], Scope.ORDERS)
    assert await opened(bearer(token)).connect(10) == (False, 4403)


async def test_revoking_the_token_closes_its_socket(hub, people):
    row, token = await token_new(people["viewer"])
    program = await follow(token)
    await program.ask(op="sub", topics=[NOTES])
    await program.hear("snap")
    assert await asyncio.to_thread(lambda: api_token_revoke(token=row, by="test"))
    assert await closing(program.socket) == 4401
    assert await opened(bearer(token)).connect(10) == (False, 4401)


async def test_the_tokens_end_closes_its_socket(hub, people):
    _, token = await token_new(people["viewer"], days=2.5 / 86_400)
    program = await follow(token)
    assert await closing(program.socket) == 4401
    assert timezone.now() + timedelta(seconds=1) > (await ApiToken.objects.aget()).expires_at


async def test_with_the_database_gone_no_token_opens_it(hub, people, monkeypatch):
    async def gone(_text):
        raise TimeoutError

    _, token = await token_new(people["admin"])
    monkeypatch.setattr(tokens, "token_check_async", gone)
    assert await opened(bearer(token)).connect(10) == (False, 1013)


@pytest.mark.parametrize("text", ["no json", '{"op":"shout"}', '{"op":"sub","topics":"x"}', '"' + "x" * 70_000 + '"'])
async def test_what_is_no_request_closes_it(hub, people, text):
    _, token = await token_new(people["viewer"])
    program = await follow(token)
    await program.socket.send_to(text_data=text)
    assert await closing(program.socket) == 4400
    with contextlib.suppress(asyncio.CancelledError):
        await program.socket.disconnect()
