"""Public sockets: what an unmodified ccxt.pro sees, and the frames themselves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ccxt.pro
import pytest

from apps.simulator.markets.base import MINUTE_NS
from apps.simulator.markets.clock import MarketClock
from apps.simulator.markets.replay import ReplayMarket
from apps.simulator.markets.synthetic import SyntheticMarket
from apps.simulator.public import connection as connection_module
from apps.simulator.public.assembly import ExchangeWatch
from apps.simulator.public.books import DEPTHS
from apps.simulator.public.broadcast import FrameWatch
from tests.apps.simulator.market_doubles import AT, recording
from tests.apps.simulator.public_half import PublicHalf, running

NOW = 1_795_253_030_000_000_000
BTC = ("spot", "BTCUSDT")


def _synthetic(watch: FrameWatch | None = None, **clock: Any) -> PublicHalf:
    return PublicHalf(SyntheticMarket(7, NOW), MarketClock(NOW, mode="synthetic", **clock), watch)


def _replay(minutes: int = 30, watch: FrameWatch | None = None) -> PublicHalf:
    rows = [(minute, 10.0, 10.5, 9.5, 10.2, 5.0) for minute in range(minutes)]
    recordings = [recording(symbol, rows) for symbol in ("BTC/USDT", "BTC/USDT:USDT", "ETH/USDT")]
    source = ReplayMarket(recordings, AT, AT + minutes * MINUTE_NS)
    return PublicHalf(source, MarketClock(AT, mode="replay", end_ns=source.end_ns, paused=True), watch)


@asynccontextmanager
async def _pro(half: PublicHalf) -> AsyncIterator[ccxt.pro.bybit]:
    client = ccxt.pro.bybit({"urls": half.urls(), "enableRateLimit": False})
    try:
        yield client
    finally:
        await client.close()


class Raw:
    """A plain socket that keeps the frames of each topic."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[dict] = []

    async def say(self, op: str, *args: str, **more: Any) -> dict:
        await self.socket.send_json({"op": op, "args": list(args), "req_id": "r1", **more})
        while True:
            frame = json.loads((await self.socket.receive(timeout=5)).data)
            if "op" in frame:
                return frame
            self.frames.append(frame)

    async def until(self, wanted: Any) -> list[dict]:
        """Read frames until one satisfies `wanted`; return all so far."""
        while not (self.frames and wanted(self.frames[-1])):
            self.frames.append(json.loads((await self.socket.receive(timeout=5)).data))
        return self.frames

    def of(self, topic: str) -> list[dict]:
        return [frame for frame in self.frames if frame.get("topic") == topic]


@asynccontextmanager
async def _raw(half: PublicHalf, kind: str = "spot") -> AsyncIterator[Raw]:
    address = f"{half.socket}/v5/public/{kind}"
    async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
        yield Raw(socket)


def _confirmed(at_ns: int) -> Any:
    def wanted(frame: dict) -> bool:
        return (
            frame.get("topic", "").startswith("kline")
            and frame["data"][0]["confirm"]
            and frame["data"][0]["end"] == at_ns // 10**6 - 1
        )

    return wanted


async def test_ccxt_pro_watches_ticker_book_trades_and_candles_of_spot_and_perpetual():
    async with running(_synthetic()) as half, _pro(half) as client:
        await client.load_markets()
        for symbol, key in (("ETH/USDT", ("spot", "ETHUSDT")), ("BTC/USDT:USDT", ("linear", "BTCUSDT"))):
            state = half.board[key]
            tick = float(state.spec.tick)
            ticker = await client.watch_ticker(symbol)
            assert ticker["last"] == pytest.approx(state.last * tick, rel=0.01)
            book = await client.watch_order_book(symbol, 50)
            book = await client.watch_order_book(symbol, 50)
            assert len(book["bids"]) == len(book["asks"]) == 50
            assert book["bids"][0][0] < book["asks"][0][0]
            trades = await client.watch_trades(symbol)
            assert trades[-1]["price"] == pytest.approx(state.last * tick, rel=0.01)
            for timeframe, minutes in (("1m", 1), ("5m", 5), ("1h", 60)):
                candles = await client.watch_ohlcv(symbol, timeframe)
                assert candles[-1][0] == state.open_ns // (minutes * MINUTE_NS) * minutes * 60_000


