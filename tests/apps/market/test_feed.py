"""The feed on a live market: bars equal the venue's, gaps healed, silence shown, nothing doubled or lost."""

import asyncio
from contextlib import suppress

import aiohttp
import msgspec
import numpy as np
import pytest

from apps.common.bus import Bus
from apps.common.errors import GovernorRefused
from apps.market.events import BarsClosed
from apps.market.feed import health
from apps.market.selectors import bars_newest_open_async, bars_read_async
from apps.market.storage.gaps import gaps_async
from apps.market.storage.rows import BACKFILLED, EMPTY
from tests.apps.market.live import MINUTE_NS, feed_running, market_running, seeded, until

pytestmark = [
    pytest.mark.stack,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("hot_bars_emptied"),
]


async def _venue_klines(half, feed, number: int, start_ns: int, end_ns: int):
    item = feed.collector.instruments[number].item
    while True:  # a bus that stands still for a moment refuses the token, as it would for a back-fill
        with suppress(GovernorRefused):
            return await feed.resident._provider.klines(item, 60, start_ns, end_ns)
        await asyncio.sleep(0.2)


async def _assert_equal_to_venue(half, feed, start_ns: int, end_ns: int) -> None:
    for number in feed.collector.instruments:
        stored = await bars_read_async(feed.context.pool, feed.epoch_id, number, 60, start_ns, end_ns)
        wanted = await _venue_klines(half, feed, number, start_ns, end_ns)
        assert len(wanted) == (end_ns - start_ns) // MINUTE_NS
        for name in ("open_ns", "open", "high", "low", "close"):
            assert np.array_equal(stored[name], wanted[name]), name
        assert np.allclose(stored["volume"], wanted["volume"], rtol=1e-9)
        assert np.array_equal(stored["flags"] & EMPTY, wanted["flags"] & EMPTY)


async def _assert_rows_once(feed) -> None:
    async with feed.context.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM market_bar_day WHERE timeframe_s = 60 AND epoch_id = %s"
            " GROUP BY instrument_id, open_ns HAVING count(*) > 1) doubled",
            (feed.epoch_id,),
        )
        assert await cursor.fetchone() == (0,)


async def test_bars_in_storage_equal_the_venues_and_coarser_ones_follow(tmp_path) -> None:
    async with market_running(tmp_path) as half:
        await seeded(half)
        start_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
        end_ns = start_ns + 12 * MINUTE_NS
        async with feed_running() as feed:
            await half.driver.until_reached(end_ns + MINUTE_NS)
            await feed.settled(end_ns)
            await _assert_equal_to_venue(half, feed, start_ns, end_ns)
            await _assert_equal_to_venue(half, feed, start_ns - 500 * MINUTE_NS, start_ns)
            await _assert_rows_once(feed)
            history_ns = start_ns - 3 * 1440 * MINUTE_NS
            numbers = list(feed.collector.instruments)
            gaps = await gaps_async(feed.context.pool, feed.epoch_id, numbers, 60, history_ns + 60 * MINUTE_NS, end_ns)
            assert gaps == []
            coarse_ns = end_ns - end_ns % (5 * MINUTE_NS) - 5 * MINUTE_NS
            await until_stored(feed, 300, coarse_ns)
            assert sum(found.builder.disagreements for found in feed.collector.instruments.values()) == 0
            live = await bars_read_async(feed.context.pool, feed.epoch_id, numbers[0], 60, start_ns, end_ns)
            assert not (live["flags"] & BACKFILLED).any()
            assert (live["trades"][1:] > 0).all()
            await _assert_prints_make_the_bars(feed, start_ns + MINUTE_NS, end_ns)


