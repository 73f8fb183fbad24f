"""Bars that wait for their writer, and messages that wait for the bus: one lane for each kind."""

import asyncio
from collections import defaultdict, deque

import numpy as np
import structlog

from apps.market.events import BarsClosed
from apps.market.feed.candles import ClosedBar
from apps.market.storage.rows import BAR_DTYPE, Bars

log = structlog.get_logger(__name__)
WAITING_LIMIT = 200_000  # bars kept while the database is away; past it the oldest go, and back-fill brings them
UNSENT_LIMIT = 5_000


class Lane:
    """Bars by timeframe. They are made rows only when they are taken: all at once costs little more than one."""

    def __init__(self) -> None:
        self.waiting: dict[int, deque[Bars | list[ClosedBar]]] = defaultdict(deque)
        self.bars = 0
        self.wake, self.idle = asyncio.Event(), asyncio.Event()
        self.idle.set()
        self.unsent: deque[tuple[str, BarsClosed]] = deque(maxlen=UNSENT_LIMIT)

    def add(self, timeframe_s: int, bars: Bars | list[ClosedBar]) -> None:
        """Queue bars; past the limit the oldest of their timeframe go, and back-fill brings them."""
        queue = self.waiting[timeframe_s]
        queue.append(bars)
        self.bars += len(bars)
        while self.bars > WAITING_LIMIT and len(queue) > 1:
            dropped = queue.popleft()
            self.bars -= len(dropped)
            log.error("feed.bars_dropped", bars=len(dropped), timeframe_s=timeframe_s, then="back-fill brings them")
        self.idle.clear()
        self.wake.set()

    def take(self, timeframe_s: int) -> Bars | None:
        """Return all that waits of a timeframe as one batch."""
        queue = self.waiting[timeframe_s]
        if not queue:
            return None
        closed = [bar for part in queue if isinstance(part, list) for bar in part]
        parts = [part for part in queue if not isinstance(part, list)]
        if closed:
            parts.append(_rows(closed))
        queue.clear()
        bars = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self.bars -= len(bars)
        return bars


def _rows(closed: list[ClosedBar]) -> Bars:
    """Return closed bars as rows, in the order of `BAR_DTYPE`; storage gives the revision."""
    return np.array(
        [
            (bar.instrument_id, bar.open_ns, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.turnover,
             bar.trades, 0, bar.flags, bar.known_ns)
            for bar in closed
        ],
        dtype=BAR_DTYPE,
    )  # fmt: skip
