"""Holes are asked for until they are filled: a venue that is away, or refuses, makes them late and never lost."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import psycopg_pool
import pytest

from apps.market.errors import VenueRefused, VenueUnreachable
from apps.market.feed import catchup as catchup_module
from apps.market.feed.catchup import PAGE, QUIET_TRIES, TOLD, UNKNOWN_TRIES, CatchUp
from apps.market.providers.base import Subscription
from apps.market.storage.writer import bars_write
from tests.apps.market.factories import BASE_NS, MINUTE_NS, minutes_make
from tests.apps.market.live import in_thread, until

BITCOIN, ETHER = Subscription(7, "BTCUSDT", "spot"), Subscription(8, "ETHUSDT", "linear")
DAY_NS = 1440 * MINUTE_NS


class Venue:
    """A venue's history, which may be away, refuse, or leave minutes out; it counts what it is asked."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[tuple[int, int, int]] = []
        self.begins_ns = 0
        self.left_out: set[int] = set()
        self.empty_answers = 0

    async def klines(self, item, timeframe_s, start_ns, end_ns):
        self.asked.append((item.instrument_id, start_ns, end_ns))
        if self.error is not None:
            raise self.error
        if self.empty_answers:
            self.empty_answers -= 1
            return minutes_make(item.instrument_id, 0)
        start_ns = max(start_ns, self.begins_ns)
        bars = minutes_make(item.instrument_id, max(0, (end_ns - start_ns) // MINUTE_NS), start_ns)
        return bars[~np.isin(bars["open_ns"], list(self.left_out))][-PAGE:]


class Stored:
    """What a recorder was given."""

    def __init__(self) -> None:
        self.opens: list[int] = []
        self.waiting = 0

    def add_rows(self, timeframe_s, bars) -> None:
        assert timeframe_s == 60
        self.opens += bars["open_ns"].tolist()

    def filled_waiting(self) -> int:
        return self.waiting


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(catchup_module, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(catchup_module, "LONGEST_RETRY_S", 0.002)
    monkeypatch.setattr(catchup_module, "FIRST_REFUSED_S", 0.001)
    monkeypatch.setattr(catchup_module, "LONGEST_REFUSED_S", 0.002)


@asynccontextmanager
async def _working(venue: Venue, stored: Stored, keep_days: int = 30):
    keep_ns = keep_days * DAY_NS
    catchup = CatchUp(provider=venue, recorder=stored, pool=None, epoch_id=1, history_ns=DAY_NS, keep_ns=keep_ns)
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


def _opens(*minutes: int) -> list[int]:
    return [BASE_NS + minute * MINUTE_NS for minute in minutes]


async def test_the_newest_minutes_that_a_page_leaves_out_are_told_and_filled_once_the_venue_has_them() -> None:
    venue, stored = Venue(), Stored()
    venue.left_out = set(_opens(8, 9))
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, BASE_NS, BASE_NS + 10 * MINUTE_NS)
        await until(lambda: len(venue.asked) > 10)
        assert catchup.unfilled == 1
        [words] = catchup.words()
        assert "BTCUSDT (spot) 2023-11-14 22:22 to 2023-11-14 22:24 is missing in the venue's answer" in words
        assert stored.opens == _opens(*range(8))
        assert set(venue.asked[1:]) == {(BITCOIN.instrument_id, *_opens(8, 10))}  # for what is missing, not for all
        venue.left_out = set(_opens(9))
        await until(lambda: catchup.words() and "22:23 to 2023-11-14 22:24" in catchup.words()[0])
        venue.left_out = set()
        await until(lambda: catchup.open == 0)
        assert stored.opens == _opens(*range(10))
        assert (catchup.unfilled, catchup.words()) == (0, [])


async def test_minutes_inside_a_page_and_at_the_joint_of_two_are_asked_for_again() -> None:
    venue, stored = Venue(), Stored()
    venue.left_out = set(_opens(700, 1499, 1500, 1501))
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, BASE_NS, BASE_NS + 2500 * MINUTE_NS)
        await until(lambda: catchup.open == catchup.unfilled == 2)
        venue.left_out = set()
        await until(lambda: catchup.open == 0)
        assert sorted(stored.opens) == _opens(*range(2500))


async def test_an_empty_page_after_the_oldest_known_bar_is_a_hole_however_often_it_is_empty() -> None:
    venue, stored = Venue(), Stored()
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, *_opens(0, 5))
        await until(lambda: catchup.open == 0)
        venue.left_out = set(_opens(*range(5, 8)))
        catchup.add(BITCOIN, *_opens(5, 8))
        await until(lambda: len(venue.asked) > 20)
        assert "22:19 to 2023-11-14 22:22 is missing" in catchup.words()[0]
        venue.left_out = set()
        await until(lambda: catchup.open == 0)
        assert stored.opens == _opens(*range(8))


