"""Closed bars on their way: first into storage, then onto their streams, in this order and never the other."""

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import numpy as np
import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from apps.common.bus import Bus
from apps.common.clocks import wall_ns
from apps.common.redis_clients import BUS_ERRORS
from apps.market.events import Bar, BarsClosed
from apps.market.feed.candles import ClosedBar
from apps.market.feed.coarse import MINUTE_S, SECOND_NS, Bucket, buckets_touched, coarse_of
from apps.market.feed.lanes import Lane
from apps.market.storage.reader import bars_read_many_async
from apps.market.storage.rows import BAR_DTYPE, Bars
from apps.market.storage.writer import bars_write_async

log = structlog.get_logger(__name__)
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 2.0
GATHER_S = 0.001  # confirmations of one minute arrive within it, and go as one batch
STEP_BACK_S = 0.1  # longest wait of others for minutes on their way
PER_MESSAGE = 200
COARSE_SPAN_NS = 2 * 86_400 * SECOND_NS  # of minutes read at once for coarser bars
STORAGE_ERRORS = (DatabaseError, PoolTimeout, OSError, TimeoutError)
FIELDS = tuple(BAR_DTYPE.names or ())


class Recorder:
    """The only writer of one feed's bars. Batches form by themselves: what closes during a commit goes with the next.

    Three lanes, each with a connection of its own, so that a minute that closes, for which a desk waits, never waits
    behind others: `minutes` as they close live, `seconds`, and `filled`, which are back-filled and coarser ones.
    """

    def __init__(
        self,
        *,
        pool: Any,
        bus: Bus,
        venue: str,
        epoch_id: int,
        fence: tuple[str, str, int],
        coarse_timeframes_s: list[int],
    ) -> None:
        self._pool, self._bus = pool, bus
        self._venue, self._epoch_id, self._fence = venue, epoch_id, fence
        self._coarse = [timeframe for timeframe in coarse_timeframes_s if timeframe % 60 == 0 and timeframe > 60]
        self._minutes, self._seconds, self._filled = Lane(), Lane(), Lane()
        self._frames: dict[tuple[int, int], int] = {}  # (instrument, minute): when its closing frame came
        self._dirty: dict[int, set[Bucket]] = defaultdict(set)
        self._wake_coarse = asyncio.Event()
        self._held: AsyncExitStack | None = None
        self._connection: Any = None
        self.is_storage_up = True
        self.stored = 0

    def add(self, bars: list[ClosedBar]) -> None:
        """Take in bars that have just closed; they are stored and sent by `run` and `run_seconds`."""
        minutes = [bar for bar in bars if bar.timeframe_s == MINUTE_S]
        for bar in minutes:
            self._frames[(bar.instrument_id, bar.open_ns)] = bar.closing_frame_wall_ns
        if minutes:
            self._minutes.add(MINUTE_S, minutes)
        if len(minutes) < len(bars):
            self._seconds.add(1, [bar for bar in bars if bar.timeframe_s != MINUTE_S])

    def add_rows(self, timeframe_s: int, bars: Bars) -> None:
        """Take bars in as rows, as a back-fill and coarser timeframes have them; they go by `run_filled`."""
        if len(bars):
            self._filled.add(timeframe_s, bars)

    def filled_waiting(self) -> int:
        """How many rows wait to be stored: who adds many looks at it first, for past a limit the oldest are dropped."""
        return self._filled.bars

    async def drained(self) -> None:
        """Return when nothing waits to be stored or sent."""
        await asyncio.gather(*[lane.idle.wait() for lane in (self._minutes, self._seconds, self._filled)])

    async def minutes_first(self) -> None:
        """Let minutes that are on their way pass, for a moment: with storage or bus away they may take long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STEP_BACK_S):
                await self._minutes.idle.wait()

    async def run(self) -> None:
        """Store and send closed minutes for ever. Raises `LeaseLost` when the feed's lease has passed on."""
        try:
            await self._run(self._minutes)
        finally:
            await self._let_go()

    async def run_seconds(self) -> None:
        """The same for one-second bars."""
        await self._run(self._seconds)

    async def run_filled(self) -> None:
        """The same for bars of a back-fill, and for coarser ones."""
        await self._run(self._filled)

    async def _run(self, lane: Lane) -> None:
        while True:
            await lane.wake.wait()
            await asyncio.sleep(GATHER_S)
            if lane is not self._minutes:
                await self.minutes_first()
            lane.wake.clear()
            for timeframe_s in sorted(lane.waiting):
                await self._store(lane, timeframe_s)
            await self._send_unsent(lane)
            if not lane.wake.is_set() and not lane.unsent:
                lane.idle.set()

    async def run_coarse(self) -> None:
        """Derive coarser bars from what was stored, for ever, beside the minutes and not before them."""
        while True:
            await self._wake_coarse.wait()
            self._wake_coarse.clear()
            for timeframe_s in self._coarse:
                buckets = self._dirty.pop(timeframe_s, None)
                if buckets:
                    await self._derive(timeframe_s, buckets)

    async def _store(self, lane: Lane, timeframe_s: int) -> None:
        bars = lane.take(timeframe_s)
        if bars is None:
            return
        stored = await self._write(lane, timeframe_s, bars)
        self.stored += len(stored)
        await self._queue_messages(lane, timeframe_s, stored)
        await self._send_unsent(lane)
        if timeframe_s == MINUTE_S:
            self._mark_dirty(stored)
        if lane is self._minutes and not lane.waiting[MINUTE_S]:
            self._frames.clear()  # of bars that storage held already, and that nobody is told again

    async def _write(self, lane: Lane, timeframe_s: int, bars: Bars) -> Bars:
        """Write until it is durable; a database that is away is waited for, and said."""
        delay_s = FIRST_RETRY_S
        while True:
            try:
                stored = await self._write_once(lane, timeframe_s, bars)
                self.is_storage_up = True
                return stored
            except STORAGE_ERRORS as error:
                if lane is self._minutes:
                    await self._let_go()
                if self.is_storage_up:
                    log.warning("feed.storage_away", bars=len(bars), error=str(error))
                self.is_storage_up = False
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, LONGEST_RETRY_S)

    async def _write_once(self, lane: Lane, timeframe_s: int, bars: Bars) -> Bars:
        """Write: minutes over a connection that is kept, because asking the pool costs a round trip."""
        write = partial(
            bars_write_async, epoch_id=self._epoch_id, timeframe_s=timeframe_s, bars=bars, fence=self._fence
        )
        if lane is not self._minutes:
            async with self._pool.connection() as connection:
                return await write(connection)
        if self._held is None:
            self._held = AsyncExitStack()
            self._connection = await self._held.enter_async_context(self._pool.connection())
        return await write(self._connection)

    async def _let_go(self) -> None:
        """Give the kept connection back; the pool throws away one that broke."""
        held, self._held, self._connection = self._held, None, None
        if held is not None:
            with suppress(*STORAGE_ERRORS):
                await held.aclose()

    async def _queue_messages(self, lane: Lane, timeframe_s: int, stored: Bars) -> None:
        """Make the messages; many, as of a back-fill, in pieces, so that frames are read in between."""
        now = wall_ns()
        for start in range(0, len(stored), PER_MESSAGE):
            bars = [self._bar(timeframe_s, row, now) for row in stored[start : start + PER_MESSAGE].tolist()]
            lane.unsent.append((f"{self._venue}.{timeframe_s}", BarsClosed(self._epoch_id, timeframe_s, bars)))
            if len(stored) > PER_MESSAGE:
                await self.minutes_first()
                await asyncio.sleep(0)

    def _bar(self, timeframe_s: int, row: tuple, now: int) -> Bar:
        values = dict(zip(FIELDS, row, strict=True))
        frame_ns = self._frames.pop((values["instrument_id"], values["open_ns"]), 0) if timeframe_s == MINUTE_S else 0
        return Bar(**values, closing_frame_wall_ns=frame_ns, feed_wall_ns=now)

    async def _send_unsent(self, lane: Lane) -> None:
        """Send in order; a bus that is away is tried again with the next batch or in a quarter of a second."""
        while lane.unsent:
            stream, message = lane.unsent[0]
            try:
                await self._bus.bars_add(stream, message)
            except BUS_ERRORS as error:
                log.warning("feed.stream_away", stream=stream, unsent=len(lane.unsent), error=str(error))
                asyncio.get_running_loop().call_later(0.25, lane.wake.set)
                return
            lane.unsent.popleft()

    def _mark_dirty(self, minutes: Bars) -> None:
        for timeframe_s in self._coarse:
            buckets = buckets_touched(minutes, timeframe_s) if len(minutes) else set()
            if buckets:
                self._dirty[timeframe_s] |= buckets
                self._wake_coarse.set()

    async def _derive(self, timeframe_s: int, buckets: set[Bucket]) -> None:
        edge_ns = max(opened for _, opened in buckets) - COARSE_SPAN_NS
        older = {bucket for bucket in buckets if bucket[1] < edge_ns}  # of a long back-fill: a part at a time
        self._dirty[timeframe_s] |= older
        buckets -= older
        instruments = sorted({instrument for instrument, _ in buckets})
        opens = [opened for _, opened in buckets]
        try:
            minutes = await bars_read_many_async(
                self._pool, self._epoch_id, instruments, 60, min(opens), max(opens) + timeframe_s * SECOND_NS
            )
        except STORAGE_ERRORS as error:
            log.warning("feed.coarse_later", timeframe_s=timeframe_s, error=str(error))
            self._dirty[timeframe_s] |= buckets
            asyncio.get_running_loop().call_later(1.0, self._wake_coarse.set)
            return
        if older:
            self._wake_coarse.set()
        bars = coarse_of(minutes, timeframe_s)
        wanted = [key in buckets for key in zip(bars["instrument_id"].tolist(), bars["open_ns"].tolist(), strict=True)]
        self.add_rows(timeframe_s, bars[np.array(wanted, dtype=bool)] if len(bars) else bars)
