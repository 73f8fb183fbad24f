"""The host inside one process: residents start, crash, wait, are told to stop; leases are taken and given back."""

import asyncio
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from apps.common import host as host_module
from apps.common import residents as registry
from apps.common.host import ResidentHost
from apps.common.leases import LeaseKeeper
from apps.common.models import Lease
from apps.common.residents import ResidentContext, register_resident, residents_registered
from tests.reliability.processes import postgres_freeze, thaw, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
KEYS = ["a"]
SEEN: dict[str, list] = {}
HERE = "tests.apps.common.test_host"


class Base:
    """Notes what happened to it."""

    def __init__(self, key: str, context: ResidentContext) -> None:
        self.key, self.context = key, context
        SEEN.setdefault("made", []).append(key)

    async def run(self) -> None:
        await self.context.lease.report_now(state="ready", lag_s=0.5)
        SEEN.setdefault("ready", []).append(self.context.lease.fence)
        await self.context.stop.wait()
        SEEN.setdefault("stopped", []).append(self.key)


class Crashing(Base):
    async def run(self) -> None:
        SEEN.setdefault("crashed", []).append(time.monotonic())
        raise RuntimeError("on purpose")


class Ending(Base):
    async def run(self) -> None:
        SEEN.setdefault("ended", []).append(time.monotonic())


class Stubborn(Base):
    async def run(self) -> None:
        SEEN.setdefault("ready", []).append(1)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            SEEN.setdefault("cancelled", []).append(self.key)
            raise


class Prepared(Base):
    @staticmethod
    def prepare(key: str) -> None:
        SEEN.setdefault("prepared", []).append((key, Lease.objects.filter(kind="t").exists()))
        connection.close()


class Unprepared(Base):
    @staticmethod
    def prepare(key: str) -> None:
        SEEN.setdefault("prepared", []).append(key)
        raise RuntimeError("no compiler")


class Asking(Base):
    async def run(self) -> None:
        count = await self.context.call(Lease.objects.count)
        SEEN.setdefault("count", []).append((count, threading.current_thread().name))
        await self.context.stop.wait()


def keys_now() -> list[str]:
    """The keys that should run."""
    if KEYS == ["fail"]:
        raise RuntimeError("the database is gone")
    return list(KEYS)


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    SEEN.clear()
    KEYS[:] = ["a"]
    monkeypatch.setattr(registry, "_kinds", {})
    monkeypatch.setattr(host_module, "CRASH_FIRST_S", 0.2)
    monkeypatch.setattr(host_module, "STOP_S", 0.5)
    shorten(monkeypatch)


def shorten(monkeypatch):
    from apps.common import leases
    from trader.config import config

    short = config.model_copy(
        update={
            "leases": config.leases.model_copy(
                update={"ttl_s": 1.0, "renew_s": 0.2, "stop_margin_s": 0.3, "poll_s": 0.1}
            )
        }
    )
    monkeypatch.setattr(host_module, "config", short)
    monkeypatch.setattr(leases, "config", short)


@pytest.fixture
def run():
    """Start a host of one class; stop it at the end."""
    hosts = []

    def start(kind: type) -> ResidentHost:
        register_resident(kind="t", queues=("q",), keys=f"{HERE}:keys_now", factory=f"{HERE}.{kind.__name__}")
        hosts.append(ResidentHost({"q"}, worker="w"))
        hosts[-1].start()
        return hosts[-1]

    yield start
    for host in hosts:
        host.stop()


def lease():
    return Lease.objects.get(kind="t", key="a")


def test_what_nobody_held_is_left_to_others_for_a_while_by_who_holds_some(run, monkeypatch):
    monkeypatch.setattr(host_module, "MODESTY_S", 60.0)
    monkeypatch.setattr(host_module, "MODESTY_MAX_S", 60.0)
    KEYS[:] = list("abcd")
    run(Base)
    wait_until(lambda: len(SEEN.get("ready", [])) == 1)
    run(Base)
    wait_until(lambda: len(SEEN["ready"]) == 2)
    holders = set(Lease.objects.exclude(holder="").values_list("key", flat=True))
    assert len(holders) == 2


def test_what_a_dead_holder_left_is_taken_at_once_however_much_one_holds(run, monkeypatch):
    monkeypatch.setattr(host_module, "MODESTY_S", 60.0)
    monkeypatch.setattr(host_module, "MODESTY_MAX_S", 60.0)
    KEYS[:] = list("abcd")
    past = timezone.now() - timedelta(seconds=5)
    for key in KEYS:
        Lease.objects.create(kind="t", key=key, holder="dead", fence=3, expires_at=past, since=past)
    run(Base)
    wait_until(lambda: len(SEEN.get("ready", [])) == 4)
    assert SEEN["ready"] == [4, 4, 4, 4]


