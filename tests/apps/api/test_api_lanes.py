"""Reads under ASGI: on a few threads that keep their connection; what acts never waits for them; many wait politely."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.db import connection

from apps.common.api import lanes
from trader.asgi import application

pytestmark = pytest.mark.django_db(transaction=True)
_asking = ThreadPoolExecutor(1)


async def ask(
    token: str,
    path: str = "/api/v1/orders",
    method: str = "GET",
    body: bytes = b"",
    on: Any = application,
    host: bytes = b"127.0.0.1:8800",
):
    """Ask the application as a server would; return the status, the headers and the body."""
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8800),
        "headers": [
            (b"host", host), (b"authorization", f"Bearer {token}".encode()),
            (b"content-type", b"application/json"),
        ],
    }  # fmt: skip
    asked = ApplicationCommunicator(on, scope)
    await asked.send_input({"type": "http.request", "body": body})
    begun, rest = await asked.receive_output(20), await asked.receive_output(20)
    return begun["status"], dict(begun["headers"]), rest["body"]


async def session_keys() -> set[int]:
    """Return the sessions at the database, ours apart; always asked by the same thread, which has one of its own."""
    return await asyncio.get_running_loop().run_in_executor(_asking, _session_keys)


def _session_keys() -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        return {key for (key,) in cursor.fetchall()}


def sessions_end(keys: set[int]) -> int:
    """End sessions at the database, as its restart would; return how many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(pg_terminate_backend(pid)) FROM unnest(%s) AS pid", [list(keys)])
        return int(cursor.fetchone()[0])


async def test_a_read_by_asgi_is_the_read_by_the_client(desk, program):
    reader = await asyncio.to_thread(program, "viewer")
    status, headers, body = await ask(reader.token)
    assert status == 200
    assert headers[b"Content-Type"] == b"application/json"
    assert json.loads(body) == (await asyncio.to_thread(reader.get, "/orders")).json
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert (await ask("", "/api/v1/orders"))[0] == 401
    assert (await ask(reader.token, host=b"evil.example"))[0] == 400
    assert (await ask(reader.token, "/api/v1/openapi.json"))[0] == 200
    assert (await ask(reader.token, "/api/v1/nothing"))[0] == 404


async def test_hundreds_of_reads_need_no_more_sessions_than_lanes(desk, program):
    token = (await asyncio.to_thread(program, "viewer")).token
    before = await session_keys()
    answers = await asyncio.gather(*(ask(token) for _ in range(100)))
    assert {status for status, _, _ in answers} == {200}
    assert len(await session_keys() - before) <= lanes.LANES


async def test_a_lane_whose_connection_has_died_asks_again(desk, program):
    token = (await asyncio.to_thread(program, "viewer")).token
    own = lanes.Lanes(application, "/api/v1/")
    before = await session_keys()
    await asyncio.gather(*(ask(token, on=own) for _ in range(20)))
    assert await asyncio.to_thread(sessions_end, await session_keys() - before)
    answers = await asyncio.gather(*(ask(token, on=own) for _ in range(20)))
    assert {status for status, _, _ in answers} == {200}
    own.threads.shutdown()


async def test_more_than_can_wait_are_told_to_come_again_and_the_kill_switch_does_not_wait(desk, program, monkeypatch):
    trader = await asyncio.to_thread(program, "trader")
    crowded = lanes.Lanes(application, "/api/v1/")
    monkeypatch.setattr(crowded, "threads", ThreadPoolExecutor(1))
    monkeypatch.setattr(lanes, "WAITING", 3)
    hold = asyncio.Event()
    loop = asyncio.get_running_loop()
    blocked = loop.run_in_executor(
        crowded.threads, lambda: asyncio.run_coroutine_threadsafe(hold.wait(), loop).result()
    )
    reads = [asyncio.create_task(ask(trader.token, on=crowded)) for _ in range(3)]
    await asyncio.sleep(0)
    while crowded.waiting < 3:
        await asyncio.sleep(0.01)
    status, headers, body = await ask(trader.token, on=crowded)
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert json.loads(body)["status"] == 503
    engaged = await ask(trader.token, "/api/v1/kill/engage", "POST", b"{}", on=crowded)
    assert engaged[0] == 200, engaged
    hold.set()
    await blocked
    assert {status for status, _, _ in await asyncio.gather(*reads)} == {200}
    assert crowded.waiting == 0
    crowded.threads.shutdown()
