"""Prints on their way to storage: gathered, and written by COPY once a second. Nobody waits for them."""

import asyncio
from typing import Any

import structlog

from apps.market.feed.recorder import STORAGE_ERRORS, Recorder
from apps.market.providers.base import PrintRow
from apps.market.storage.prints import StoredPrint, prints_write_async

log = structlog.get_logger(__name__)
EVERY_S = 1.0
LONGEST_PAUSE_S = 5.0  # between attempts while the database is away
PER_BATCH = 20_000
WAITING_LIMIT = 200_000  # prints kept while the database is away; past it the oldest go, and nothing brings them back


class PrintRecorder:
    """The writer of one feed's prints. It steps back for closed bars, which a desk waits for."""

    def __init__(self, *, pool: Any, recorder: Recorder, epoch_id: int, fence: tuple[str, str, int]) -> None:
        self._pool, self._recorder = pool, recorder
        self._epoch_id, self._fence = epoch_id, fence
        self._waiting: list[StoredPrint] = []
        self._one_writer = asyncio.Lock()
        self.is_storage_up = True
        self.stored = 0

    def add(self, instrument_id: int, rows: list[PrintRow]) -> None:
        """Take prints in; they are stored within a second or so."""
        self._waiting += [
            StoredPrint(instrument_id, row.market_ns, row.trade_id, row.price, row.size, row.side) for row in rows
        ]

    async def run(self) -> None:
        """Store what has gathered, for ever. Raises `LeaseLost` when the feed's lease has passed on."""
        pause_s = EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            await self._recorder.minutes_first()
            await self.flush()
            pause_s = EVERY_S if self.is_storage_up else min(pause_s * 2, LONGEST_PAUSE_S)

    async def flush(self) -> None:
        """Store all that waits, in batches; what a database that is away does not take goes on waiting."""
        async with self._one_writer:
            await self._flush()

    async def _flush(self) -> None:
        while self._waiting:
            batch = self._waiting[:PER_BATCH]
            try:
                async with self._pool.connection() as connection:
                    stored = await prints_write_async(
                        connection, epoch_id=self._epoch_id, prints=batch, fence=self._fence
                    )
            except STORAGE_ERRORS as error:
                self._away(error)
                return
            del self._waiting[: len(batch)]
            self.stored += stored
            self.is_storage_up = True

    def _away(self, error: Exception) -> None:
        if self.is_storage_up:
            log.warning("feed.prints_wait", prints=len(self._waiting), error=str(error))
        self.is_storage_up = False
        beyond = len(self._waiting) - WAITING_LIMIT
        if beyond > 0:
            log.error(
                "feed.prints_dropped", prints=beyond, then="they stay missing: venues keep no long history of them"
            )
            del self._waiting[:beyond]
