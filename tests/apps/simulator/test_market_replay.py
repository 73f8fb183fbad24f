"""A replay gives its file back: prices, volume, holes, history, and where it stood."""

import asyncio
from contextlib import suppress
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.simulator.markets.base import MINUTE_NS, MarketError, MarkEvent, MinuteEnd, PrintEvent
from apps.simulator.markets.files import TradeFile, file_find, file_read
from apps.simulator.markets.plan import ReplayPosition, replay_plan
from apps.simulator.markets.recording import recording_make
from apps.simulator.markets.replay import ReplayMarket
from tests.apps.simulator.market_doubles import AT, TERMS, market, recording


async def _play(driver, until_ns: int) -> None:
    task = asyncio.create_task(driver.run())
    await driver.until_reached(until_ns)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


prices = st.integers(1000, 1200)


@st.composite
def minutes(draw: st.DrawFn) -> list[tuple]:
    rows = []
    for minute in draw(st.sets(st.integers(0, 7), min_size=1).map(sorted)):
        low, high = sorted((draw(prices), draw(prices)))
        open_, close = draw(st.integers(low, high)), draw(st.integers(low, high))
        volume = draw(st.integers(4, 10**6))
        rows.append((minute, open_ / 100, high / 100, low / 100, close / 100, volume / 1000))
    return rows


