"""Every public REST row, asked by an unmodified ccxt over loopback."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import ccxt
import pytest

from apps.simulator.markets.base import MINUTE_NS
from apps.simulator.markets.clock import MarketClock
from apps.simulator.markets.replay import ReplayMarket
from apps.simulator.markets.synthetic import SyntheticMarket
from tests.apps.simulator.market_doubles import AT, recording
from tests.apps.simulator.public_half import PublicHalf, running

NOW = 1_795_253_030_000_000_000  # half way through a minute
OPEN = NOW // MINUTE_NS * MINUTE_NS


def _synthetic() -> PublicHalf:
    return PublicHalf(SyntheticMarket(7, NOW), MarketClock(NOW, mode="synthetic", paused=True))


def _replay() -> PublicHalf:
    rows = [(minute, 10.0 + minute, 10.5 + minute, 9.5 + minute, 10.2 + minute, 5.0) for minute in range(30)]
    recordings = [recording("BTC/USDT", rows), recording("BTC/USDT:USDT", rows)]
    source = ReplayMarket(recordings, AT + 10 * MINUTE_NS, AT + 30 * MINUTE_NS)
    return PublicHalf(source, MarketClock(source.start_ns, mode="replay", end_ns=source.end_ns, paused=True))


async def _ask(half: PublicHalf, question: Callable[[ccxt.bybit], Any]) -> Any:
    """Ask by the synchronous client, in a thread, as a user's script would."""

    def ask() -> Any:
        client = ccxt.bybit({"urls": half.urls(), "enableRateLimit": False})
        client.load_markets()
        return question(client)

    return await asyncio.to_thread(ask)


async def test_load_markets_lists_spot_and_perpetuals_with_their_terms():
    async with running(_synthetic()) as half:
        markets = await _ask(half, lambda client: client.markets)
    assert len(markets) == 20
    spot, perpetual = markets["BTC/USDT"], markets["BTC/USDT:USDT"]
    assert (spot["spot"], spot["precision"]) == (True, {"amount": 1e-6, "price": 0.01})
    assert (perpetual["swap"], perpetual["linear"], perpetual["settle"]) == (True, True, "USDT")
    assert perpetual["precision"] == {"amount": 0.001, "price": 0.1}
    assert perpetual["limits"]["leverage"]["max"] == 100
    assert spot["active"]
    assert spot["limits"]["cost"]["min"] == perpetual["limits"]["cost"]["min"] == 5


async def test_a_replay_lists_only_what_is_mapped():
    async with running(_replay()) as half:
        markets = await _ask(half, lambda client: sorted(client.markets))
    assert markets == ["BTC/USDT", "BTC/USDT:USDT"]


