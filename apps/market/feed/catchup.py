"""Back-fill beside a running feed: what storage lacks, newest first, from the venue's own bars."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import structlog

from apps.common.errors import GovernorRefused
from apps.market.errors import VenueRefused
from apps.market.feed.recorder import STORAGE_ERRORS, Recorder
from apps.market.providers.base import Provider, Subscription
from apps.market.storage.gaps import gaps_async
from trader.core.types.errors import VenueUnavailable

log = structlog.get_logger(__name__)
MINUTE_NS = 60_000_000_000
DAY_NS = 86_400_000_000_000
PAGE = 1000
TRIES = 8
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 15.0


@dataclass(order=True)
class Span:
    """Open times `[start_ns, end_ns)` of one instrument that storage lacks. Page 0 is the newest, and comes first."""

    page: int
    start_ns: int = field(compare=False)
    end_ns: int = field(compare=False)
    item: Subscription = field(compare=False)
    tries: int = field(compare=False, default=0)


class CatchUp:
    """Spans to fill, and the workers that fill them."""

    def __init__(
        self, *, provider: Provider, recorder: Recorder, pool: Any, epoch_id: int, history_ns: int, keep_ns: int
    ) -> None:
        self._provider, self._recorder, self._pool = provider, recorder, pool
        self._epoch_id = epoch_id
        self._history_ns, self._keep_ns = history_ns, keep_ns
        self._spans: asyncio.PriorityQueue[Span] = asyncio.PriorityQueue()
        self.open = 0
        self.refused = 0

    def add(self, item: Subscription, start_ns: int, end_ns: int) -> None:
        """Fill this span as soon as may be; what is older than the retention is left to the lake."""
        start_ns = max(start_ns, end_ns - self._keep_ns)
        if start_ns < end_ns:
            self._put(Span(0, start_ns, end_ns, item))

    async def add_missing(self, items: list[Subscription], until_ns: int) -> None:
        """Look up what storage lacks of these instruments, from the history's start to a minute, and fill it."""
        start_ns = until_ns - min(self._history_ns, self._keep_ns)
        start_ns -= start_ns % MINUTE_NS
        by_id = {item.instrument_id: item for item in items}
        found = await gaps_async(self._pool, self._epoch_id, list(by_id), 60, start_ns, until_ns)
        for instrument_id, gap_start, gap_end in found:
            self.add(by_id[instrument_id], gap_start, gap_end)

    async def run(self) -> None:
        """Work for ever; one of several."""
        while True:
            span = await self._spans.get()
            try:
                await self._fill(span)
            finally:
                self.open -= 1

    def _put(self, span: Span) -> None:
        self.open += 1
        self._spans.put_nowait(span)

    async def _fill(self, span: Span) -> None:
        page_start = max(span.start_ns, span.end_ns - PAGE * MINUTE_NS)
        try:
            bars = await self._provider.klines(span.item, 60, page_start, span.end_ns)
        except VenueRefused as error:
            self.refused += 1
            log.error("feed.backfill_refused", symbol=span.item.venue_symbol, error=str(error))
            return
        except (VenueUnavailable, GovernorRefused, *STORAGE_ERRORS) as error:
            self._again(span, error)
            return
        self._recorder.add_rows(60, bars)
        if len(bars) and page_start > span.start_ns:
            self._put(Span(span.page + 1, span.start_ns, page_start, span.item))

    def _again(self, span: Span, error: Exception) -> None:
        if span.tries >= TRIES:
            self.refused += 1
            log.error("feed.backfill_given_up", symbol=span.item.venue_symbol, tries=span.tries, error=str(error))
            return
        log.warning("feed.backfill_later", symbol=span.item.venue_symbol, error=str(error))
        later = Span(span.page, span.start_ns, span.end_ns, span.item, span.tries + 1)
        self.open += 1
        delay_s = min(FIRST_RETRY_S * 2**span.tries, LONGEST_RETRY_S)
        asyncio.get_running_loop().call_later(delay_s, self._spans.put_nowait, later)