@settings(max_examples=40, deadline=None)
@given(minutes())
def test_klines_equal_the_file_and_missing_minutes_are_flat_and_empty(rows):
    source = ReplayMarket([recording("BTC/USDT", rows)], AT + rows[0][0] * MINUTE_NS, AT + 8 * MINUTE_NS)
    driver, _, board, _ = market(source)
    asyncio.run(_play(driver, AT + 8 * MINUTE_NS))
    bars = board["spot", "BTCUSDT"].bars.view()
    by_minute = {(int(bar["open_ns"]) - AT) // MINUTE_NS: bar for bar in bars}
    assert list(by_minute) == list(range(rows[0][0], 8))
    held = {row[0]: row for row in rows}
    close = 0
    for minute, bar in by_minute.items():
        if minute in held:
            expected = [round(value * 100) for value in held[minute][1:5]] + [round(held[minute][5] * 1000)]
            assert [int(bar[name]) for name in ("open", "high", "low", "close", "volume")] == expected
        else:
            assert [int(bar[name]) for name in ("open", "high", "low", "close", "volume")] == [close] * 4 + [0]
        close = int(bar["close"])


def test_prices_and_volumes_are_rounded_to_the_terms_asked_for():
    rows = [
        (0, 10.004, 10.126, 9.996, 10.051, 5.0004),
        (1, 10.0, 10.0, 10.0, 10.0, 0.0001),
        (2, 9.9, 10.1, 9.9, 10.0, 0.001),
    ]
    source = ReplayMarket([recording("BTC/USDT", rows)], AT, AT + 3 * MINUTE_NS)
    driver, _, board, _ = market(source)
    asyncio.run(_play(driver, AT + 3 * MINUTE_NS))
    bars = board["spot", "BTCUSDT"].bars.view()[["open", "high", "low", "close", "volume"]].tolist()
    assert bars[0] == (1000, 1013, 1000, 1005, 5000)
    assert bars[1] == (1000, 1000, 1000, 1000, 1)  # a traded minute keeps a lot
    assert bars[2] == (990, 1010, 990, 1000, 3)  # and as many as its path has prices


def test_history_reaches_back_as_far_as_there_is_no_hole():
    rows = [(minute, 10.0, 10.5, 9.5, 10.2, 5.0) for minute in (0, 1, 3, 4, 5, 6)]
    source = ReplayMarket([recording("BTC/USDT", rows)], AT + 5 * MINUTE_NS, AT + 7 * MINUTE_NS)
    history = source.history(("spot", "BTCUSDT"), AT + 5 * MINUTE_NS)
    assert ((history["open_ns"] - AT) // MINUTE_NS).tolist() == [3, 4]
    at_hole = ReplayMarket([recording("BTC/USDT", rows)], AT + 3 * MINUTE_NS, AT + 7 * MINUTE_NS)
    assert len(at_hole.history(("spot", "BTCUSDT"), AT + 3 * MINUTE_NS)) == 0


def test_a_paused_replay_stands_at_its_start_with_a_book_around_the_last_price():
    rows = [(minute, 10.0 + minute, 10.5 + minute, 9.5 + minute, 10.2 + minute, 5.0) for minute in range(4)]
    driver, clock, board, kept = market(ReplayMarket([recording("BTC/USDT", rows)], AT + MINUTE_NS, AT + 4 * MINUTE_NS))
    state = board["spot", "BTCUSDT"]
    assert clock.market_ns() == AT + MINUTE_NS
    assert state.last == 1020
    assert state.bids[0][0] < 1020 <= state.asks[0][0]
    assert not [event for event in kept.events if isinstance(event, PrintEvent)]
    assert driver.source.from_ns == AT + MINUTE_NS


def test_the_best_levels_hold_the_stated_share_of_the_minutes_volume():
    rows = [(0, 10.0, 10.5, 9.5, 10.2, 50.0)]
    source = ReplayMarket([recording("BTC/USDT", rows)], AT, AT + MINUTE_NS, share=0.2)
    books = [event for event in source.minute(AT) if hasattr(event, "bids")]
    for book in books:
        for side in (book.bids, book.asks):
            assert sum(lots for _, lots in side[:5]) == pytest.approx(50_000 * 0.2, rel=0.001)
            assert max(lots for _, lots in side[:1]) < 50_000 * 0.1
            assert [ticks for ticks, _ in side] == sorted({ticks for ticks, _ in side}, reverse=side is book.bids)


def test_a_perpetual_has_marks_and_fundings_at_rate_zero():
    rows = [(minute, 10.0, 10.5, 9.5, 10.2, 5.0) for minute in range(490)]
    source = ReplayMarket([recording("BTC/USDT:USDT", rows)], AT + 475 * MINUTE_NS, AT + 490 * MINUTE_NS)
    driver, _, board, kept = market(source)
    asyncio.run(_play(driver, AT + 485 * MINUTE_NS))
    assert any(isinstance(event, MarkEvent) and event.funding_rate == 0 for event in kept.events)
    paid = board["linear", "BTCUSDT"].funding
    assert [event.market_ns for event in paid] == [AT + 480 * MINUTE_NS]
    assert paid[0].rate == Decimal(0)


def test_trades_are_replayed_one_by_one_with_their_sides():
    ts = np.array([AT + 10, AT + 10, AT + 5 * 10**9, AT + MINUTE_NS + 1])
    file = TradeFile("t", ts, np.array([10.0, 10.01, 9.99, 10.0]), np.array([1.0, 0.5, 2.0, 0.1]), None)
    source = ReplayMarket([recording_make("BTC/USDT", file, TERMS)], AT, AT + 2 * MINUTE_NS)
    driver, _, board, kept = market(source)
    asyncio.run(_play(driver, AT + 2 * MINUTE_NS))
    prints = [event for event in kept.events if isinstance(event, PrintEvent)]
    assert [(event.market_ns, event.price_ticks, event.size_lots, event.side) for event in prints] == [
        (AT + 10, 1000, 1000, "Buy"),
        (AT + 10, 1001, 500, "Buy"),
        (AT + 5 * 10**9, 999, 2000, "Sell"),
        (AT + MINUTE_NS + 1, 1000, 100, "Buy"),
    ]
    ids = [recent.print_id for recent in board["spot", "BTCUSDT"].recent]
    assert len(set(ids)) == 4
    assert board["spot", "BTCUSDT"].bars.view()["volume"].tolist() == [3500, 100]


def test_a_replay_started_again_goes_on_from_where_it_stood(tmp_path):
    rows = [(minute, 10.0, 10.5, 9.5, 10.2, 5.0) for minute in range(9)]
    about = {"symbols": "x=BTC/USDT"}
    position = ReplayPosition(tmp_path / "market.json", about)
    assert position.load(AT) == AT
    driver, _, whole, _ = market(ReplayMarket([recording("BTC/USDT", rows)], AT, AT + 9 * MINUTE_NS))
    asyncio.run(_play(driver, AT + 9 * MINUTE_NS))
    position.on_minute_end(MinuteEnd(AT + 4 * MINUTE_NS))
    start_ns = ReplayPosition(tmp_path / "market.json", about).load(AT)
    assert start_ns == AT + 4 * MINUTE_NS
    source = ReplayMarket([recording("BTC/USDT", rows)], AT, AT + 9 * MINUTE_NS, start_ns)
    driver, _, board, kept = market(source)
    asyncio.run(_play(driver, AT + 9 * MINUTE_NS))
    assert kept.ends()[0] == AT + 5 * MINUTE_NS
    assert np.array_equal(board["spot", "BTCUSDT"].bars.view(), whole["spot", "BTCUSDT"].bars.view())
    with pytest.raises(MarketError, match="holds another replay"):
        ReplayPosition(tmp_path / "market.json", {"symbols": "y=BTC/USDT"}).load(AT)
    (tmp_path / "market.json").write_text("{")
    with pytest.raises(MarketError, match="cannot be read as a replay's position"):
        position.load(AT)


@pytest.mark.data
def test_the_recorded_day_comes_back_as_it_was_recorded(recorded_data):
    folder = recorded_data / "candles"
    symbols = ",".join(f"coinbase_{base}USD_1m={base}/USDT" for base in ("BTC", "ETH", "LTC"))
    plan = replay_plan(folder, symbols, "2018-04-04T00:00", "2018-04-04T16:45")
    assert (plan.end_ns - plan.from_ns) // MINUTE_NS == 1006
    driver, clock, board, _ = market(ReplayMarket(plan.recordings, plan.from_ns, plan.end_ns))
    asyncio.run(_play(driver, plan.end_ns))
    assert clock.ended
    for base in ("BTC", "ETH", "LTC"):
        state = board["spot", f"{base}USDT"]
        file = file_read(file_find(folder, f"coinbase_{base}USD_1m"))
        within = (file.open_ns >= plan.from_ns) & (file.open_ns < plan.end_ns)
        bars = state.bars.view()
        bars = bars[bars["open_ns"] >= plan.from_ns]
        assert within.sum() == len(bars) == 1006
        for name in ("open", "high", "low", "close", "volume"):
            step = float(state.spec.lot if name == "volume" else state.spec.tick)
            assert np.array_equal(bars[name], np.rint(file.columns[name][within] / step)), (base, name)
