"""Closed bars: stored first, then sent; a database or bus that is away loses none."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from django.conf import settings
from psycopg import OperationalError

from apps.common.bus import Bus
from apps.common.database import async_pool
from apps.common.ending import tasks_end
from apps.common.errors import LeaseLost
from apps.common.leases import LeaseKeeper
from apps.market.feed import lanes
from apps.market.feed import recorder as recorder_module
from apps.market.feed.candles import ClosedBar
from apps.market.feed.recorder import Recorder
from apps.market.storage.reader import bars_read_async
from apps.market.storage.rows import BACKFILLED
from tests.apps.market.factories import BASE_NS, MINUTE_NS, minutes_make
from tests.apps.market.live import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hot_bars_emptied")]


def _bar(minute: int, price: float = 100.0, **fields) -> ClosedBar:
    opened = BASE_NS + minute * MINUTE_NS
    values = {"flags": 0, "known_ns": opened + MINUTE_NS, "closing_frame_wall_ns": 77, **fields}
    return ClosedBar(7, 60, opened, price, price + 1, price - 1, price, 2.0, 2 * price, 3, **values)


class Pool:
    """A pool whose database can be taken away."""

    def __init__(self, pool) -> None:
        self._pool, self.is_up = pool, True

    async def take_away(self) -> None:
        """Cut every connection that is lent, and lend no more."""
        self.is_up = False
        async with self._pool.connection() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'recorder'"
            )

    @asynccontextmanager
    async def connection(self):
        if not self.is_up:
            raise OperationalError("the database is away")
        async with self._pool.connection() as connection:
            yield connection


class Streams:
    """The bus's streams, which can be taken away."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, list]] = []
        self.is_up = True

    async def bars_add(self, stream: str, message) -> None:
        if not self.is_up:
            raise ConnectionError("the bus is away")
        self.sent.append((stream, message.bars))

    def of(self, stream: str) -> list:
        return [bar for name, bars in self.sent if name == stream for bar in bars]


@pytest.fixture
async def recording():
    pool = async_pool(1, 4, "recorder")
    await pool.open()
    keeper = LeaseKeeper("test")
    lease = await keeper.acquire("feed", "bybit-sim/0")
    lent, streams = Pool(pool), Streams()
    recorder = Recorder(
        pool=lent, bus=streams, venue="bybit-sim", epoch_id=1, fence=("feed", "bybit-sim/0", lease.fence),
        coarse_timeframes_s=[300, 60],
    )  # fmt: skip
    runs = (recorder.run, recorder.run_seconds, recorder.run_filled, recorder.run_coarse)
    tasks = [asyncio.create_task(run()) for run in runs]
    yield recorder, lent, streams, tasks
    assert await tasks_end(tasks) == set()
    await keeper.release(lease)
    await keeper.close()
    await pool.close()


async def test_bars_are_stored_and_sent_with_the_frame_that_closed_them(recording) -> None:
    recorder, pool, streams, _ = recording
    recorder.add([_bar(0), _bar(1, 101.0)])
    await recorder.drained()
    sent = streams.of("bybit-sim.60")
    assert [(bar.open_ns, bar.revision, bar.closing_frame_wall_ns) for bar in sent] == [
        (BASE_NS, 0, 77),
        (BASE_NS + MINUTE_NS, 0, 77),
    ]
    assert sent[0].feed_wall_ns > 0
    assert len(await bars_read_async(pool, 1, 7, 60)) == 2


async def test_what_storage_holds_already_is_not_sent_again(recording) -> None:
    recorder, _, streams, _ = recording
    recorder.add([_bar(0)])
    await recorder.drained()
    recorder.add([_bar(0), _bar(1)])
    await recorder.drained()
    assert [bar.open_ns for bar in streams.of("bybit-sim.60")] == [BASE_NS, BASE_NS + MINUTE_NS]


async def test_seconds_go_their_own_way_beside_the_minutes(recording) -> None:
    recorder, pool, streams, _ = recording
    second = _bar(0)
    second.timeframe_s = 1
    recorder.add([_bar(0), second])
    await recorder.drained()
    assert len(streams.of("bybit-sim.60")) == len(streams.of("bybit-sim.1")) == 1
    assert len(await bars_read_async(pool, 1, 7, 1)) == 1


async def test_a_correction_is_sent_as_the_next_revision(recording) -> None:
    recorder, _, streams, _ = recording
    recorder.add([_bar(0)])
    await recorder.drained()
    recorder.add([_bar(0, 105.0)])
    await recorder.drained()
    assert [(bar.revision, bar.close, bar.flags) for bar in streams.of("bybit-sim.60")] == [
        (0, 100.0, 0),
        (1, 105.0, 8),
    ]


