"""Back-fill and sync by services, over the real protocol."""

import asyncio

import pytest

from apps.market.models import Instrument
from apps.market.services import bars_backfill
from apps.market.storage.reader import bars_read
from apps.market.storage.rows import BACKFILLED
from apps.market.tasks import backfill_task, instruments_sync_task, universe_refresh_task, venues_sync_task
from tests.apps.market.live import MINUTE_NS, SYMBOLS, in_thread, market_running, seeded

pytestmark = [
    pytest.mark.stack,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("hot_bars_emptied"),
]


async def test_a_span_is_filled_from_the_venues_history_once(tmp_path) -> None:
    async with market_running(tmp_path) as half:
        await seeded(half)
        end_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
        start_ns = end_ns - 1500 * MINUTE_NS
        stored, filled = await asyncio.to_thread(in_thread, _fill_twice, start_ns, end_ns)
    assert filled == [(3000, 3000), (0, 0)]
    assert len(stored) == 1500
    assert (stored["flags"] & BACKFILLED).all()


def _fill_twice(start_ns: int, end_ns: int):
    ids = list(Instrument.objects.filter(symbol__in=SYMBOLS[:2]).values_list("pk", flat=True))
    done = [bars_backfill("bybit-sim", ids, 60, start_ns, end_ns) for _ in range(2)]
    from apps.market.selectors import epoch_current

    bars = bars_read(epoch_current("bybit-sim").pk, ids[0], 60, limit=5000)
    return bars, [(one.missing, one.stored) for one in done]


async def test_the_tasks_call_their_services(tmp_path) -> None:
    async with market_running(tmp_path) as half:
        await seeded(half)
        end_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
        listed, synced, members, stored = await asyncio.to_thread(in_thread, _tasks, end_ns)
    assert listed == synced == 20
    assert members == len(SYMBOLS)
    assert stored == 10


def _tasks(end_ns: int):
    instrument = Instrument.objects.get(symbol="BTC/USDT")
    return (
        instruments_sync_task("bybit-sim"),
        venues_sync_task(),
        universe_refresh_task("desk"),
        backfill_task("bybit-sim", [instrument.pk], 60, end_ns - 10 * MINUTE_NS, end_ns),
    )


def test_a_venue_that_does_not_answer_is_left_for_the_next_hour(transactional_db) -> None:
    from tests.apps.market.factories import epoch_make, venue_make

    epoch_make(venue_make(rest_url="http://127.0.0.1:1", socket_url="ws://127.0.0.1:1"))
    assert venues_sync_task() == 0