@pytest.mark.parametrize("depth", DEPTHS)
async def test_the_book_that_ccxt_pro_keeps_from_deltas_is_the_markets_book(depth):
    async with running(_synthetic(paused=True)) as half, _pro(half) as client:
        await client.load_markets()
        await client.watch_order_book("BTC/USDT:USDT", depth)
        until_ns = NOW + 20 * 10**9
        await half.driver.until_reached(until_ns)
        state = half.board["linear", "BTCUSDT"]
        expected = [[ticks * 0.1, lots * 0.001] for ticks, lots in state.bids[:depth]]
        while (await client.watch_order_book("BTC/USDT:USDT", depth))["timestamp"] < state.book_ns // 10**6:
            pass
        bids = client.orderbooks["BTC/USDT:USDT"]["bids"]
        assert [list(level) for level in bids] == [pytest.approx(level) for level in expected]


async def test_updates_are_numbered_without_a_gap_and_a_new_subscriber_joins_at_the_present_number():
    async with running(_replay()) as half, _raw(half) as first, _raw(half) as second:
        topic = "orderbook.50.BTCUSDT"
        assert (await first.say("subscribe", topic))["success"]
        half.clock.step()
        await half.driver.stood()
        await second.say("subscribe", topic)
        half.clock.step()
        await half.driver.stood()
        last = half.public.broadcaster._books[BTC][50].update
        for raw in (first, second):
            await raw.until(lambda frame: frame["data"]["u"] == last)
            frames = raw.of(topic)
            assert frames[0]["type"] == "snapshot"
            assert {frame["type"] for frame in frames[1:]} == {"delta"}
            numbers = [frame["data"]["u"] for frame in frames]
            assert numbers == list(range(numbers[0], numbers[0] + len(frames)))
            sequences = [frame["data"]["seq"] for frame in frames]
            assert sequences == sorted(sequences)
            assert _book(frames) == _book([{**_snapshot(half, topic), "type": "snapshot"}])
        assert second.of(topic)[0]["data"]["u"] > first.of(topic)[0]["data"]["u"]


def _snapshot(half: PublicHalf, topic: str) -> dict:
    return half.public.broadcaster._books[BTC][50].snapshot(half.clock.market_ns())


def _book(frames: list[dict]) -> dict[str, dict[str, str]]:
    book: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    for frame in frames:
        for side, levels in book.items():
            if frame["type"] == "snapshot":
                levels.clear()
            for price, size in frame["data"][side]:
                levels.pop(price, None)
                if size != "0":
                    levels[price] = size
    return book


@pytest.mark.parametrize("depth", [50, 200])
async def test_a_dropped_delta_shows_as_a_gap_in_u(depth):
    class Drop(FrameWatch):
        left = 3

        def frame(self, kind, topic, frame, market_ns, note, write):
            if note == "book" and b'"delta"' in frame:
                self.left -= 1
                if self.left == 0:
                    return ()
            return (frame,)

    async with running(_replay(watch=Drop())) as half, _raw(half) as raw:
        await raw.say("subscribe", f"orderbook.{depth}.BTCUSDT")
        half.clock.step()
        await half.driver.stood()
        await raw.until(lambda frame: frame["data"]["u"] == half.public.broadcaster._books[BTC][depth].update)
        numbers = [frame["data"]["u"] for frame in raw.frames]
        assert numbers[:4] == [numbers[0], numbers[0] + 1, numbers[0] + 2, numbers[0] + 4]


async def test_orderbook_1_is_always_a_snapshot_of_the_touch():
    async with running(_replay()) as half, _raw(half) as raw:
        await raw.say("subscribe", "orderbook.1.BTCUSDT")
        half.clock.step()
        await half.driver.stood()
        last = half.public.broadcaster._books[BTC][1].update
        await raw.until(lambda frame: frame["data"]["u"] == last)
    assert {frame["type"] for frame in raw.frames} == {"snapshot"}
    assert all(len(frame["data"]["b"]) == len(frame["data"]["a"]) == 1 for frame in raw.frames)


async def test_orderbook_1_is_sent_again_after_three_seconds_without_a_change(monkeypatch):
    monkeypatch.setattr("apps.simulator.public.broadcast.REPEAT_TOUCH_S", 0.1)
    async with running(_replay()) as half, _raw(half) as raw:
        await raw.say("subscribe", "orderbook.1.BTCUSDT")
        await raw.until(lambda frame: len(raw.frames) == 2)
    assert raw.frames[0]["data"] == raw.frames[1]["data"]


