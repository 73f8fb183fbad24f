"""The socket: who may open it, what it answers, and the same through Daphne as it is served."""

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import time

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from apps.common.consumers import HubConsumer
from apps.common.hub.core import hub_current
from tests.apps.common.hub_samples import VIEWER
from tests.apps.common.samples import Note, Price
from tests.benchmarks.hub_clients import _masked
from tests.reliability.processes import database_url

# the consumer looks after connections of its thread: one that another test left there must not be forbidden to it
pytestmark = pytest.mark.django_db
HEADERS = [(b"host", b"127.0.0.1:8800"), (b"origin", b"http://127.0.0.1:8800")]


def communicator(user=VIEWER, headers=HEADERS):
    made = WebsocketCommunicator(HubConsumer.as_asgi(), "/ws/", headers=headers)
    made.scope["user"] = user
    return made


@pytest.fixture
async def hub(bus):
    yield hub_current()
    await hub_current().close()


@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"127.0.0.1:8800"), (b"origin", b"http://evil.example")],
        [(b"host", b"127.0.0.1:8800"), (b"origin", b"http://127.0.0.1:9999")],
        [(b"host", b"evil.example"), (b"origin", b"http://evil.example")],
        [(b"host", b"127.0.0.1:8800"), (b"origin", b"null")],
        [(b"host", b"127.0.0.1:8800")],
        [(b"origin", b"http://127.0.0.1:8800")],
    ],
)
async def test_a_foreign_origin_is_refused(headers):
    assert await communicator(headers=headers).connect() == (False, 4403)


@pytest.mark.parametrize("user", [None, AnonymousUser()])
async def test_nobody_is_refused(user):
    assert await communicator(user=user).connect() == (False, 4401)


async def test_a_person_without_a_role_is_refused():
    person = type("Person", (), {"is_authenticated": True, "is_active": True, "role": ""})()
    assert await communicator(user=person).connect() == (False, 4401)


async def test_it_subscribes_hears_and_leaves(hub, bus):
    page = communicator()
    assert (await page.connect())[0]
    await page.send_json_to({"op": "sub", "topics": ["test.price.1"]})
    await asyncio.sleep(0.1)
    await bus.publish("test.price.1", Price(i=1, last=5.0))
    assert await page.receive_json_from(3) == {"k": "state", "v": {"test.price.1": {"i": 1, "last": 5.0}}}
    await page.send_json_to({"op": "unsub", "topics": ["test.price.1"]})
    await asyncio.sleep(0.1)
    assert hub.states.feeds == {}
    await page.disconnect()
    assert not hub.room.clients


async def test_a_socket_is_pinged(hub, monkeypatch):
    page = communicator()
    await page.connect()
    frame = await page.receive_json_from(4)
    assert frame["k"] == "ping"
    assert abs(frame["at"] - time.time_ns()) < 5e9
    await page.disconnect()


@pytest.mark.parametrize(
    "text", ["no json", '{"op":"shout","topics":[]}', '{"op":"sub","topics":[],"more":1}', '"' + "x" * 70_000 + '"']
)
async def test_what_is_no_request_closes_the_socket(hub, text):
    page = communicator()
    await page.connect()
    await page.send_to(text_data=text)
    closing = await page.receive_output(3)
    assert (closing["type"], closing["code"]) == ("websocket.close", 4400)


# Through the servers that the product may run on


class RawSocket:
    """A browser's socket by hand, so that a test can stop reading."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.file = self.socket.makefile("rb")
        assert b" 101 " in self.file.readline()
        while self.file.readline() != b"\r\n":
            pass

    def ask(self, **request):
        self.socket.sendall(_masked(json.dumps(request).encode()))

    def frame(self):
        head = self.file.read(2)
        length = head[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(self.file.read(2 if length == 126 else 8), "big")
        return json.loads(self.file.read(length))


SERVERS = {
    "daphne": ("daphne", "-b", "127.0.0.1", "-v", "0", "-p"),
    "uvicorn": ("uvicorn", "--host", "127.0.0.1", "--lifespan", "off", "--log-level", "error", "--port"),
}


@pytest.fixture(params=list(SERVERS))
def site(request):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL}
    command = [sys.executable, "-m", *SERVERS[request.param], str(port), "tests.benchmarks.hub_site:application"]
    process = subprocess.Popen(command, env=env)
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
    yield port, process
    process.terminate()
    process.wait(10)


def _memory_kb(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4


@pytest.mark.stack
@pytest.mark.django_db(transaction=True)
async def test_through_a_server_a_browser_that_does_not_read_costs_no_memory_and_gets_the_newest(site, bus):
    port, process = site
    slow = await asyncio.to_thread(RawSocket, port)
    topics = [f"test.large.{i}" for i in range(20)]
    slow.ask(op="sub", topics=topics)
    await asyncio.sleep(0.5)
    before = _memory_kb(process.pid)
    for step in range(200):  # frames of 80 kB, 16 MB in all: far more than the sockets' buffers hold
        await bus.publish_many([(topic, Note(text="x" * 4_000, number=step)) for topic in topics])
        await asyncio.sleep(0.025)
    assert _memory_kb(process.pid) - before < 8_000

    def newest():
        seen = {}
        while seen.get("number") != 199:
            seen = slow.frame().get("v", {}).get("test.large.7", seen)
        return True

    assert await asyncio.wait_for(asyncio.to_thread(newest), 20)
