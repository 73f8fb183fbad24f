"""The feed's process is killed or paused: another takes the lease, and no bar is missing or doubled afterwards."""

import os
import signal
import time

import psutil
import pytest
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from apps.common.models import Lease
from apps.common.redis_clients import sync_client
from apps.common.topics import TopicKind, topic_decode
from apps.market.models import Instrument, Universe
from apps.market.seed import seed
from apps.market.services import universe_save
from apps.market.storage.gaps import gaps
from apps.market.storage.reader import bars_newest_open, bars_read
from apps.market.storage.tables import PARENTS, PRINTS
from tests.apps.market.simulator_process import simulator_running
from tests.reliability.processes import SHORT_LEASES, end, spawn, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True)]
MINUTE_NS = 60_000_000_000
TTL_S = float(SHORT_LEASES["QD_LEASES_TTL_S"])
WATCHED = ("BTC/USDT", "BTC/USDT:USDT", "ETH/USDT")


@pytest.fixture
def simulator(tmp_path):
    with simulator_running(tmp_path / "epoch-1", "--market", "synthetic", "--speed", "30") as running:
        seed(running.seed_options({"kind": "synthetic", "seed": 7}), {})
        yield running
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join((*PARENTS, PRINTS))}")


@pytest.fixture
def hosts():
    started = []

    def start():
        started.append(spawn("tests.reliability.host_process", "data", QD_MARKET_HISTORY_DAYS="0.05"))
        return started[-1]

    yield start
    for process in started:
        end(process)


def _lease(process):
    found = Lease.objects.filter(kind="feed", expires_at__gt=Now()).first()
    if found is None or found.holder.split(":")[1] != str(process.pid):
        return None
    return found


def _is_ready(process) -> bool:
    lease = _lease(process)
    return lease is not None and lease.meta.get("state") == "ready"


def _epoch_id() -> int:
    from apps.market.selectors import epoch_current

    return epoch_current("bybit-sim").pk


def _watch_three() -> list[Instrument]:
    """Narrow the universe to three instruments, as a person would in the admin."""
    universe = Universe.objects.get(name="desk")
    members = list(Instrument.objects.filter(symbol__in=WATCHED))
    universe.kind = Universe.Kind.FIXED
    universe_save(universe, members=members, by="test")
    return members


def _newest(members) -> int:
    newest = bars_newest_open(_epoch_id(), [member.pk for member in members], 60)
    return min(newest.values()) if len(newest) == len(members) else 0


def _assert_bars_are_the_venues(simulator, members, start_ns: int, end_ns: int) -> None:
    for member in members:
        stored = bars_read(_epoch_id(), member.pk, 60, start_ns, end_ns)
        wanted = simulator.klines(member.kind, member.venue_symbol, start_ns, end_ns)
        assert [int(row[0]) * 1_000_000 for row in wanted] == stored["open_ns"].tolist()
        for place, name in ((1, "open"), (2, "high"), (3, "low"), (4, "close"), (5, "volume")):
            assert [float(row[place]) for row in wanted] == pytest.approx(stored[name].tolist(), rel=1e-12)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT 1 FROM market_bar_day WHERE epoch_id = %s AND open_ns >= %s"
            " GROUP BY instrument_id, timeframe_s, open_ns HAVING count(*) > 1) doubled",
            [_epoch_id(), start_ns],
        )
        assert cursor.fetchone() == (0,)


def _assert_nothing_is_told_twice(members) -> None:
    """No revision of a minute is on the stream twice; what was stored and not told, a desk reads from storage."""
    entries = sync_client(settings.REDIS_URL).xrange("qd:bars:bybit-sim.60")
    messages = [topic_decode(TopicKind.BARS, "bybit-sim.60", fields[b"m"]) for _, fields in entries]
    epoch_id, ids = _epoch_id(), {member.pk for member in members}
    told = [
        (bar.instrument_id, bar.open_ns, bar.revision)
        for message in messages
        for bar in message.bars
        if message.epoch_id == epoch_id and bar.instrument_id in ids
    ]
    assert told
    assert len(told) == len(set(told))


def _assert_prints_are_there_once(members, killed_ns: int) -> None:
    """Both feeds kept prints, and no trade of the venue is stored twice."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) - count(DISTINCT (instrument_id, trade_id)), count(*) FILTER (WHERE market_ns < %s),"
            " count(*) FILTER (WHERE market_ns > %s) FROM market_print_day"
            " WHERE epoch_id = %s AND instrument_id = ANY(%s)",
            [killed_ns, killed_ns, _epoch_id(), [member.pk for member in members]],
        )
        doubled, before, after = cursor.fetchone()
    assert doubled == 0
    assert before > 0
    assert after > 0


def _stand_and_settle(simulator, process, members) -> int:
    """Stop the market and wait until the feed has caught up; return the end of the last closed minute."""
    simulator.market(pause=True)
    end_ns = simulator.clock()["market_ns"] // MINUTE_NS * MINUTE_NS
    ids = [member.pk for member in members]
    wait_until(lambda: _newest(members) >= end_ns - MINUTE_NS, 20)
    wait_until(lambda: not gaps(_epoch_id(), ids, 60, end_ns - 20 * MINUTE_NS, end_ns), 20)
    return end_ns


def test_a_killed_feed_is_replaced_in_time_and_no_bar_is_missing_or_doubled(simulator, hosts) -> None:
    first = hosts()
    wait_until(lambda: _is_ready(first), 30)
    members = _watch_three()
    second = hosts()
    start_ns = _newest_after(members, 3)
    _wait_until_idle(second)
    killed_at = time.monotonic()
    first.kill()
    wait_until(lambda: _lease(second), 20)
    assert time.monotonic() - killed_at < TTL_S + 1.0  # with the default lease of 9 s this is 10 s
    killed_ns = simulator.clock()["market_ns"]
    wait_until(lambda: _is_ready(second), 20)
    _newest_after(members, 4)
    end_ns = _stand_and_settle(simulator, second, members)
    assert start_ns < killed_ns < end_ns  # what follows looks at both sides of the kill
    _assert_bars_are_the_venues(simulator, members, start_ns - 3 * MINUTE_NS, end_ns)
    _assert_nothing_is_told_twice(members)
    _assert_prints_are_there_once(members, killed_ns)


def test_a_feed_that_was_paused_past_its_lease_writes_nothing_after_it_wakes(simulator, hosts) -> None:
    first = hosts()
    wait_until(lambda: _is_ready(first), 30)
    members = _watch_three()
    start_ns = _newest_after(members, 2)
    os.kill(first.pid, signal.SIGSTOP)
    second = hosts()
    wait_until(lambda: _is_ready(second), 30)
    _newest_after(members, 3)
    os.kill(first.pid, signal.SIGCONT)
    _newest_after(members, 3)
    assert _lease(second) is not None
    end_ns = _stand_and_settle(simulator, second, members)
    _assert_bars_are_the_venues(simulator, members, start_ns - 2 * MINUTE_NS, end_ns)


def _wait_until_idle(process) -> None:
    """Wait until a process has started and only looks for leases: its start is not what is measured here."""
    watched = psutil.Process(process.pid)

    def used_little() -> bool:
        before = watched.cpu_times().user
        time.sleep(0.5)
        return before > 1.0 and watched.cpu_times().user - before < 0.1

    wait_until(used_little, 30)


def _newest_after(members, minutes: int) -> int:
    """Wait until this many more minutes are stored; return the newest open time of all of them."""
    before = _newest(members)
    wait_until(lambda: _newest(members) >= before + minutes * MINUTE_NS, 40)
    return _newest(members)
