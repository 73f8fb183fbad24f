"""The private socket through the unmodified ccxt.pro and through a bare client, with its faults."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import ccxt.pro
import orjson
import pytest

from apps.simulator.exchange.auth import signature
from tests.apps.simulator.exchange_half import KEY, SECRET, Exchange, called, exchange, until

SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(tmp_path / "state") as running:
        running.ccxt = running.client()
        await called(running.ccxt.load_markets)
        yield running


@pytest.fixture
async def pro(venue: Exchange) -> AsyncIterator[ccxt.pro.bybit]:
    client = venue.client_pro()
    yield client
    await client.close()


class Bare:
    """A socket client of a few lines, to look at raw frames."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def ask(self, **message: Any) -> dict:
        await self.socket.send_bytes(orjson.dumps(message))
        return await self.next()

    async def sign_in(self, secret: str = SECRET, key: str = KEY, expires: int = 9_999_999_999_999) -> dict:
        return await self.ask(op="auth", args=[key, expires, signature(secret, f"GET/realtime{expires}")])

    async def next(self, seconds: float = 5.0) -> dict:
        return orjson.loads((await self.socket.receive(timeout=seconds)).data)

    async def silent(self, seconds: float = 0.2) -> bool:
        try:
            await self.socket.receive(timeout=seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def bare(venue: Exchange, *topics: str) -> AsyncIterator[Bare]:
    async with aiohttp.ClientSession() as session, session.ws_connect(venue.socket + "/v5/private") as socket:
        client = Bare(socket)
        if topics:
            assert (await client.sign_in())["success"]
            assert (await client.ask(op="subscribe", args=list(topics)))["success"]
        yield client


async def watching(venue: Exchange, awaitable: Any, topic: str) -> asyncio.Task:
    task = asyncio.create_task(awaitable)
    await until(lambda: venue.subscribed(topic), f"subscribed to {topic}")
    return task


async def test_an_order_is_told_when_it_rests_when_it_fills_and_when_it_is_cancelled(
    venue: Exchange, pro: ccxt.pro.bybit
) -> None:
    pro.newUpdates = True
    task = await watching(venue, pro.watch_orders(), "order")
    for symbol, kind in ((SPOT, "spot"), (SWAP, "linear")):
        order = await called(venue.ccxt.create_order, symbol, "limit", "buy", 1, 99.9)
        [told] = await asyncio.wait_for(task, 5)
        assert (told["symbol"], told["status"], told["id"]) == (symbol, "open", order["id"])
        task = asyncio.create_task(pro.watch_orders())
        await asyncio.sleep(0)
        venue.print(kind, "99.8", "0.4", "Sell")
        [told] = await asyncio.wait_for(task, 5)
        assert (told["status"], told["filled"]) == ("open", 0.4)
        task = asyncio.create_task(pro.watch_orders())
        await asyncio.sleep(0)
        await called(venue.ccxt.cancel_order, order["id"], symbol)
        [told] = await asyncio.wait_for(task, 5)
        assert told["info"]["cancelType"] == "CancelByUser"
        task = asyncio.create_task(pro.watch_orders())
        await asyncio.sleep(0)
    task.cancel()


async def test_balance_and_position_are_told_after_a_fill(venue: Exchange, pro: ccxt.pro.bybit) -> None:
    assert await pro.watch_positions([SWAP]) == []  # what is there; the next call waits for news
    balance = await watching(venue, pro.watch_balance(), "wallet")
    positions = await watching(venue, pro.watch_positions([SWAP]), "position")
    await called(venue.ccxt.create_order, SWAP, "market", "buy", 0.5)
    told = await asyncio.wait_for(balance, 5)
    assert told["USDT"]["total"] == pytest.approx(100_000 - 50.05 * 0.00055)
    held = {row["side"]: row["contracts"] for row in await asyncio.wait_for(positions, 5)}
    assert held["long"] == 0.5


async def test_a_socket_without_the_right_signature_hears_nothing(venue: Exchange, pro: ccxt.pro.bybit) -> None:
    async with bare(venue) as client:
        assert (await client.ask(op="subscribe", args=["order"]))["ret_msg"] == "Request not authorized"
        assert "10004" in (await client.sign_in(secret="wrong"))["ret_msg"]
        assert "10003" in (await client.sign_in(key="nobody"))["ret_msg"]
        assert "10002" in (await client.sign_in(expires=1_000))["ret_msg"]
        assert not (await client.ask(op="auth", args=["x"]))["success"]
        assert (await client.sign_in())["success"]
    wrong = venue.client_pro(secret="wrong")
    with pytest.raises(ccxt.AuthenticationError):
        await asyncio.wait_for(wrong.watch_orders(), 5)
    await wrong.close()


async def test_pings_are_answered_and_nonsense_is_told_to_be_so(venue: Exchange) -> None:
    async with bare(venue, "order") as client:
        pong = await client.ask(op="ping", req_id="7")
        assert (pong["op"], pong["req_id"]) == ("pong", "7")
        assert "handler not found" in (await client.ask(op="subscribe", args=["orders"]))["ret_msg"]
        assert "invalid op" in (await client.ask(op="dance"))["ret_msg"]
        await client.socket.send_str("{")
        assert not (await client.next())["success"]


async def test_a_topic_can_be_narrowed_to_a_category_and_left_again(venue: Exchange) -> None:
    async with bare(venue, "execution.linear") as client:
        await called(venue.ccxt.create_order, SPOT, "market", "buy", 0.5)
        await called(venue.ccxt.create_order, SWAP, "market", "buy", 0.5)
        frame = await client.next()
        assert (frame["topic"], frame["data"][0]["category"]) == ("execution", "linear")
        assert (await client.ask(op="unsubscribe", args=["execution.linear"]))["success"]
        await called(venue.ccxt.create_order, SWAP, "market", "buy", 0.5)
        assert await client.silent()


async def test_another_account_is_told_nothing_of_ours(venue: Exchange) -> None:
    other = venue.context.engine.account_of(type(venue.context.keys.all()[0])("other", "x", {}))
    async with bare(venue, "order") as client:
        venue.context.private.publish(other.uid, "order", [{"category": "spot"}])
        assert await client.silent()


async def test_frames_are_dropped_doubled_swapped_and_silenced_on_demand(venue: Exchange) -> None:
    async with bare(venue, "execution") as client:

        async def buy() -> str:
            return (await called(venue.ccxt.create_order, SWAP, "market", "buy", 0.001 * 60))["id"]

        await venue.ask("POST", "/faults", {"fault": "frames_dropped", "topic": "execution", "count": 1})
        await buy()
        second = await buy()
        assert (await client.next())["data"][0]["orderId"] == second
        await venue.ask("POST", "/faults", {"fault": "frames_duplicated", "topic": "execution", "count": 1})
        third = await buy()
        assert [(await client.next())["data"][0]["orderId"] for _ in range(2)] == [third, third]
        await venue.ask("POST", "/faults", {"fault": "frames_reordered", "topic": "execution", "count": 1})
        fourth, fifth = await buy(), await buy()
        assert [(await client.next())["data"][0]["orderId"] for _ in range(2)] == [fifth, fourth]
        await venue.ask("POST", "/faults", {"fault": "frames_reordered", "topic": "execution", "count": 1})
        held = await buy()
        assert await client.silent()
        await venue.ask("DELETE", "/faults")
        assert (await client.next())["data"][0]["orderId"] == held
        await venue.ask("POST", "/faults", {"fault": "silent_socket", "socket": "private"})
        await buy()
        await client.socket.send_str('{"op":"ping"}')
        assert await client.silent()


async def test_a_reader_that_falls_far_behind_is_closed(venue: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bare(venue, "order"):
        [connection] = venue.context.private.connections
        uid = connection.uid
        for _ in range(10_001):
            venue.context.private.publish(uid, "order", [{"category": "spot"}])
        await until(lambda: not venue.context.private.connections, "the connection is closed")


async def test_the_order_socket_says_that_it_is_not_offered(venue: Exchange) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(venue.socket + "/v5/trade") as socket:
        client = Bare(socket)
        answer = await client.ask(op="order.create", reqId="9", args=[{}])
        assert (answer["retCode"], answer["reqId"], answer["op"]) == (10001, "9", "order.create")
        assert "send orders by REST" in answer["retMsg"]
        await socket.send_str("[")
        assert (await client.next())["retCode"] == 10001