async def _assert_prints_make_the_bars(feed, start_ns: int, end_ns: int) -> None:
    """What is stored of the prints, summed by minute, is what the bars say, none twice."""
    await feed.resident._prints.flush()
    async with feed.context.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT instrument_id, market_ns / %(minute)s * %(minute)s, sum(size)::float8, count(*),"
            " count(DISTINCT trade_id), max(price)::float8, min(price)::float8 FROM market_print_day"
            " WHERE epoch_id = %(epoch)s AND market_ns >= %(start)s AND market_ns < %(end)s GROUP BY 1, 2",
            {"minute": MINUTE_NS, "epoch": feed.epoch_id, "start": start_ns, "end": end_ns},
        )
        found = {row[:2]: row[2:] for row in await cursor.fetchall()}
    for number in feed.collector.instruments:
        for bar in await bars_read_async(feed.context.pool, feed.epoch_id, number, 60, start_ns, end_ns):
            volume, count, distinct, high, low = found[(number, int(bar["open_ns"]))]
            assert count == distinct == bar["trades"]
            assert (high, low) == (bar["high"], bar["low"])
            assert abs(volume - bar["volume"]) <= 1e-9 * volume


async def until_stored(feed, timeframe_s: int, open_ns: int) -> None:
    numbers = list(feed.collector.instruments)
    async with asyncio.timeout(10):
        while True:
            newest = await bars_newest_open_async(feed.context.pool, feed.epoch_id, numbers, timeframe_s)
            if set(newest) == set(numbers) and min(newest.values()) >= open_ns:
                return
            await asyncio.sleep(0.05)


async def test_every_closed_bar_is_on_its_stream_once_and_in_storage_before(tmp_path) -> None:
    async with market_running(tmp_path) as half:
        await seeded(half)
        start_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
        async with feed_running() as feed:
            await feed.settled(start_ns)
            bus, seen = Bus(feed.context.bus.url), []
            reading = asyncio.create_task(_collect(bus, seen))
            await asyncio.sleep(0.2)
            await half.driver.until_reached(start_ns + 6 * MINUTE_NS)
            await feed.settled(start_ns + 6 * MINUTE_NS)
            await until(lambda: len(seen) >= 6 * len(feed.collector.instruments))
            reading.cancel()
            await bus.close()
            keys = [(bar.instrument_id, bar.open_ns) for bar in seen]
            assert len(keys) == len(set(keys)) == 6 * len(feed.collector.instruments)
            assert all(0 < bar.closing_frame_wall_ns <= bar.feed_wall_ns for bar in seen)


async def _collect(bus: Bus, seen: list) -> None:
    async for _, message in bus.bars_read("bybit-sim.60"):
        assert isinstance(message, BarsClosed)
        seen.extend(message.bars)


async def test_a_dropped_delta_is_noticed_and_the_book_is_the_venues_again(tmp_path) -> None:
    async with market_running(tmp_path, paused=False) as half:
        await seeded(half)
        async with feed_running() as feed:
            instrument = feed.instrument("BTCUSDT", "spot")
            half.faults.drops.append("spot.orderbook.50.BTCUSDT")
            await until(lambda: instrument.gaps > 0)
            await until(lambda: instrument.book.is_sound)
            half.clock.pause()
            wanted = await _venue_book(half, "spot", "BTCUSDT")
            await until(lambda: [list(side) for side in map(list, instrument.book.top(12))] == wanted)
            assert instrument.gaps == 1


async def test_a_book_that_is_asked_for_in_vain_blocks_its_instrument_until_it_comes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("apps.market.feed.tending.LONGEST_PAUSE_NS", 1_500_000_000)
    async with market_running(tmp_path, paused=False) as half:
        await seeded(half)
        async with feed_running() as feed:
            instrument = feed.instrument("BTCUSDT", "spot")
            sends_snapshots = half.public.broadcaster._book_join
            half.public.broadcaster._book_join = lambda *_: None  # subscriptions are confirmed, and nothing comes
            half.faults.drops.append("spot.orderbook.50.BTCUSDT")
            await until(lambda: instrument.book_asks >= 3)
            told = await feed.told(lambda told: "no sound book for" in told.detail)
            assert (told.state, told.stale) == (health.READY, [instrument.item.instrument_id])
            assert told.live == told.total - 1
            assert "BTCUSDT (spot): no sound book for" in told.detail
            half.public.broadcaster._book_join = sends_snapshots
            await until(lambda: instrument.book.is_sound)
            told = await feed.told(lambda told: not told.stale)
            assert told.detail == ""
            await until(lambda: instrument.book_asks == 0)  # it has stayed sound: the next gap is asked for at once


