"""Hot storage of bars: our writer beside a bare binary COPY of prepacked rows, a day read, and the feed's own path.

Writes of both sides take turns, so that a busy moment hits both. The servers of the run do not flush to disk, for
either side: what is compared is the work, not the disk.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from django.core.management import call_command
from django.db import connection
from psycopg import Cursor

from apps.market.storage import rows as packing
from apps.market.storage.reader import bars_read
from apps.market.storage.tables import COLUMNS, PARENTS
from apps.market.storage.writer import bars_write
from tests.apps.market.factories import BASE_NS, minutes_make
from tests.benchmarks.table import percentile, row

BARS = 200_000
INSTRUMENTS = 100
ROUNDS = 5
DAY = 1440
READS = 200
BARE = "CREATE TABLE bench_bare (LIKE market_bar_day INCLUDING ALL)"
KEY = "epoch_id = 1 AND instrument_id = %s AND timeframe_s = 60 AND source = 0 AND open_ns >= %s"
FEED_SPEED, FEED_FAST_S = 4, 46.0  # three minutes end in it
FEED_SECONDS = 15.0


def rows() -> list[dict[str, Any]]:
    """Measure all of it on this run's own servers."""
    call_command("migrate", verbosity=0)
    return [*_writes(), *_reads(), *_feed()]


def _batch() -> np.ndarray:
    each = BARS // INSTRUMENTS
    return np.concatenate([minutes_make(number, each, BASE_NS) for number in range(1, INSTRUMENTS + 1)])


def _writes() -> list[dict[str, Any]]:
    bars = _batch()
    with connection.cursor() as cursor:
        cursor.execute(BARE)
    bars_write(epoch_id=1, timeframe_s=60, bars=bars)  # partitions and caches exist from here on, for both
    bare, ours, again = [], [], []
    for _ in range(ROUNDS):
        bare.append(_bare(bars))
        _emptied("market_bar_day")
        ours.append(_timed(bars))
        again.append(_timed(bars))
    limit = BARS / statistics.median(bare)
    fresh = BARS / statistics.median(ours)
    # PEERS, section 5: 471,000 rows a second prepacked, 315,000 to 452,000 packed in the same call: 0.67 at least
    return [
        row("bars written, checked, partitioned", fresh, "rows/s", "bare COPY × 0.67", limit * 0.67, False),
        row("bare binary COPY of prepacked rows", limit, "rows/s", "PEERS × 0.7", 471_000 * 0.7, False),
        row("the same bars written again, none doubled", BARS / statistics.median(again), "rows/s", "shown", None),
    ]


def _bare(bars: np.ndarray) -> float:
    """Time the COPY alone: packed before, one table, one statement."""
    _emptied("bench_bare")
    body = packing.pack(bars, epoch_id=1, timeframe_s=60, source=0)
    statement = f"COPY bench_bare ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"
    began = time.perf_counter()
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(body)
    return time.perf_counter() - began


def _timed(bars: np.ndarray) -> float:
    began = time.perf_counter()
    bars_write(epoch_id=1, timeframe_s=60, bars=bars)
    return time.perf_counter() - began


def _emptied(table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {table}")


def _reads() -> list[dict[str, Any]]:
    ours, bare = [], []
    for number in range(READS):
        instrument = 1 + number % INSTRUMENTS
        began = time.perf_counter()
        bars = bars_read(1, instrument, 60, start_ns=BASE_NS, limit=DAY)
        ours.append((time.perf_counter() - began) * 1000)
        assert len(bars) == DAY
        bare.append(_bare_read(instrument))
    limit = percentile(bare, 0.5)
    return [
        row("one instrument and day read, p50", percentile(ours, 0.5), "ms", "bare SELECT × 1.5", limit * 1.5),
        row("bare SELECT of the same rows, p50", limit, "ms", "PEERS: PostgreSQL, binary, × 1.3", 1.3 * 1.3),
        row("one instrument and day read, p99", percentile(ours, 0.99), "ms", "shown", None),
    ]


def _bare_read(instrument: int) -> float:
    """Time the query alone: rows in the key's order, as Python tuples."""
    statement = f"SELECT * FROM market_bar_day WHERE {KEY} ORDER BY open_ns LIMIT {DAY}"
    began = time.perf_counter()
    with Cursor(connection.connection) as cursor:
        cursor.execute(statement, (instrument, BASE_NS), binary=True)
        found = cursor.fetchall()
    took = (time.perf_counter() - began) * 1000
    assert len(found) == DAY
    return took


def _feed() -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(PARENTS)}")
    with tempfile.TemporaryDirectory() as folder:
        found = uvloop.run(_feed_measured(Path(folder)))  # as the host of residents does
    closes, share, ready_s = found
    return [
        row("closing frame → bar stored and sent, 20 instruments, p99", percentile(closes, 0.99), "ms", "limit", 20.0),
        row("closing frame → bar stored and sent, 20 instruments, p50", percentile(closes, 0.5), "ms", "shown", None),
        row("feed of 20 instruments moving twice a second", share * 100, "% of a core", "limit", 8.0),
        row("feed's start → ready", ready_s, "s", "limit", 4.0),
    ]


async def _feed_measured(folder: Path) -> tuple[list[float], float, float]:
    """Run the feed of a simulator that is a process of its own: closes at 4 ×, processor time at 1 ×."""
    from apps.market.seed import seed
    from tests.apps.market.live import feed_running, in_thread
    from tests.apps.market.simulator_process import simulator_running

    with simulator_running(folder / "epoch-1", "--market", "synthetic") as simulator:
        await asyncio.to_thread(in_thread, seed, simulator.seed_options({"kind": "synthetic", "seed": 7}), {})
        began = time.perf_counter()
        async with feed_running() as feed:
            ready_s = time.perf_counter() - began
            await feed.settled(0)
            cpu = time.process_time()
            await asyncio.sleep(FEED_SECONDS)
            share = (time.process_time() - cpu) / FEED_SECONDS
            sent = _watch(feed)
            await asyncio.to_thread(simulator.market, speed=FEED_SPEED)
            await asyncio.sleep(FEED_FAST_S)
    return sent, share, ready_s


def _watch(feed) -> list[float]:
    """Note for every bar that is sent how long ago its closing frame came."""
    sent: list[float] = []
    bus, add = feed.context.bus, feed.context.bus.bars_add

    async def noted(stream: str, message: Any) -> str:
        number = await add(stream, message)
        now = time.time_ns()
        if stream.endswith(".60"):
            sent.extend((now - bar.closing_frame_wall_ns) / 1e6 for bar in message.bars if bar.closing_frame_wall_ns)
        return number

    bus.bars_add = noted
    return sent