async def test_fetch_time_is_the_wall_clock_and_data_bear_the_market_clock():
    async with running(_replay()) as half:
        wall, book = await _ask(half, lambda client: (client.fetch_time(), client.fetch_order_book("BTC/USDT")))
        assert abs(wall - half.clock.wall_ns() // 10**6) < 5000
    assert book["timestamp"] == (AT + 10 * MINUTE_NS) // 10**6


async def test_tickers_one_and_all():
    def question(client: ccxt.bybit) -> Any:
        return client.fetch_ticker("ETH/USDT"), client.fetch_ticker("ETH/USDT:USDT"), client.fetch_tickers()

    async with running(_synthetic()) as half:
        spot, perpetual, every = await _ask(half, question)
        state = half.board["linear", "ETHUSDT"]
    assert spot["low"] <= spot["last"] <= spot["high"]
    assert spot["bid"] < spot["ask"]
    assert spot["info"]["usdIndexPrice"]
    assert perpetual["last"] == pytest.approx(state.last * 0.01)
    assert perpetual["markPrice"] == pytest.approx(state.mark * 0.01)
    assert perpetual["quoteVolume"] > 0
    assert len(every) == 10


async def test_the_order_book_is_the_markets_book_down_to_the_depth_asked_for():
    async with running(_synthetic()) as half:
        book = await _ask(half, lambda client: client.fetch_order_book("BTC/USDT:USDT", 25))
        state = half.board["linear", "BTCUSDT"]
    assert len(book["bids"]) == len(book["asks"]) == 25
    assert book["bids"][0] == pytest.approx([state.bids[0][0] * 0.1, state.bids[0][1] * 0.001])
    assert book["asks"][0][0] > book["bids"][0][0]


async def test_recent_trades_are_the_newest_prints():
    async with running(_synthetic()) as half:
        trades = await _ask(half, lambda client: client.fetch_trades("BTC/USDT", limit=5))
        newest = half.board["spot", "BTCUSDT"].recent[-1]
    assert len(trades) == 5
    assert trades[-1]["id"] == newest.print_id
    assert trades[-1]["timestamp"] == newest.event.market_ns // 10**6
    assert trades[-1]["side"] == newest.event.side.lower()
    assert [trade["timestamp"] for trade in trades] == sorted(trade["timestamp"] for trade in trades)


async def test_klines_have_three_days_of_history_and_the_minute_in_the_making():
    async def candles(**asked: Any) -> list:
        return await _ask(half, lambda client: client.fetch_ohlcv("BTC/USDT", **asked))

    async with running(_synthetic()) as half:
        newest = await candles(timeframe="1m", limit=3)
        oldest = await candles(timeframe="1m", since=(OPEN - 3 * 1440 * MINUTE_NS) // 10**6, limit=1000)
        hours = await candles(timeframe="1h", limit=1000)
        days = await candles(timeframe="1d")
        state = half.board["spot", "BTCUSDT"]
        rows = state.bars.view()
    assert [row[0] for row in newest] == [(OPEN + offset * MINUTE_NS) // 10**6 for offset in (-2, -1, 0)]
    assert newest[-1][1:5] == pytest.approx([value * 0.01 for value in (state.open, state.high, state.low, state.last)])
    assert oldest[0][0] == (OPEN - 3 * 1440 * MINUTE_NS) // 10**6
    assert len(oldest) == 1000
    assert 72 <= len(hours) <= 74
    last_hour = rows[rows["open_ns"] >= hours[-2][0] * 10**6][:60]
    assert hours[-2][2:6] == pytest.approx(
        [
            last_hour["high"].max() * 0.01,
            last_hour["low"].min() * 0.01,
            last_hour["close"][-1] * 0.01,
            last_hour["volume"].sum() * 1e-6,
        ]
    )
    assert 3 <= len(days) <= 5


async def test_every_interval_is_answered():
    timeframes = ("3m", "5m", "15m", "30m", "2h", "4h", "6h", "12h", "1w", "1M")

    def question(client: ccxt.bybit) -> Any:
        return {timeframe: client.fetch_ohlcv("ETH/USDT:USDT", timeframe, limit=5) for timeframe in timeframes}

    async with running(_synthetic()) as half:
        answers = await _ask(half, question)
    for timeframe, rows in answers.items():
        assert rows, timeframe
        assert all(row[3] <= min(row[1], row[4]) and row[2] >= max(row[1], row[4]) for row in rows), timeframe


async def test_a_replays_klines_reach_back_only_as_far_as_the_file():
    async with running(_replay()) as half:
        await half.driver.until_reached(AT + 12 * MINUTE_NS)
        rows = await _ask(half, lambda client: client.fetch_ohlcv("BTC/USDT", "1m", limit=1000))
    assert [row[0] for row in rows] == [(AT + minute * MINUTE_NS) // 10**6 for minute in range(13)]
    for minute, row in enumerate(rows[:12]):
        assert row[1:] == pytest.approx([10.0 + minute, 10.5 + minute, 9.5 + minute, 10.2 + minute, 5.0])
    assert row_is_flat(rows[12])


def row_is_flat(row: list) -> bool:
    return len(set(row[1:5])) == 1 and row[5] == 0


async def test_mark_and_index_klines():
    def question(client: ccxt.bybit) -> Any:
        return (
            client.fetch_mark_ohlcv("BTC/USDT:USDT", "1m", limit=5),
            client.fetch_index_ohlcv("BTC/USDT:USDT", "1m", limit=5),
            client.fetch_ohlcv("BTC/USDT", "1m", limit=5),
        )

    async with running(_synthetic()) as half:
        mark, index, spot = await _ask(half, question)
        state = half.board["linear", "BTCUSDT"]
    assert [row[0] for row in mark] == [row[0] for row in index] == [row[0] for row in spot]
    assert mark[-1][4] == pytest.approx(state.mark * 0.1)
    assert index[-1][4] == pytest.approx(state.index * 0.1)
    assert index[0][4] == pytest.approx(spot[0][4], abs=0.1)


async def test_funding_rate_funding_history_and_leverage_tiers():
    def question(client: ccxt.bybit) -> Any:
        return (
            client.fetch_funding_rate("BTC/USDT:USDT"),
            client.fetch_funding_rate_history("BTC/USDT:USDT"),
            client.fetch_market_leverage_tiers("BTC/USDT:USDT"),
            client.fetch_leverage_tiers(["ETH/USDT:USDT"]),
        )

    async with running(_synthetic()) as half:
        rate, history, tiers, several = await _ask(half, question)
    assert abs(rate["fundingRate"]) <= 0.003
    assert rate["fundingTimestamp"] % (8 * 3600 * 1000) == 0
    assert len(history) == 9
    assert tiers[0]["maxLeverage"] == 100
    assert tiers[0]["maintenanceMarginRate"] == pytest.approx(0.005)
    assert list(several) == ["ETH/USDT:USDT"]


async def test_a_halted_symbol_is_shown_as_not_trading():
    async with running(_synthetic()) as half:
        half.clock.halt("BTCUSDT")
        markets = await _ask(half, lambda client: client.markets)
    assert not markets["BTC/USDT"]["active"]
    assert markets["ETH/USDT"]["active"]


WRONG = {
    "tickers?category=spots": "category must be one of spot, linear, inverse, option",
    "orderbook?category=spot&symbol=NONE": "symbol invalid NONE",
    "kline?category=spot&symbol=BTCUSDT&interval=2": "interval must be one of 1, 3, 5",
    "kline?category=spot&symbol=BTCUSDT&interval=1&limit=x": "limit must be a whole number from 1 (it is x)",
    "mark-price-kline?category=spot&symbol=BTCUSDT&interval=1": "category must be linear",
    "funding/history?category=spot&symbol=BTCUSDT": "category must be linear",
    "funding/history?category=linear&symbol=BTCUSDT&startTime=1": "endTime is required with startTime",
    "risk-limit?category=spot": "category must be linear",
}


async def test_a_wrong_request_is_refused_with_10001_and_what_is_wrong():
    async with running(_synthetic()) as half, aiohttp.ClientSession() as session:
        for path, words in WRONG.items():
            response = await session.get(f"{half.rest}/v5/market/{path}")
            body = await response.json()
            assert body["retCode"] == 10001, path
            assert words in body["retMsg"], path
            assert set(body) == {"retCode", "retMsg", "result", "retExtInfo", "time"}


async def test_ccxt_maps_an_unknown_symbol_to_bad_request():
    def question(client: ccxt.bybit) -> Any:
        return client.public_get_v5_market_orderbook({"category": "linear", "symbol": "NONE"})

    async with running(_synthetic()) as half:
        with pytest.raises(ccxt.BadRequest):
            await _ask(half, question)


async def test_instruments_can_be_asked_for_page_by_page_and_by_status():
    async def ask(query: str) -> dict:
        async with session.get(f"{half.rest}/v5/market/instruments-info?{query}") as response:
            return (await response.json())["result"]

    async with running(_synthetic()) as half, aiohttp.ClientSession() as session:
        first = await ask("category=linear&limit=6")
        rest = await ask(f"category=linear&limit=6&cursor={first['nextPageCursor']}")
        assert len(first["list"]) == 6
        assert len(rest["list"]) == 4
        assert rest["nextPageCursor"] == ""
        assert (await ask("category=linear&status=PreLaunch"))["list"] == []
        assert (await ask("category=option&baseCoin=BTC"))["list"] == []
        assert [row["symbol"] for row in (await ask("category=spot&symbol=ETHUSDT"))["list"]] == ["ETHUSDT"]