def test_only_kinds_of_its_queues_are_hosted():
    register_resident(kind="t", queues=("q", "r"), keys="x", factory="y")
    assert [kind.kind for kind in residents_registered({"r"})] == ["t"]
    assert residents_registered({"other"}) == []
    idle = ResidentHost({"other"})
    idle.start()
    idle.stop()


def test_a_resident_reports_and_stops_when_the_worker_does(run):
    host = run(Base)
    wait_until(lambda: SEEN.get("ready"))
    assert lease().meta == {"state": "ready", "lag_s": 0.5}
    assert ":w" in lease().holder
    assert str(lease()) == "t a (fence 1)"
    host.stop()
    assert SEEN["stopped"] == ["a"]
    assert lease().holder == ""


def test_a_crash_is_tried_again_with_growing_pauses_and_a_higher_fence(run):
    run(Crashing)
    wait_until(lambda: len(SEEN.get("crashed", [])) >= 3)
    first, second, third = SEEN["crashed"][:3]
    assert second - first >= 0.2
    assert third - second >= 0.4
    assert lease().fence >= 3


def test_one_that_ends_by_itself_is_started_again(run):
    run(Ending)
    wait_until(lambda: len(SEEN.get("ended", [])) >= 2)


def test_one_that_does_not_stop_is_cancelled(run):
    host = run(Stubborn)
    wait_until(lambda: SEEN.get("ready"))
    began = time.monotonic()
    host.stop()
    assert time.monotonic() - began < 3
    assert SEEN["cancelled"] == ["a"]


def test_a_key_that_is_no_longer_wanted_stops_and_a_new_one_starts(run):
    run(Base)
    wait_until(lambda: SEEN.get("ready"))
    KEYS[:] = ["b"]
    wait_until(lambda: SEEN.get("stopped") == ["a"] and "b" in SEEN["made"])


def test_keys_that_cannot_be_asked_stop_nobody(run):
    run(Base)
    wait_until(lambda: SEEN.get("ready"))
    KEYS[:] = ["fail"]
    time.sleep(0.5)
    assert "stopped" not in SEEN


def test_a_lease_taken_by_another_stops_the_resident(run):
    run(Base)
    wait_until(lambda: SEEN.get("ready"))
    Lease.objects.filter(kind="t").update(fence=9, holder="another")
    wait_until(lambda: SEEN.get("stopped"))
    assert lease().holder == "another", "what is another's is not given back"


def test_a_held_lease_is_left_alone_until_it_runs_out(run):
    async def hold():
        keeper = LeaseKeeper("first")
        taken = await keeper.acquire("t", "a")
        assert await keeper.acquire("t", "a") is None
        await keeper.close()
        return taken

    held = asyncio.run(hold())
    assert held.adds_risk_allowed()
    run(Base)
    time.sleep(0.4)
    assert "made" not in SEEN
    wait_until(lambda: SEEN.get("ready"))
    assert SEEN["ready"] == [2]
    assert held.expired()
    assert held.seconds_left() < 0


def test_it_prepares_before_it_asks_for_the_lease(run):
    run(Prepared)
    wait_until(lambda: SEEN.get("ready"))
    assert SEEN["prepared"] == [("a", False)]


def test_one_that_cannot_be_prepared_takes_no_lease(run):
    run(Unprepared)
    wait_until(lambda: len(SEEN.get("prepared", [])) >= 2)
    assert not Lease.objects.exists()


def test_a_resident_may_call_django_in_the_hosts_thread(run):
    run(Asking)
    wait_until(lambda: SEEN.get("count"))
    assert SEEN["count"][0][0] == 1
    assert SEEN["count"][0][1].startswith("residents")


def test_a_report_without_a_database_does_not_wait_for_ever(monkeypatch):
    from apps.common import leases

    monkeypatch.setattr(leases, "QUERY_TIMEOUT_S", 0.2)

    async def report():
        keeper = LeaseKeeper("x")
        lease = await keeper.acquire("t", "a")
        began = time.monotonic()
        await lease.report_now(state="ready")  # nobody renews
        await keeper.release(lease)
        await keeper.close()
        return time.monotonic() - began

    assert 0.2 <= asyncio.run(report()) < 1.5


@pytest.mark.stack
def test_a_database_that_stands_still_stops_nobody_and_hinders_no_stop(run):
    host = run(Base)
    wait_until(lambda: SEEN.get("ready"))
    frozen = postgres_freeze()
    try:
        time.sleep(2.5)
        assert "stopped" not in SEEN
        began = time.monotonic()
        host.stop()
        assert time.monotonic() - began < 9
        assert SEEN["stopped"] == ["a"]
    finally:
        thaw(frozen)
