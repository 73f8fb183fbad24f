"""Back-fill beside a running feed: what storage lacks, newest first, from the venue's own bars.

A span is never given up while its instrument is collected: no desk decides across a hole. A venue that is away is asked
again after at most 15 s; one that refuses, ever more slowly, down to once in five minutes, and people are told why.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import structlog

from apps.common.errors import GovernorRefused
from apps.market.errors import VenueRefused
from apps.market.feed.candles import MINUTE_NS, minute_words
from apps.market.feed.recorder import STORAGE_ERRORS, Recorder
from apps.market.providers.base import Provider, Subscription
from apps.market.storage.gaps import gaps_async
from trader.core.types.errors import VenueUnavailable

log = structlog.get_logger(__name__)
DAY_NS = 86_400_000_000_000
PAGE = 1000
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 15.0
FIRST_REFUSED_S, LONGEST_REFUSED_S = 15.0, 300.0
DOUBLINGS = 10  # past them a pause is at its longest; a power without end would overflow
QUIET_TRIES = 5  # a venue that is away for so many is no news of a span yet: the feed's state says it
TOLD = 3  # unfilled spans told one by one; of more only the number


@dataclass(order=True)
class Span:
    """Open times `[start_ns, end_ns)` of one instrument that storage lacks. Page 0 is the newest, and comes first."""

    page: int
    start_ns: int = field(compare=False)
    end_ns: int = field(compare=False)
    item: Subscription = field(compare=False)
    tries: int = field(compare=False, default=0)

    @property
    def words(self) -> str:
        """Name the span for people."""
        item = self.item
        return f"{item.venue_symbol} ({item.kind}) {minute_words(self.start_ns)} to {minute_words(self.end_ns)}"

    @property
    def key(self) -> tuple[int, int, int]:
        """What tells it from other spans, however often it is tried."""
        return self.item.instrument_id, self.start_ns, self.end_ns


class CatchUp:
    """Spans to fill, and the workers that fill them."""

    def __init__(
        self, *, provider: Provider, recorder: Recorder, pool: Any, epoch_id: int, history_ns: int, keep_ns: int
    ) -> None:
        self._provider, self._recorder, self._pool = provider, recorder, pool
        self._epoch_id = epoch_id
        self._history_ns, self._keep_ns = history_ns, keep_ns
        self._spans: asyncio.PriorityQueue[Span] = asyncio.PriorityQueue()
        self._gone: set[int] = set()
        self._unfilled: dict[tuple[int, int, int], str] = {}  # span: what is told of it
        self.open = 0

    @property
    def unfilled(self) -> int:
        """How many spans the venue refuses, or has not answered for long."""
        return len(self._unfilled)

    def words(self) -> list[str]:
        """Say which spans stay unfilled, and why; empty where none does."""
        told = list(self._unfilled.values())
        more = len(told) - TOLD
        return [*told[:TOLD], *([f"and {more} more back-fills that wait"] if more > 0 else [])]

    def forget(self, instrument_id: int) -> None:
        """Fill nothing more of an instrument that is no longer collected."""
        self._gone.add(instrument_id)
        self._unfilled = {key: words for key, words in self._unfilled.items() if key[0] != instrument_id}

    def add(self, item: Subscription, start_ns: int, end_ns: int) -> None:
        """Fill this span as soon as may be; what is older than the retention is left to the lake."""
        self._gone.discard(item.instrument_id)
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
        if span.item.instrument_id in self._gone:
            return
        page_start = max(span.start_ns, span.end_ns - PAGE * MINUTE_NS)
        try:
            bars = await self._provider.klines(span.item, 60, page_start, span.end_ns)
        except VenueRefused as error:
            self._again(span, FIRST_REFUSED_S, LONGEST_REFUSED_S, f"refused: {error}")
            return
        except (VenueUnavailable, GovernorRefused, *STORAGE_ERRORS) as error:
            self._again(span, FIRST_RETRY_S, LONGEST_RETRY_S, f"waits: {error}", tell=span.tries >= QUIET_TRIES)
            return
        self._unfilled.pop(span.key, None)
        self._recorder.add_rows(60, bars)
        if len(bars) and page_start > span.start_ns:
            self._put(Span(span.page + 1, span.start_ns, page_start, span.item))

    def _again(self, span: Span, first_s: float, longest_s: float, why: str, *, tell: bool = True) -> None:
        """Put a span aside for a while, and tell of it."""
        if span.item.instrument_id in self._gone:
            return
        delay_s = min(first_s * 2 ** min(span.tries, DOUBLINGS), longest_s)
        log.warning("feed.backfill_later", span=span.words, tries=span.tries + 1, again_s=delay_s, why=why)
        if tell:
            self._unfilled[span.key] = f"back-fill of {span.words} {why}; asked again every {delay_s:g} s"
        later = Span(span.page, span.start_ns, span.end_ns, span.item, span.tries + 1)
        self.open += 1
        asyncio.get_running_loop().call_later(delay_s, self._spans.put_nowait, later)