async def test_no_trade_is_lost_in_a_fast_forward_and_each_comes_before_its_minutes_confirmation():
    async with running(_replay()) as half, _raw(half) as raw:
        await raw.say("subscribe", "publicTrade.BTCUSDT", "kline.1.BTCUSDT", "kline.5.BTCUSDT")
        end_ns = AT + 30 * MINUTE_NS
        await half.driver.until_reached(end_ns)
        half_state = half.board[BTC]
        await raw.until(lambda frame: len([f for f in raw.frames if _confirmed(end_ns)(f)]) == 2)
    volume = [0.0] * 30
    confirmed = 0
    for frame in raw.frames:
        if frame["topic"] == "publicTrade.BTCUSDT":
            for trade in frame["data"]:
                minute = (trade["T"] * 10**6 - AT) // MINUTE_NS
                assert minute >= confirmed, "a print after its minute's confirmation"
                volume[minute] += float(trade["v"])
        elif frame["topic"] == "kline.1.BTCUSDT" and frame["data"][0]["confirm"]:
            bar = frame["data"][0]
            assert (bar["start"] * 10**6 - AT) // MINUTE_NS == confirmed
            assert volume[confirmed] == pytest.approx(5.0)
            assert [bar[name] for name in ("open", "high", "low", "close")] == ["10.00", "10.50", "9.50", "10.20"]
            assert float(bar["volume"]) == pytest.approx(5.0)
            confirmed += 1
    assert confirmed == 30
    fives = [f["data"][0] for f in raw.of("kline.5.BTCUSDT") if f["data"][0]["confirm"]]
    assert len(fives) == 6
    assert all(float(bar["volume"]) == pytest.approx(25.0) for bar in fives)
    ids = [trade["i"] for frame in raw.of("publicTrade.BTCUSDT") for trade in frame["data"]]
    assert len(ids) == len(set(ids)) == int(half_state.bars.view()["prints"].sum())


async def test_a_minute_without_prints_is_confirmed_flat_and_empty():
    rows = [(0, 10.0, 10.5, 9.5, 10.2, 5.0), (2, 10.0, 10.5, 9.5, 10.2, 5.0)]
    source = ReplayMarket([recording("BTC/USDT", rows)], AT, AT + 3 * MINUTE_NS)
    half = PublicHalf(source, MarketClock(AT, mode="replay", end_ns=source.end_ns, paused=True))
    async with running(half), _raw(half) as raw:
        await raw.say("subscribe", "kline.1.BTCUSDT")
        await half.driver.until_reached(AT + 2 * MINUTE_NS)
        bar = (await raw.until(_confirmed(AT + 2 * MINUTE_NS)))[-1]["data"][0]
    assert {bar[name] for name in ("open", "high", "low", "close")} == {"10.20"}
    assert float(bar["volume"]) == 0


async def test_perpetual_tickers_are_deltas_that_add_up_and_spot_tickers_snapshots():
    async with running(_synthetic(paused=True)) as half, _raw(half, "linear") as raw, _raw(half) as spot:
        await raw.say("subscribe", "tickers.BTCUSDT")
        await spot.say("subscribe", "tickers.BTCUSDT")
        until_ns = (NOW // MINUTE_NS + 1) * MINUTE_NS
        await half.driver.until_reached(until_ns)
        # all up to then is written, and a pong comes after it
        await raw.say("ping")
        await spot.say("ping")
        expected = half.public.broadcaster._ticker_row(("linear", "BTCUSDT"))
    assert raw.frames[0]["type"] == "snapshot"
    assert {frame["type"] for frame in raw.frames[1:]} == {"delta"}
    row: dict = {}
    for frame in raw.frames:
        row |= frame["data"]
    assert row == expected
    assert {frame["type"] for frame in spot.frames} == {"snapshot"}


async def test_ping_subscribe_unsubscribe_and_their_refusals():
    async with running(_replay()) as half, _raw(half) as raw:
        pong = await raw.say("ping")
        assert (pong["success"], pong["ret_msg"], pong["op"], pong["req_id"]) == (True, "pong", "ping", "r1")
        unknown = await raw.say("subscribe", "publicTrade.NONE")
        assert unknown["ret_msg"] == "error:handler not found,topic:publicTrade.NONE"
        assert not (await raw.say("subscribe", "orderbook.7.BTCUSDT"))["success"]
        assert not (await raw.say("subscribe", "kline.2.BTCUSDT"))["success"]
        assert not (await raw.say("subscribe"))["success"]
        assert not (await raw.say("dance"))["success"]
        many = [f"kline.{interval}.BTCUSDT" for interval in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720, "D")]
        assert (await raw.say("subscribe", *many))["ret_msg"] == "args size >10"
        assert (await raw.say("subscribe", *many[:10]))["success"]
        assert (await raw.say("unsubscribe", *many[:10]))["success"]
        assert half.public.broadcaster._subscribers == {}
        await raw.socket.send_str("no json")
        assert not json.loads((await raw.socket.receive(timeout=5)).data)["success"]


