"""Back-fill as a job, and sync by services, over the real protocol."""

import asyncio
import subprocess

import pytest

from apps.common.jobs import job_cancel
from apps.common.models import JobShare
from apps.market.models import Instrument
from apps.market.providers.base import Subscription
from apps.market.seed import seed
from apps.market.selectors import bars_newest_open, bars_read, epoch_current, venue_by_code
from apps.market.services import backfill_begin, epoch_begin, venues_sync
from apps.market.services.venues import provider_for
from apps.market.storage.gaps import gaps
from apps.market.storage.rows import BACKFILLED
from apps.market.storage.writer import bars_write
from apps.market.tasks import backfill_task, instruments_sync_task, universe_refresh_task, venues_sync_task
from tests.apps.market.live import MINUTE_NS
from tests.apps.market.simulator_process import SimulatorProcess, simulator_running
from tests.reliability.processes import end, spawn, wait_until

pytestmark = [
    pytest.mark.stack,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("hot_bars_emptied"),
]
DAY_NS = 1440 * MINUTE_NS
HOUR_NS = 60 * MINUTE_NS


class Market:
    """A venue that stands still, of which storage has the newest closed minute and nothing else."""

    def __init__(self, simulator: SimulatorProcess, members: list[Instrument]) -> None:
        self.simulator, self.members = simulator, members
        self.ids = [member.pk for member in members]
        self.epoch_id = epoch_current("bybit-sim").pk
        self.end_ns = simulator.clock()["market_ns"] // MINUTE_NS * MINUTE_NS
        for member in members:
            bars_write(epoch_id=self.epoch_id, timeframe_s=60, bars=self._newest(member))

    def _newest(self, member: Instrument):
        venue = venue_by_code("bybit-sim")

        async def asked():
            provider = provider_for(venue)
            try:
                item = Subscription(member.pk, member.venue_symbol, member.kind)
                return await provider.klines(item, 60, self.end_ns - MINUTE_NS, self.end_ns)
            finally:
                await provider.close()

        return asyncio.run(asked())

    def assert_filled(self, start_ns: int) -> None:
        """Each minute is there once, and is the venue's."""
        for member in self.members:
            stored = bars_read(self.epoch_id, member.pk, 60, start_ns, self.end_ns, limit=20_000)
            assert set(stored["revision"].tolist()) == {0}
            assert len(stored) == (self.end_ns - start_ns) // MINUTE_NS
            wanted = self.simulator.klines(member.kind, member.venue_symbol, self.end_ns - 900 * MINUTE_NS, self.end_ns)
            newest = stored[-900:]
            assert [int(row[0]) * 1_000_000 for row in wanted] == newest["open_ns"].tolist()
            for place, name in ((1, "open"), (2, "high"), (3, "low"), (4, "close"), (5, "volume")):
                assert [float(row[place]) for row in wanted] == pytest.approx(newest[name].tolist(), rel=1e-12)


@pytest.fixture
def market(tmp_path):
    with simulator_running(tmp_path / "epoch-1", "--market", "synthetic") as simulator:
        seed(simulator.seed_options({"kind": "synthetic", "seed": 7}), {})
        simulator.market(pause=True)
        venues_sync()
        yield Market(simulator, list(Instrument.objects.filter(symbol__in=("BTC/USDT", "ETH/USDT"))))


def _state(job) -> tuple[str, int, int]:
    job.refresh_from_db()
    return job.state, job.done, job.total


def test_a_span_is_filled_from_the_venues_history_once_with_its_coarser_bars(market) -> None:
    start_ns = market.end_ns - 1500 * MINUTE_NS
    job = backfill_begin("bybit-sim", market.ids, 60, start_ns, market.end_ns + DAY_NS, by="ann")
    assert job.total in (4, 6)  # a day of an instrument each; 1500 minutes touch two days or three
    assert (job.by, job.kind) == ("ann", "market.backfill")
    assert backfill_task(job.pk) == job.total
    assert _state(job) == ("done", job.total, job.total)
    market.assert_filled(start_ns)
    stored = bars_read(market.epoch_id, market.ids[0], 60, start_ns, market.end_ns - MINUTE_NS, limit=5000)
    assert (stored["flags"] & BACKFILLED).all()
    first, last = start_ns + -start_ns % HOUR_NS, market.end_ns - market.end_ns % HOUR_NS
    assert gaps(market.epoch_id, market.ids, 3600, first, last) == []
    assert job.log.filter(text__contains="missing stored").count() == job.total
    assert backfill_begin("bybit-sim", market.ids, 60, start_ns, by="ann") is None


def test_a_bar_that_has_not_closed_is_never_filled(market) -> None:
    market.simulator.market(speed="max")
    market.simulator.market(until=market.end_ns + MINUTE_NS + MINUTE_NS // 2, wait=True)
    job = backfill_begin("bybit-sim", market.ids, 60, market.end_ns - 5 * MINUTE_NS, market.end_ns + DAY_NS, by="ann")
    backfill_task(job.pk)
    assert set(bars_newest_open(market.epoch_id, market.ids, 60).values()) == {market.end_ns - MINUTE_NS}


def test_a_cancelled_backfill_asks_for_nothing_more(market) -> None:
    job = backfill_begin("bybit-sim", market.ids, 60, market.end_ns - 60 * MINUTE_NS, by="ann")
    job_cancel(job.pk, by="ann")
    assert backfill_task(job.pk) == 0
    assert _state(job)[:2] == ("cancelled", 0)
    assert len(bars_read(market.epoch_id, market.ids[0], 60)) == 1


def test_a_backfill_of_an_epoch_that_has_ended_fails_and_says_why(market) -> None:
    job = backfill_begin("bybit-sim", market.ids, 60, market.end_ns - 60 * MINUTE_NS, by="ann")
    epoch_begin(venue_by_code("bybit-sim"), {"kind": "synthetic", "seed": 8}, by="test")
    assert backfill_task(job.pk) == 0
    assert _state(job)[:2] == ("failed", 0)
    assert job.log.filter(level="error", text__contains="has ended: its venue tells of another market").exists()


def test_a_worker_killed_in_the_middle_of_a_share_is_replaced_and_no_bar_is_doubled(market) -> None:
    start_ns = market.end_ns - 2 * DAY_NS
    victim = spawn("tests.apps.market.backfill_process", "60", stdout=subprocess.PIPE)
    workers = [victim]
    try:
        assert victim.stdout.readline() == b"ready\n"
        job = backfill_begin("bybit-sim", market.ids, 60, start_ns, by="ann")
        number = int(victim.stdout.readline())  # written, not committed: the worst moment
        workers.append(spawn("tests.apps.market.backfill_process", "0"))
        wait_until(lambda: _state(job)[1] == job.total - 1)
        victim.kill()
        wait_until(lambda: _state(job)[0] != "running")
    finally:
        for worker in workers:
            end(worker)
    assert _state(job) == ("done", job.total, job.total)
    assert JobShare.objects.get(job=job, number=number).attempts == 2
    market.assert_filled(start_ns)


def test_the_tasks_call_their_services(market) -> None:
    assert instruments_sync_task("bybit-sim") == venues_sync_task() == 20
    assert universe_refresh_task("desk") == 20


def test_a_venue_that_does_not_answer_is_left_for_the_next_hour(transactional_db) -> None:
    from tests.apps.market.factories import epoch_make, venue_make

    epoch_make(venue_make(rest_url="http://127.0.0.1:1", socket_url="ws://127.0.0.1:1"))
    assert venues_sync_task() == 0