async def test_a_database_that_is_away_delays_bars_and_loses_none(recording) -> None:
    recorder, pool, streams, _ = recording
    recorder.add([_bar(0)])
    await recorder.drained()
    await pool.take_away()
    recorder.add([_bar(1)])
    await until(lambda: not recorder.is_storage_up)
    recorder.add([_bar(2)])
    assert len(streams.of("bybit-sim.60")) == 1
    pool.is_up = True
    await recorder.drained()
    assert len(streams.of("bybit-sim.60")) == 3
    assert recorder.is_storage_up


async def test_a_bus_that_is_away_delays_the_message_and_not_the_storage(recording) -> None:
    recorder, pool, streams, _ = recording
    streams.is_up = False
    recorder.add([_bar(0)])
    await until(lambda: recorder.stored == 1)
    assert len(await bars_read_async(pool, 1, 7, 60)) == 1
    streams.is_up = True
    await until(lambda: len(streams.of("bybit-sim.60")) == 1)


async def test_coarser_bars_follow_their_last_minute_and_its_corrections(recording) -> None:
    recorder, _, streams, _ = recording
    first = -(BASE_NS // MINUTE_NS) % 5
    recorder.add([_bar(first + minute, 100.0 + minute) for minute in range(5)])
    await until(lambda: streams.of("bybit-sim.300"))
    recorder.add([_bar(first + 2, 150.0)])
    await until(lambda: len(streams.of("bybit-sim.300")) == 2)
    before, after = streams.of("bybit-sim.300")
    assert (before.open, before.high, before.close, before.volume, before.revision) == (100.0, 105.0, 104.0, 10.0, 0)
    assert (after.high, after.revision) == (151.0, 1)


async def test_a_feed_whose_lease_has_passed_on_stops(recording) -> None:
    recorder, pool, streams, tasks = recording
    async with pool.connection() as connection:
        await connection.execute("UPDATE common_lease SET fence = fence + 1 WHERE kind = 'feed'")
    recorder.add([_bar(0)])
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(asyncio.shield(tasks[0]), 5)
    assert streams.sent == []


async def test_bars_beyond_the_limit_make_room_and_are_left_to_the_backfill(recording, monkeypatch) -> None:
    recorder, pool, streams, _ = recording
    monkeypatch.setattr(lanes, "WAITING_LIMIT", 3)
    pool.is_up = False
    recorder.add([_bar(0)])
    await until(lambda: not recorder.is_storage_up)
    for minute in range(1, 6):
        recorder.add([_bar(minute)])
    pool.is_up = True
    await recorder.drained()
    opens = [(bar.open_ns - BASE_NS) // MINUTE_NS for bar in streams.of("bybit-sim.60")]
    assert opens == [0, 3, 4, 5]


async def test_the_real_bus_takes_what_the_recorder_sends() -> None:
    bus = Bus(settings.REDIS_URL)
    message = recorder_module.BarsClosed(1, 60, [recorder_module.Bar(7, 1, *[1.0] * 6, 3, 0, 5, 0, 0, 0)])
    before = await bus.redis.xlen("qd:bars:golden.60")
    await bus.bars_add("golden.60", message)
    assert await bus.redis.xlen("qd:bars:golden.60") == before + 1
    await bus.close()


async def test_coarser_bars_of_a_long_back_fill_are_made_a_part_at_a_time(recording, monkeypatch) -> None:
    recorder, pool, *_ = recording
    span_ns, asked = recorder_module.COARSE_SPAN_NS, []
    read = recorder_module.bars_read_many_async

    async def measured(lent, epoch_id, instruments, timeframe_s, start_ns, end_ns):
        asked.append(end_ns - start_ns)
        return await read(lent, epoch_id, instruments, timeframe_s, start_ns, end_ns)

    monkeypatch.setattr(recorder_module, "bars_read_many_async", measured)
    first_ns, minutes = BASE_NS - BASE_NS % (5 * MINUTE_NS), 5 * 1440
    recorder.add_rows(60, minutes_make(7, minutes, first_ns, flags=BACKFILLED))
    await until(lambda: recorder.stored == minutes + minutes // 5)
    stored = await bars_read_async(pool, 1, 7, 300, first_ns, first_ns + minutes * MINUTE_NS, limit=10_000)
    assert len(stored) == minutes // 5
    assert max(asked) <= span_ns + 300_000_000_000