async def test_before_its_oldest_bar_an_empty_answer_is_believed_the_second_time_of_all_that_is_older() -> None:
    venue, stored = Venue(), Stored()
    venue.begins_ns = BASE_NS + 1500 * MINUTE_NS
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, BASE_NS, BASE_NS + 3000 * MINUTE_NS)
        await until(lambda: catchup.open == 0)
        assert sorted(stored.opens) == _opens(*range(1500, 3000))
        assert catchup.words() == []
        assert [span[1:] for span in venue.asked[2:]] == [tuple(_opens(500, 1500)), tuple(_opens(0, 1500))]


async def test_an_empty_page_in_the_middle_of_the_history_does_not_hide_what_is_older() -> None:
    venue, stored = Venue(), Stored()
    venue.left_out = set(_opens(*range(1000, 2000)))
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, BASE_NS, BASE_NS + 3000 * MINUTE_NS)
        await until(lambda: catchup.open == catchup.unfilled == 1)
        assert sorted(stored.opens) == _opens(*range(1000), *range(2000, 3000))
        assert "is missing in the venue's answer" in catchup.words()[0]
        venue.left_out = set()
        await until(lambda: catchup.open == 0)
        assert sorted(stored.opens) == _opens(*range(3000))


async def test_an_instrument_without_any_bar_is_asked_for_a_while_and_not_for_ever() -> None:
    venue, stored = Venue(), Stored()
    venue.begins_ns = BASE_NS + DAY_NS
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, *_opens(0, 3))
        await until(lambda: catchup.open == 0)
        assert len(venue.asked) == UNKNOWN_TRIES + 1
        assert (stored.opens, catchup.words()) == ([], [])


async def test_a_venue_that_stumbles_over_a_whole_history_gives_it_later() -> None:
    venue, stored = Venue(), Stored()
    venue.empty_answers = UNKNOWN_TRIES
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, BASE_NS, BASE_NS + 2500 * MINUTE_NS)
        await until(lambda: catchup.open == 0)
        assert sorted(stored.opens) == _opens(*range(2500))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hot_bars_emptied")
async def test_what_is_missing_after_a_stored_bar_is_a_hole_and_before_the_oldest_one_is_none(dsn, monkeypatch) -> None:
    def store() -> None:
        bars_write(epoch_id=1, timeframe_s=60, bars=minutes_make(BITCOIN.instrument_id, 3, BASE_NS))

    await asyncio.to_thread(in_thread, store)
    venue, stored = Venue(), Stored()
    venue.begins_ns = BASE_NS + DAY_NS  # it gives nothing of what is asked for
    async with psycopg_pool.AsyncConnectionPool(dsn, open=False) as pool, _working(venue, stored) as catchup:
        monkeypatch.setattr(catchup, "_pool", pool)
        await catchup.add_missing([BITCOIN], BASE_NS + 5 * MINUTE_NS)
        await until(lambda: catchup.open == catchup.unfilled == 1 and len(venue.asked) > 5)
        assert "22:17 to 2023-11-14 22:19 is missing" in catchup.words()[0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hot_bars_emptied")
@pytest.mark.parametrize(
    ("stored_minutes", "keep_days", "first"),
    [
        ([0, 1, 2], 30, 3),  # days away: everything since the newest stored bar, far beyond a new one's history
        ([0, 1, 2, 7190], 30, 3),  # a feed before this one was stopped while it filled, newest first
        ([0, 1, 2], 2, 4 * 1440),  # older than the retention: from its edge on
    ],
)
async def test_what_was_missed_is_asked_for_however_long_nobody_collected_it(
    dsn, monkeypatch, stored_minutes: list[int], keep_days: int, first: int
) -> None:
    def store() -> None:
        bars = minutes_make(BITCOIN.instrument_id, 7200, BASE_NS)
        bars_write(epoch_id=1, timeframe_s=60, bars=bars[stored_minutes])

    await asyncio.to_thread(in_thread, store)
    venue, stored, until_ns = Venue(), Stored(), BASE_NS + 6 * DAY_NS
    venue.left_out = set(_opens(7300))
    async with (
        psycopg_pool.AsyncConnectionPool(dsn, open=False) as pool,
        _working(venue, stored, keep_days) as catchup,
    ):
        monkeypatch.setattr(catchup, "_pool", pool)
        await catchup.add_missing([BITCOIN, ETHER], until_ns)
        await until(lambda: catchup.open == catchup.unfilled == 2)  # the minute that the venue leaves out of each
    missed = sorted(set(range(first, 6 * 1440)) - {*stored_minutes, 7300})
    new = sorted(set(range(5 * 1440, 6 * 1440)) - {7300})
    assert sorted(stored.opens) == sorted(_opens(*missed) + (_opens(*new)))


async def test_the_venue_is_not_asked_for_more_than_storage_takes() -> None:
    venue, stored = Venue(), Stored()
    stored.waiting = catchup_module.WAITING_MOST + 1
    async with _working(venue, stored) as catchup:
        catchup.add(BITCOIN, *_opens(0, 3))
        await asyncio.sleep(3 * catchup_module.WAIT_S)
        assert (venue.asked, catchup.open) == ([], 1)
        stored.waiting = 0
        await until(lambda: catchup.open == 0)
        assert stored.opens == _opens(0, 1, 2)