async def _venue_book(half, category: str, symbol: str) -> list:
    async with aiohttp.ClientSession() as session:
        url = f"{half.rest}/v5/market/orderbook?category={category}&symbol={symbol}&limit=12"
        async with session.get(url) as answer:
            result = msgspec.json.decode(await answer.read())["result"]
    return [[(float(price), float(size)) for price, size in result[side]] for side in ("b", "a")]


async def test_repeated_frames_change_nothing(tmp_path) -> None:
    async with market_running(tmp_path) as half:
        await seeded(half)
        half.faults.repeats = True
        start_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
        async with feed_running() as feed:
            await half.driver.until_reached(start_ns + 3 * MINUTE_NS)
            await feed.settled(start_ns + 3 * MINUTE_NS)
            await _assert_equal_to_venue(half, feed, start_ns, start_ns + 3 * MINUTE_NS)
            assert sum(found.builder.disagreements for found in feed.collector.instruments.values()) == 0
            assert sum(found.builder.duplicate_prints for found in feed.collector.instruments.values()) > 0


async def test_a_silent_socket_is_stale_within_five_to_seven_seconds_and_well_again_after(tmp_path) -> None:
    async with market_running(tmp_path, paused=False) as half:
        await seeded(half)
        async with feed_running() as feed:
            loop = asyncio.get_running_loop()
            half.faults.is_silent = True
            began = loop.time()
            await until(lambda: feed.context.lease.meta["state"] in (health.STALE, health.DOWN), 10)
            assert 4.5 <= loop.time() - began <= 7.0
            await asyncio.sleep(0.2)
            told = await feed.context.bus.last("health.feed.bybit-sim")
            assert told.stale_connection
            assert told.state in (health.STALE, health.DOWN)
            await asyncio.sleep(5.0)  # past the redial: a new socket that is silent too must not look well
            assert feed.context.lease.meta["state"] in (health.STALE, health.DOWN)
            half.faults.is_silent = False
            await until(lambda: feed.context.lease.meta["state"] == health.READY, 20)
            assert feed.collector.reconnects >= 1


async def test_connections_lost_over_minutes_leave_no_hole(tmp_path) -> None:
    async with market_running(tmp_path) as half:
        await seeded(half)
        start_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
        async with feed_running() as feed:
            await half.driver.until_reached(start_ns + 2 * MINUTE_NS + MINUTE_NS // 2)
            await feed.settled(start_ns + 2 * MINUTE_NS)
            for connection in tuple(half.public.broadcaster.connections):
                connection.abort()
            await half.driver.until_reached(start_ns + 5 * MINUTE_NS + MINUTE_NS // 2)
            await until(lambda: feed.collector.reconnects >= 2)
            await until(lambda: all(found.book.is_sound for found in feed.collector.instruments.values()))
            await half.driver.until_reached(start_ns + 8 * MINUTE_NS)
            await feed.settled(start_ns + 8 * MINUTE_NS)
            await _assert_equal_to_venue(half, feed, start_ns, start_ns + 8 * MINUTE_NS)
            await _assert_rows_once(feed)


async def test_a_second_feed_goes_on_where_the_first_stopped(tmp_path) -> None:
    async with market_running(tmp_path) as half:
        await seeded(half)
        start_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
        async with feed_running(holder="one") as feed:
            await half.driver.until_reached(start_ns + 2 * MINUTE_NS)
            await feed.settled(start_ns + 2 * MINUTE_NS)
        await half.driver.until_reached(start_ns + 4 * MINUTE_NS + MINUTE_NS // 3)
        async with feed_running(holder="two") as feed:
            await half.driver.until_reached(start_ns + 6 * MINUTE_NS)
            await feed.settled(start_ns + 6 * MINUTE_NS)
            await _assert_equal_to_venue(half, feed, start_ns, start_ns + 6 * MINUTE_NS)
            await _assert_rows_once(feed)