async def test_a_client_that_leaves_is_forgotten():
    async with running(_replay()) as half:
        async with _raw(half) as raw:
            await raw.say("subscribe", "publicTrade.BTCUSDT", "orderbook.50.BTCUSDT", "tickers.BTCUSDT")
            assert len(half.public.broadcaster.connections) == 1
        while half.public.broadcaster.connections:
            await asyncio.sleep(0.005)
        assert half.public.broadcaster._subscribers == {}
        assert half.public.broadcaster._books[BTC] == {}


async def test_a_fast_forward_waits_for_a_slow_client_instead_of_filling_its_queue(monkeypatch):
    monkeypatch.setattr("apps.simulator.public.broadcast.QUEUE_HIGH", 20)
    monkeypatch.setattr(connection_module, "QUEUE_HIGH", 20)
    longest = 0
    send = connection_module.Connection.send

    def watched(self, frame):
        nonlocal longest
        send(self, frame)
        longest = max(longest, self.waiting)

    monkeypatch.setattr(connection_module.Connection, "send", watched)
    monkeypatch.setattr("apps.simulator.markets.driver.SLICE_S", 0.0005)
    async with running(_replay()) as half, _raw(half) as raw:
        await raw.say("subscribe", "publicTrade.BTCUSDT", "orderbook.50.BTCUSDT", "kline.1.BTCUSDT")
        forward = asyncio.create_task(half.driver.until_reached(AT + 30 * MINUTE_NS))
        await raw.until(_confirmed(AT + 30 * MINUTE_NS))
        await forward
    assert len(raw.of("publicTrade.BTCUSDT")) == 360
    assert longest < 400


async def test_at_wall_speed_a_client_that_takes_nothing_is_cut_off(monkeypatch, caplog):
    monkeypatch.setattr(connection_module, "QUEUE_MOST", 5)
    async with running(_synthetic()) as half, _raw(half) as raw:
        await raw.say("subscribe", "publicTrade.BTCUSDT")
        [connection] = half.public.broadcaster.connections
        for _ in range(6):  # before the writer has its turn
            connection.send(b"{}")
        assert connection.closed
        while not raw.socket.closed:
            await raw.socket.receive(timeout=5)
    assert "frames behind and is closed" in caplog.text


async def test_faults_and_ledger_see_every_frame_with_the_wall_time_before_its_write():
    class Faults:
        quiet = False
        held: list[bytes] | None = None

        def frame_fate(self, topic):
            return 2 if topic == "publicTrade.BTCUSDT" else 1

        def frames_held(self, topic, frame, write):
            """Hold the first trade of ETHUSDT back until the next has left."""
            if topic != "publicTrade.ETHUSDT" or self.held == []:
                return False
            if self.held is None:
                self.held = [frame]
                return True
            write(frame)
            write(self.held.pop())
            return True

        def silent(self, which):
            return self.quiet

    class Ledger:
        all_frames = False
        rows: list = []

        def add(self, kind, market_ns, wall_ns, *, topic, category, body):
            assert (kind, category) == ("frame", "spot")
            self.rows.append((topic, market_ns, json.loads(bytes(body)), wall_ns))

    faults, ledger = Faults(), Ledger()
    clock_ns = iter(range(10**9))
    watch = ExchangeWatch(faults, ledger, lambda: next(clock_ns))
    async with running(_replay(watch=watch)) as half, _raw(half) as raw:
        await raw.say("subscribe", "publicTrade.BTCUSDT", "kline.1.BTCUSDT", "publicTrade.ETHUSDT")
        await half.driver.until_reached(AT + MINUTE_NS)
        await raw.until(_confirmed(AT + MINUTE_NS))
        faults.quiet = True
        await half.driver.until_reached(AT + 2 * MINUTE_NS)
        await raw.socket.send_json({"op": "ping"})
        with pytest.raises(TimeoutError):
            await raw.socket.receive(timeout=0.1)
    doubled = raw.of("publicTrade.BTCUSDT")
    assert doubled[::2] == doubled[1::2]
    times = [frame["ts"] for frame in raw.of("publicTrade.ETHUSDT")]
    assert len(times) == 12
    assert (times[0], times[1]) == (sorted(times)[1], sorted(times)[0])
    first = [row for row in ledger.rows if row[1] <= AT + MINUTE_NS]
    assert {row[0] for row in first[:2]} == {"publicTrade.BTCUSDT", "publicTrade.ETHUSDT"}
    assert [row[0] for row in first[2:]] == ["kline.1.BTCUSDT"]
    assert first[2][2]["data"][0]["confirm"]
    assert max(first[0][3], first[1][3]) < first[2][3]
