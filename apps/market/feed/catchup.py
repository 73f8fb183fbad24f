"""Back-fill beside a running feed: what storage lacks, newest first, from the venue's own bars.

A span is never given up while its instrument is collected: no desk decides across a hole. A venue that is away is asked
again after at most 15 s; one that refuses, or leaves minutes out of its answer, ever more slowly, down to once in five
minutes, and people are told why. Only what is older than an instrument's oldest known bar may not be there at all: the
venue has to say so again before it is believed.
"""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import structlog

from apps.common.errors import GovernorRefused
from apps.market.errors import VenueRefused
from apps.market.feed.candles import MINUTE_NS, minute_words
from apps.market.feed.recorder import STORAGE_ERRORS, Recorder
from apps.market.providers.base import Provider, Subscription
from apps.market.storage.gaps import Gap, gaps_async
from apps.market.storage.reader import bars_newest_open_async
from trader.core.types.errors import VenueUnavailable

log = structlog.get_logger(__name__)
DAY_NS = 86_400_000_000_000
PAGE = 1000
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 15.0
FIRST_REFUSED_S, LONGEST_REFUSED_S = 15.0, 300.0
DOUBLINGS = 10  # past them a pause is at its longest; a power without end would overflow
QUIET_TRIES = 5  # a venue that is away for so many is no news of a span yet: the feed's state says it
OLD_END_TRIES = 1  # older than the oldest known bar: nothing, said once more, is the beginning of its history
UNKNOWN_TRIES = 5  # of an instrument without any known bar: it may be new, or the venue may stumble
WAITING_MOST = 50_000  # bars that wait for storage: with more of them the venue is not asked for others
WAIT_S = 0.05
TOLD = 3  # unfilled spans told one by one; of more only the number


