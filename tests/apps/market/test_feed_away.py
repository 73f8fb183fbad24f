"""Nothing ran for days: the next feed asks a real market for all of them, and stores them whole."""

import asyncio

import numpy as np
import pytest

from apps.market.selectors import bars_read_async, gaps_async
from tests.apps.market.live import MINUTE_NS, feed_running, market_running, seeded
from trader.config import config

pytestmark = [
    pytest.mark.stack,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("hot_bars_emptied"),
]
HOUR_NS = 60 * MINUTE_NS
DAYS = 4  # away; more than a new instrument's history


async def test_days_in_which_nothing_ran_are_filled_however_many(tmp_path, monkeypatch) -> None:
    short = config.market.model_copy(update={"history_days": 0.01})
    monkeypatch.setattr("apps.market.residents.config", config.model_copy(update={"market": short}))
    async with market_running(tmp_path, ago_ns=DAYS * 1440 * MINUTE_NS) as half:
        await seeded(half)
        port = int(half.rest.rpartition(":")[2])
        async with feed_running() as feed:
            stopped_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
            await feed.settled(stopped_ns)
    async with market_running(tmp_path, port=port) as half, feed_running() as feed:
        now_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
        assert now_ns - stopped_ns >= DAYS * 1440 * MINUTE_NS
        await feed.settled(now_ns)
        numbers, first_ns = list(feed.collector.instruments), stopped_ns - 10 * MINUTE_NS
        pool, epoch_id = feed.context.pool, feed.epoch_id
        assert await gaps_async(pool, epoch_id, numbers, 60, first_ns, now_ns) == []
        for number, instrument in feed.collector.instruments.items():
            stored = await bars_read_async(pool, epoch_id, number, 60, first_ns, now_ns, limit=10_000)
            state = half.board[instrument.item.kind, instrument.item.venue_symbol]
            wanted = state.bars.view()[state.bars.view()["open_ns"] >= first_ns]
            assert np.array_equal(stored["open_ns"], wanted["open_ns"])
            assert np.allclose(stored["close"], wanted["close"] * float(state.spec.tick), rtol=1e-12)
        hour_ns = -(-first_ns // HOUR_NS) * HOUR_NS
        hours = (now_ns - hour_ns) // HOUR_NS
        async with asyncio.timeout(45):
            while len(await bars_read_async(pool, epoch_id, numbers[0], 3600, hour_ns, now_ns)) < hours:
                await asyncio.sleep(0.05)
        assert "back-fill" not in feed.context.lease.meta["detail"]
