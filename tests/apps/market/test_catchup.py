"""Holes are asked for until they are filled: a venue that is away, or refuses, makes them late and never lost."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from apps.market.errors import VenueRefused, VenueUnreachable
from apps.market.feed import catchup as catchup_module
from apps.market.feed.catchup import QUIET_TRIES, TOLD, CatchUp
from apps.market.providers.base import Subscription
from tests.apps.market.factories import BASE_NS, MINUTE_NS, minutes_make
from tests.apps.market.live import until

BITCOIN, ETHER = Subscription(7, "BTCUSDT", "spot"), Subscription(8, "ETHUSDT", "linear")
DAY_NS = 1440 * MINUTE_NS


class Venue:
    """A venue's history, which may be away or refuse; it counts what it is asked."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[tuple[int, int, int]] = []

    async def klines(self, item, timeframe_s, start_ns, end_ns):
        self.asked.append((item.instrument_id, start_ns, end_ns))
        if self.error is not None:
            raise self.error
        return minutes_make(item.instrument_id, (end_ns - start_ns) // MINUTE_NS, start_ns)


class Stored:
    """What a recorder was given."""

    def __init__(self) -> None:
        self.opens: list[int] = []

    def add_rows(self, timeframe_s, bars) -> None:
        assert timeframe_s == 60
        self.opens += bars["open_ns"].tolist()


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(catchup_module, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(catchup_module, "LONGEST_RETRY_S", 0.002)
    monkeypatch.setattr(catchup_module, "FIRST_REFUSED_S", 0.001)
    monkeypatch.setattr(catchup_module, "LONGEST_REFUSED_S", 0.002)


@asynccontextmanager
async def _working(venue: Venue, stored: Stored):
    catchup = CatchUp(provider=venue, recorder=stored, pool=None, epoch_id=1, history_ns=DAY_NS, keep_ns=30 * DAY_NS)
    task = asyncio.create_task(catchup.run())
    yield catchup
    assert not task.done()
    task.cancel()


async def test_a_refused_span_is_told_with_the_reason_and_filled_once_the_venue_gives_it() -> None:
    venue, stored = Venue(), Stored()
    venue.error = VenueRefused("10001 symbol invalid")
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, BASE_NS, BASE_NS + 3 * MINUTE_NS)
        await until(lambda: len(venue.asked) > 20)
        assert catchup.unfilled == 1
        [words] = catchup.words()
        assert "BTCUSDT (spot) 2023-11-14 22:14 to 2023-11-14 22:17 refused: 10001 symbol invalid" in words
        assert "asked again every" in words
        venue.error = None
        await until(lambda: catchup.open == 0)
        assert stored.opens == [BASE_NS + minute * MINUTE_NS for minute in range(3)]
        assert (catchup.unfilled, catchup.words()) == (0, [])


async def test_a_venue_that_is_away_for_long_is_asked_without_end_and_loses_no_page() -> None:
    venue, stored = Venue(), Stored()
    venue.error = VenueUnreachable("no answer")
    async with _working(venue, stored) as catchup:
        catchup.add(ETHER, BASE_NS, BASE_NS + 2500 * MINUTE_NS)
        await until(lambda: len(venue.asked) > 10 * QUIET_TRIES)
        assert "ETHUSDT (linear)" in catchup.words()[0]
        assert "waits: no answer" in catchup.words()[0]
        venue.error = None
        await until(lambda: catchup.open == 0)
        assert sorted(stored.opens) == [BASE_NS + minute * MINUTE_NS for minute in range(2500)]
        assert catchup.words() == []


async def test_a_short_absence_is_told_by_the_feeds_state_and_not_by_its_spans() -> None:
    venue, stored = Venue(), Stored()
    venue.error = VenueUnreachable("no answer")
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, BASE_NS, BASE_NS + MINUTE_NS)
        await until(lambda: len(venue.asked) >= 2)
        venue.error = None
        await until(lambda: catchup.open == 0)
        assert catchup.words() == []


async def test_an_instrument_that_is_no_longer_collected_is_asked_for_no_more() -> None:
    venue, stored = Venue(), Stored()
    venue.error = VenueRefused("no")
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, BASE_NS, BASE_NS + MINUTE_NS)
        catchup.add(ETHER, BASE_NS, BASE_NS + MINUTE_NS)
        await until(lambda: catchup.unfilled == 2)
        catchup.forget(BITCOIN.instrument_id)
        await until(lambda: catchup.open == 1)
        assert all("ETHUSDT" in words for words in catchup.words())
        venue.error = None
        catchup.add(BITCOIN, BASE_NS + MINUTE_NS, BASE_NS + 2 * MINUTE_NS)  # it is back
        await until(lambda: catchup.open == 0)
        assert sorted(stored.opens) == [BASE_NS, BASE_NS + MINUTE_NS]


async def test_many_refused_spans_are_told_in_few_words() -> None:
    venue, stored = Venue(), Stored()
    venue.error = VenueRefused("no")
    async with _working(venue, stored) as catchup:
        for number in range(TOLD + 4):
            catchup.add(BITCOIN, BASE_NS + 2 * number * MINUTE_NS, BASE_NS + (2 * number + 1) * MINUTE_NS)
        await until(lambda: catchup.unfilled == TOLD + 4)
        assert len(catchup.words()) == TOLD + 1
        assert catchup.words()[-1] == "and 4 more back-fills that wait"