@dataclass(order=True)
class Span:
    """Open times `[start_ns, end_ns)` of one instrument that storage lacks. Page 0 is the newest, and comes first."""

    page: int
    start_ns: int = field(compare=False)
    end_ns: int = field(compare=False)
    item: Subscription = field(compare=False)
    tries: int = field(compare=False, default=0)
    empties: int = field(compare=False, default=0)  # answers without a bar, where there may be none

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
        self._oldest: dict[int, int] = {}  # instrument: the oldest open time that storage or the venue is known to have
        self.open = 0

    @property
    def unfilled(self) -> int:
        """How many spans the venue refuses, leaves out, or has not answered for long."""
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
        """Look up what storage lacks of these instruments, up to a minute, and fill it.

        After its oldest stored bar an instrument is to have every minute that is within the retention, however long
        nobody collected it; before that bar, or without one, as much as the history's length.
        """
        by_id = {item.instrument_id: item for item in items}
        edge_ns = until_ns - self._keep_ns
        edge_ns -= edge_ns % MINUTE_NS
        newest = await bars_newest_open_async(self._pool, self._epoch_id, list(by_id), 60)
        found = await gaps_async(self._pool, self._epoch_id, list(by_id), 60, edge_ns, until_ns)
        for instrument_id in by_id.keys() - {gap[0] for gap in found if gap[1] == edge_ns}:
            self._known(instrument_id, edge_ns)
        for gap in found:
            instrument_id, start_ns, end_ns = gap
            if start_ns == edge_ns:
                start_ns = self._first(gap, newest.get(instrument_id), until_ns)
            self.add(by_id[instrument_id], start_ns, end_ns)

    def _first(self, gap: Gap, newest_ns: int | None, until_ns: int) -> int:
        """Where to begin with what is missing from the retention's edge on: it may be older than all that is known."""
        instrument_id, edge_ns, gap_end = gap
        if newest_ns is not None and newest_ns < edge_ns:
            self._known(instrument_id, newest_ns)
            return edge_ns
        if gap_end < until_ns:
            self._known(instrument_id, gap_end)
        start_ns = until_ns - min(self._history_ns, self._keep_ns)
        return start_ns - start_ns % MINUTE_NS

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
        while self._recorder.filled_waiting() > WAITING_MOST:
            await asyncio.sleep(WAIT_S)
        # asked again for what may not be there, it is asked for all of it: an answer tells of bars further back, too
        page_ns = span.end_ns - span.start_ns if span.empties else PAGE * MINUTE_NS
        page_start = max(span.start_ns, span.end_ns - page_ns)
        try:
            bars = await self._provider.klines(span.item, 60, page_start, span.end_ns)
        except VenueRefused as error:
            self._again(span, FIRST_REFUSED_S, LONGEST_REFUSED_S, f"refused: {error}")
            return
        except (VenueUnavailable, GovernorRefused, *STORAGE_ERRORS) as error:
            self._again(span, FIRST_RETRY_S, LONGEST_RETRY_S, f"waits: {error}", tell=span.tries >= QUIET_TRIES)
            return
        self._unfilled.pop(span.key, None)
        if len(bars):
            self._recorder.add_rows(60, bars)
            self._given(span, np.unique(bars["open_ns"]))
        else:
            self._empty(span)

    def _given(self, span: Span, opens: np.ndarray) -> None:
        """Go on where an answer ends: before its oldest bar, and with every minute that it left out after that one."""
        oldest_ns = int(opens[0])
        self._known(span.item.instrument_id, oldest_ns)
        for start_ns, end_ns in _left_out(opens, span.end_ns):
            self._missing(Span(span.page, start_ns, end_ns, span.item))
        if oldest_ns > span.start_ns:
            self._put(Span(span.page + 1, span.start_ns, oldest_ns, span.item))

    def _empty(self, span: Span) -> None:
        """Take an answer without a bar: a hole after the oldest known bar, and before it the history's beginning."""
        known_ns = self._oldest.get(span.item.instrument_id)
        if known_ns is not None and known_ns < span.end_ns:
            self._missing(replace(span, start_ns=max(known_ns, span.start_ns), empties=0))
            if known_ns > span.start_ns:
                self._put(Span(span.page + 1, span.start_ns, known_ns, span.item))
        elif span.empties < (UNKNOWN_TRIES if known_ns is None else OLD_END_TRIES):
            why = "is empty: the venue has no bar of it yet"
            self._again(replace(span, empties=span.empties + 1), FIRST_RETRY_S, LONGEST_RETRY_S, why, tell=False)
        else:
            log.info("feed.backfill_ends", span=span.words, why="the venue has nothing of it, nor anything older")

    def _missing(self, span: Span) -> None:
        """Ask again for minutes that must be there: bars on both sides of them, or before them, are known."""
        self._again(span, FIRST_RETRY_S, LONGEST_REFUSED_S, "is missing in the venue's answer")

    def _known(self, instrument_id: int, open_ns: int) -> None:
        self._oldest[instrument_id] = min(open_ns, self._oldest.get(instrument_id, open_ns))

    def _again(self, span: Span, first_s: float, longest_s: float, why: str, *, tell: bool = True) -> None:
        """Put a span aside for a while, and tell of it."""
        if span.item.instrument_id in self._gone:
            return
        delay_s = min(first_s * 2 ** min(span.tries, DOUBLINGS), longest_s)
        log.warning("feed.backfill_later", span=span.words, tries=span.tries + 1, again_s=delay_s, why=why)
        if tell:
            self._unfilled[span.key] = f"back-fill of {span.words} {why}; asked again every {delay_s:g} s"
        later = replace(span, tries=span.tries + 1)
        self.open += 1
        asyncio.get_running_loop().call_later(delay_s, self._spans.put_nowait, later)


def _left_out(opens: np.ndarray, end_ns: int) -> list[tuple[int, int]]:
    """Return the spans of minutes between the first of these sorted open times and `end_ns` that are not among them."""
    before, after = opens, np.append(opens[1:], end_ns)
    steps = np.flatnonzero(after - before > MINUTE_NS)
    return [(int(before[step]) + MINUTE_NS, int(after[step])) for step in steps]
