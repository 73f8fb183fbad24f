"""Leases: a killed holder's passes on, a paused one does not act after it wakes, the fence only grows."""

import signal
import time

import pytest
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from apps.common.models import Lease
from apps.common.redis_clients import sync_client
from tests.reliability.processes import SHORT_LEASES, end, postgres_freeze, spawn, thaw, wait_until
from tests.servers import _servers

pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True)]
TTL_S = float(SHORT_LEASES["QD_LEASES_TTL_S"])
RECEIVE_WINDOW_S = 0.4  # shorter than the margin
MARGIN_S = float(SHORT_LEASES["QD_LEASES_STOP_MARGIN_S"])


@pytest.fixture
def hosts():
    sync_client(settings.REDIS_URL).flushall()
    started = []

    def start():
        started.append(spawn("tests.reliability.host_process", "drill"))
        return started[-1]

    yield start
    for process in started:
        end(process)


def acts():
    """Return what was done: (fence, BOOTTIME ns, pid) in the order in which it reached the venue."""
    found = sync_client(settings.REDIS_URL).lrange("drill:one", 0, -1)
    return [tuple(int(part) for part in act.split()) for act in found]


def accepted():
    """Return the acts that a venue accepts: what was signed longer ago than its receive window is refused there.

    A pause can fall between the last check and the write; that byte was signed before the pause.
    """
    newest, found = 0, []
    for fence, signed_ns, pid in acts():
        newest = max(newest, signed_ns)
        if newest - signed_ns < RECEIVE_WINDOW_S * 1e9:
            found.append((fence, signed_ns, pid))
    return found


def held_by(process):
    lease = Lease.objects.filter(kind="drill", expires_at__gt=Now()).first()
    return lease is not None and lease.holder.split(":")[1] == str(process.pid)


def looking():
    """Return how many hosts are connected: each keeps its leases over a connection of its own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'quarterdeck leases'")
        return cursor.fetchone()[0]


def acting(process):
    return any(pid == process.pid for _, _, pid in acts()[-3:])


def test_a_killed_holders_lease_passes_on_in_time(hosts):
    first = hosts()
    wait_until(lambda: acting(first))
    second = hosts()
    wait_until(lambda: looking() == 2, 30)
    killed_at = time.monotonic()
    first.kill()
    wait_until(lambda: acting(second))
    # the lease's life, a look, and the resident's start, on a machine that may be busy with other tests
    assert time.monotonic() - killed_at < TTL_S + 4.0
    fences = [fence for fence, _, _ in acts()]
    assert fences == sorted(fences)
    assert set(fences) == {1, 2}


def test_a_holder_that_is_told_to_stop_gives_its_lease_back_at_once(hosts):
    first, second = hosts(), None
    wait_until(lambda: acting(first))
    first.terminate()
    assert first.wait(5) == 0
    stopped_at = time.monotonic()
    second = hosts()
    wait_until(lambda: acting(second))
    assert Lease.objects.get(kind="drill").fence == 2
    assert time.monotonic() - stopped_at < 10


def test_a_paused_holder_does_not_act_after_it_wakes(hosts):
    both = [hosts()]
    wait_until(lambda: acting(both[0]))
    both.append(hosts())
    for turn in range(3):
        old, new = both[turn % 2], both[(turn + 1) % 2]
        wait_until(lambda old=old: acting(old))
        fence = Lease.objects.get(kind="drill").fence
        old.send_signal(signal.SIGSTOP)
        wait_until(lambda new=new: acting(new))
        old.send_signal(signal.SIGCONT)
        woken_at = len(acts())
        wait_until(lambda woken_at=woken_at: len(acts()) > woken_at + 100)
        fences = [found for found, _, _ in accepted()]
        assert fences == sorted(fences), "an act under an old fence came after one under a new fence"
        assert fences[-1] == fence + 1
        assert not any(pid == old.pid for _, _, pid in accepted()[woken_at:])


def test_the_old_resident_is_stopped_and_can_serve_again(hosts):
    first = hosts()
    wait_until(lambda: acting(first))
    second = hosts()
    first.send_signal(signal.SIGSTOP)
    wait_until(lambda: acting(second))
    first.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    second.kill()
    wait_until(lambda: acting(first))
    assert Lease.objects.get(kind="drill").fence == 3


def test_without_a_database_new_risk_ends_a_margin_before_expiry_and_comes_back(hosts):
    process = hosts()
    wait_until(lambda: acting(process))
    frozen = postgres_freeze()
    stopped_at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    try:
        time.sleep(TTL_S + 0.5)
        last = acts()[-1][1]
        assert last - stopped_at < (TTL_S - MARGIN_S + 0.05) * 1e9
        assert process.poll() is None, "the host goes on without its database"
    finally:
        thaw(frozen)
    count = len(acts())
    wait_until(lambda: len(acts()) > count + 20)


def test_with_the_bus_gone_the_lease_is_kept(hosts):
    process = hosts()
    wait_until(lambda: held_by(process))
    valkey = next(server for server in _servers if type(server).__name__ == "EmbeddedValkey")
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(TTL_S + 0.5)
        assert held_by(process)
        assert process.poll() is None
    finally:
        valkey.process.send_signal(signal.SIGCONT)
    wait_until(lambda: acting(process))
