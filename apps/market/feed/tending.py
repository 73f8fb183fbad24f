"""Books that are not sound, asked for anew until they are: at once, then ever more slowly."""

import asyncio
from collections.abc import Iterable

import structlog

from apps.common.clocks import boottime_ns
from apps.market.feed.instrument import InstrumentFeed
from apps.market.providers.base import Provider

log = structlog.get_logger(__name__)
LOOK_EVERY_S = 0.1
SNAPSHOT_NS = 2_000_000_000  # what a new subscription has for its snapshot before the book is asked for once more
FIRST_PAUSE_NS, LONGEST_PAUSE_NS = 1_000_000_000, 15_000_000_000


class BookTender:
    """Looks after the books of one feed, for a question may be lost as well as a frame."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._asking: set[asyncio.Task] = set()

    async def run(self, instruments: dict[int, InstrumentFeed], open_kinds: set[str]) -> None:
        """Look at every book, for ever. Both arguments are the feed's own, and change as it goes."""
        while True:
            for instrument in self._due(instruments.values(), open_kinds):
                self._note(instrument)
                # a task of its own: one that waits for its socket holds no other up
                task = asyncio.create_task(self._provider.resubscribe_book(instrument.item))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
            await asyncio.sleep(LOOK_EVERY_S)

    def _due(self, instruments: Iterable[InstrumentFeed], open_kinds: set[str]) -> list[InstrumentFeed]:
        """Return those to ask for now. What the venue refuses as a whole is not asked for: it is shown as refused."""
        now = boottime_ns()
        found = []
        for instrument in instruments:
            if now < instrument.book_ask_ns:
                continue
            if instrument.book.is_sound:
                instrument.book_asks = 0  # it has lasted until the next question would have been due
            elif instrument.item.kind in open_kinds and not instrument.refused:
                found.append(instrument)
        return found

    def _note(self, instrument: InstrumentFeed) -> None:
        pause_ns = min(FIRST_PAUSE_NS << min(instrument.book_asks, 10), LONGEST_PAUSE_NS)
        instrument.book_asks += 1
        instrument.book_ask_ns = boottime_ns() + pause_ns
        log.warning(
            "feed.book_asked", symbol=instrument.item.venue_symbol, kind=instrument.item.kind,
            times=instrument.book_asks, again_s=pause_ns / 1e9,
        )  # fmt: skip
