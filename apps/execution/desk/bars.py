"""Bars without a hole: what is missing is read from storage and stepped, never decided."""

import asyncio

import structlog

from apps.common.bus import BARS_KEY
from apps.common.redis_clients import BUS_ERRORS
from apps.execution.desk.core import DeskCore
from apps.execution.desk.deployed import Deployed
from apps.execution.desk.holes import MISSING_MOST, Filled, Holes
from apps.execution.desk.store import DATABASE_ERRORS
from apps.execution.origins import Blocker
from apps.market.events import Bar
from apps.market.selectors import bars_read_async

log = structlog.get_logger(__name__)
POSITION_S = 1.0
READ_MOST = 500  # bars that were missing at the last look: beyond, a bar that comes does not read them again


async def stream_position(core: DeskCore, stream: str) -> str:
    """Return the id of the newest message of a bar stream: what comes after it is not missed.

    A desk begins without the bus too (it sweeps, and keeps stops): then the stream is read from where it stands when
    the bus is back, and the first bar after that shows the hole, which is filled from storage.
    """
    try:
        async with asyncio.timeout(POSITION_S):
            newest = await core.bus.redis.xrevrange(BARS_KEY + stream, count=1)
    except (*BUS_ERRORS, TimeoutError) as error:
        log.warning("bars are followed from later on", stream=stream, error=repr(error)[:200])
        return "$"
    return newest[0][0].decode() if newest else "0-0"


class BarFollower:
    """Keeps each pipeline continuous by bar time."""

    def __init__(self, core: DeskCore) -> None:
        self._core = core
        self.holes = Holes(core)
        self.filled: list[Filled] = []

    async def before(self, deployed: Deployed, bar: Bar) -> bool | None:
        """Return whether a bar is late, or None when it must not be stepped at all; `filled` grows by what was read.

        None: not of this deployment, a revision or repeat of what was stepped, or behind a hole that storage
        cannot fill yet: the next bar tries again, and `Holes.mend` beside the bars.
        """
        place = deployed.places.get(bar.instrument_id)
        if place is None or bar.open_ns <= place.newest_ns:
            return None
        if place.newest_ns and bar.open_ns > place.newest_ns + deployed.timeframe_ns:
            await self._fill(deployed, bar)
            if bar.open_ns > place.newest_ns + deployed.timeframe_ns:
                self.holes.note(deployed, bar.instrument_id)
                return None
        self.holes.closed(deployed, bar.instrument_id)
        closed_ns = bar.open_ns + deployed.timeframe_ns
        return bool(bar.flags & 4) or self._core.market_ns - closed_ns > deployed.timeframe_ns

    async def _fill(self, deployed: Deployed, bar: Bar) -> None:
        """Step what storage has before a bar, if that is all of it; a database that is gone leaves the hole."""
        place = deployed.places[bar.instrument_id]
        step_ns = deployed.timeframe_ns
        start_ns = place.newest_ns + step_ns
        wanted = (bar.open_ns - start_ns) // step_ns
        if wanted > MISSING_MOST or self.holes.missing(deployed, bar.instrument_id) > READ_MOST:
            return  # `Holes.mend` looks after it without reading it again for each bar
        try:
            found = await bars_read_async(
                self._core.context.pool,
                self._core.account.epoch_id,
                bar.instrument_id,
                deployed.timeframe_s,
                start_ns,
                bar.open_ns,
                limit=MISSING_MOST,
            )
        except DATABASE_ERRORS as error:
            self._core.block(Blocker.DATABASE, f"missing bars cannot be read: {error}"[:200])
            log.warning("a hole is not filled yet", deployment=deployed.key, error=str(error)[:200])
            return
        if len(found) == wanted:
            self.filled += self.holes.fill(deployed, bar.instrument_id, found)
