"""The market clock and the driver: speed, standing, running until a time, halts, lag."""

import asyncio
import math
from contextlib import asynccontextmanager, suppress

import pytest

from apps.simulator.markets import driver as driver_module
from apps.simulator.markets.base import MINUTE_NS, BookEvent, MinuteEnd, PrintEvent
from apps.simulator.markets.clock import MarketClock
from apps.simulator.markets.replay import ReplayMarket
from tests.apps.simulator.market_doubles import AT, Kept, Steady, market, recording

ROWS = [(minute, 10.0, 10.5, 9.5, 10.2, 5.0) for minute in range(30)]


def _source(minutes: int = 30, symbols=("BTC/USDT", "BTC/USDT:USDT")) -> ReplayMarket:
    return ReplayMarket([recording(symbol, ROWS) for symbol in symbols], AT, AT + minutes * MINUTE_NS)


@asynccontextmanager
async def _moving(driver):
    task = asyncio.create_task(driver.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _clock(steady: Steady, **options) -> MarketClock:
    clock = MarketClock(AT, mode="replay", steady_ns=steady, **options)
    clock.horizon_ns = AT + 10**15
    return clock


def test_the_clock_runs_at_its_speed_and_stands_when_paused():
    steady = Steady()
    clock = _clock(steady, speed=60.0)
    steady.pass_s(2)
    assert clock.market_ns() == AT + 120 * 10**9
    clock.pause()
    steady.pass_s(100)
    assert clock.market_ns() == AT + 120 * 10**9
    clock.resume()
    clock.speed_set(2.0)
    steady.pass_s(1)
    assert clock.market_ns() == AT + 122 * 10**9
    assert clock.as_dict()["speed"] == 2.0


def test_the_clock_never_passes_an_event_that_was_not_handled_nor_goes_back():
    steady = Steady()
    clock = _clock(steady, speed=1.0)
    clock.horizon_ns = AT + 10**9
    steady.pass_s(5)
    assert clock.market_ns() == AT + 10**9
    assert clock.lag_s() == pytest.approx(4.0)
    clock.horizon_ns = AT
    assert clock.market_ns() == AT + 10**9


def test_the_clock_stops_at_its_end_and_cannot_be_resumed():
    steady = Steady()
    clock = _clock(steady, speed=1000.0, end_ns=AT + MINUTE_NS)
    steady.pass_s(5)
    assert clock.target_ns() == AT + MINUTE_NS
    clock.stop_reached()
    clock.resume()
    assert (clock.running, clock.ended) == (False, True)


def test_wrong_speeds_and_steps_are_refused():
    clock = _clock(Steady())
    with pytest.raises(ValueError, match="above 0"):
        clock.speed_set(0)
    with pytest.raises(ValueError, match="at least 1 minute"):
        clock.step(0)


def test_max_speed_goes_as_far_as_it_may_at_once():
    clock = _clock(Steady(), speed=math.inf, end_ns=AT + 5 * MINUTE_NS)
    assert clock.target_ns() == AT + 5 * MINUTE_NS
    assert clock.forwarding
    assert clock.as_dict()["speed"] == "max"


async def test_until_stands_after_that_minutes_end_and_events_come_in_order():
    driver, clock, _, kept = market(_source())
    async with _moving(driver):
        await driver.until_reached(AT + 3 * MINUTE_NS)
        assert kept.ends() == [AT + minute * MINUTE_NS for minute in (1, 2, 3)]
        assert isinstance(kept.events[-1], MinuteEnd)
        times = [event.market_ns for event in kept.events]
        assert times == sorted(times)
        assert (clock.market_ns(), clock.running, clock.ended) == (AT + 3 * MINUTE_NS, False, False)
        prints = [event for event in kept.events if isinstance(event, PrintEvent)]
        await asyncio.sleep(0.02)
        assert [event for event in kept.events if isinstance(event, PrintEvent)] == prints


async def test_each_print_is_followed_by_the_book_that_it_leaves():
    driver, _, _, kept = market(_source(symbols=("BTC/USDT",)))
    async with _moving(driver):
        await driver.until_reached(AT + MINUTE_NS)
    after = [(a, b) for a, b in zip(kept.events, kept.events[1:], strict=False) if isinstance(a, PrintEvent)]
    assert len(after) == 12
    for made, book in after:
        assert isinstance(book, BookEvent)
        touch = book.asks[0][0] if made.side == "Buy" else book.bids[0][0]
        assert touch == made.price_ticks
        assert book.bids[0][0] < book.asks[0][0]


async def test_a_step_runs_to_the_end_of_the_minute_in_the_making():
    driver, clock, _, kept = market(_source())
    async with _moving(driver):
        clock.step()
        await driver.stood()
        assert clock.market_ns() == AT + MINUTE_NS
        clock.step(2)
        await driver.stood()
    assert kept.ends()[-1] == clock.market_ns() == AT + 3 * MINUTE_NS


async def test_a_replay_ends_at_its_end():
    driver, clock, board, kept = market(_source(minutes=4), paused=False, speed=math.inf)
    async with _moving(driver):
        await driver.stood()
    assert clock.ended
    assert clock.market_ns() == AT + 4 * MINUTE_NS
    assert len(kept.ends()) == 4
    assert len(board["spot", "BTCUSDT"].bars) == 4


async def test_a_replay_opened_at_its_end_has_ended_and_prints_nothing():
    source = ReplayMarket([recording("BTC/USDT", ROWS)], AT, AT + 3 * MINUTE_NS, AT + 3 * MINUTE_NS)
    driver, clock, board, kept = market(source, paused=False)
    assert (clock.ended, clock.running) == (True, False)
    before = len(kept.events)
    async with _moving(driver):
        await driver.until_reached(AT + 9 * MINUTE_NS)
    assert len(kept.events) == before
    assert len(board["spot", "BTCUSDT"].bars) == 3


async def test_a_fast_replay_keeps_its_pace():
    driver, clock, _, kept = market(_source(), paused=False, speed=600.0)
    async with _moving(driver):
        while len(kept.ends()) < 3:  # 0.3 s of wall time
            await asyncio.sleep(0.01)
        assert clock.lag_s() < 1.0
        assert AT + 3 * MINUTE_NS <= clock.market_ns() < AT + 12 * MINUTE_NS
        clock.pause()
        await driver.stood()


async def test_a_halted_symbol_has_no_prints_and_empty_minutes_until_the_halt_ends():
    driver, clock, board, kept = market(_source(symbols=("BTC/USDT", "ETH/USDT")))
    async with _moving(driver):
        clock.halt("ETHUSDT")
        await driver.until_reached(AT + 2 * MINUTE_NS)
        assert {event.symbol for event in kept.events if isinstance(event, PrintEvent)} == {"BTCUSDT"}
        assert board["spot", "ETHUSDT"].bars.view()["volume"].tolist() == [0, 0]
        clock.unhalt("ETHUSDT")
        await driver.until_reached(AT + 3 * MINUTE_NS)
    assert board["spot", "ETHUSDT"].bars.view()["volume"].tolist() == [0, 0, 5000]


def test_a_halt_of_all_holds_for_every_symbol():
    clock = _clock(Steady())
    clock.halt()
    assert clock.halted("BTCUSDT")
    assert clock.as_dict()["halted"] == ["*"]
    clock.unhalt()
    assert not clock.halted("BTCUSDT")


async def test_a_market_that_cannot_keep_up_says_that_it_is_saturated(caplog, monkeypatch):
    monkeypatch.setattr(driver_module, "SLICE_S", 0.0)  # one event at a time
    steady = Steady()
    driver, clock, _, _ = market(_source(), paused=False, speed=1.0, steady_ns=steady)
    steady.pass_s(30)

    class Slow:
        async def drained(self):
            steady.pass_s(10)  # the wall goes on faster than events are handled

        async def flushed(self):
            return None

    driver.outlet = Slow()
    with caplog.at_level("WARNING"):
        async with _moving(driver):
            while not driver.saturated:
                await asyncio.sleep(0)
            clock.pause()
    assert "saturated: frames leave" in caplog.text


async def test_handlers_see_the_time_of_their_event():
    driver, clock, _, kept = market(_source())
    seen = []
    handlers = driver._handlers
    driver._handlers = {kind: (*each, lambda event: seen.append(clock.market_ns())) for kind, each in handlers.items()}
    before = len(kept.events)
    async with _moving(driver):
        await driver.until_reached(AT + MINUTE_NS)
    assert seen == [event.market_ns for event in kept.events[before:]]


def test_kept_is_a_sink():
    assert Kept().ends() == []
