"""The governor: limits shared by processes, a reserve for cancels, half of it without the bus."""

import asyncio
import time

import pytest
from django.conf import settings

from apps.common.bus import Bus
from apps.common.clocks import wall_ns
from apps.common.errors import GovernorRefused
from apps.common.governor import Governor, Limit, Priority, limit_of, register_limits
from tests.reliability.processes import end, spawn

register_limits(
    "testvenue", {"address": Limit(100, 1.0), "order": Limit(10, 0.5), "wide": Limit(1000, 1.0), "slow": Limit(2, 60.0)}
)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """On a busy machine a slow bus would count as gone, and places be given out locally."""
    monkeypatch.setattr("apps.common.governor.ASK_TIMEOUT_S", 30.0)


async def taken(governor, bucket, priority, timeout_s=0.0, cost=1, key="k"):
    """Return how many places are given out before the first refusal."""
    count = 0
    try:
        while count < 500:
            await governor.take("testvenue", "a", key, bucket, cost=cost, priority=priority, timeout_s=timeout_s)
            count += 1
    except GovernorRefused:
        pass
    return count


async def test_what_is_no_cancel_leaves_a_reserve(bus):
    governor = Governor(bus)
    assert await taken(governor, "order", Priority.BACKFILL) == 4
    assert await taken(governor, "order", Priority.ORDER) == 4
    assert await taken(governor, "order", Priority.CANCEL) == 2
    assert await taken(governor, "order", Priority.CANCEL) == 0


async def test_a_bucket_falls_back_to_its_prefix_and_keys_are_apart(bus):
    governor = Governor(bus)
    assert limit_of("testvenue", "order.spot") == ("order", Limit(10, 0.5))
    assert await taken(governor, "order.spot", Priority.CANCEL) == 10
    assert await taken(governor, "order.linear", Priority.CANCEL) == 0
    assert await taken(governor, "order.linear", Priority.CANCEL, key="other") == 10


async def test_the_address_has_a_limit_of_its_own(bus):
    assert await taken(Governor(bus), "wide", Priority.CANCEL) == 100


async def test_one_waits_for_the_next_place(bus):
    governor = Governor(bus)
    await taken(governor, "order", Priority.CANCEL)
    began = time.monotonic()
    await governor.take("testvenue", "a", "k", "order", priority=Priority.CANCEL, timeout_s=2.0)
    assert 0.2 < time.monotonic() - began < 1.0


async def test_no_window_ever_holds_more_than_the_limit(bus):
    governor, window = Governor(bus), "qd:governor:testvenue:k:order"

    async def ask():
        await governor.take("testvenue", "a", "k", "order", priority=Priority.CANCEL, timeout_s=30.0)

    async with bus.redis.monitor() as seen:
        await asyncio.gather(*(ask() for _ in range(35)))
        granted = await grants_seen(bus, seen, window)
    assert len(granted) == 35
    assert_within_limit(granted)


async def grants_seen(bus, seen, window):
    """Return when each place of a window was given out, by the server's own record: a window forgets what left it."""
    await bus.redis.get(window + ":end")
    granted = []
    while (words := (await seen.next_command())["command"].split())[-1] != window + ":end":
        if words[0].upper() == "ZADD" and words[1] == window:
            granted.append(words[2])
    return granted


def assert_within_limit(times_ms):
    """No span of 0.5 s may hold an eleventh request, by the bus's own clock."""
    times = sorted(float(at) for at in times_ms)
    assert all(later - first > 499 for first, later in zip(times, times[10:], strict=False))


async def test_a_wait_longer_than_allowed_is_refused_at_once(bus):
    governor = Governor(bus)
    await taken(governor, "slow", Priority.CANCEL)
    began = time.monotonic()
    with pytest.raises(GovernorRefused, match="the next place is free in"):
        await governor.take("testvenue", "a", "k", "slow", priority=Priority.CANCEL, timeout_s=5.0)
    assert time.monotonic() - began < 1.0


async def test_a_batch_counts_whole_or_not_at_all(bus):
    governor = Governor(bus)
    assert await taken(governor, "order", Priority.CANCEL, cost=4) == 2
    assert await taken(governor, "order", Priority.CANCEL) == 2
    with pytest.raises(GovernorRefused, match="never fit"):
        await governor.take("testvenue", "a", "k", "order", cost=11, priority=Priority.CANCEL)


async def test_a_penalty_holds_everyone_back(bus):
    one, other = Governor(bus), Governor(bus)
    await one.penalise("testvenue", "a", wall_ns() + 300_000_000)
    with pytest.raises(GovernorRefused):
        await other.take("testvenue", "a", "k", "order", priority=Priority.CANCEL, timeout_s=0.0)
    await other.take("testvenue", "a", "k", "order", priority=Priority.CANCEL, timeout_s=1.0)
    await one.penalise("testvenue", "a", wall_ns() - 1)
    await other.take("testvenue", "a", "k", "order", priority=Priority.CANCEL, timeout_s=0.5)


def test_apps_add_buckets_and_the_stricter_limit_holds():
    register_limits("testvenue", {"more": Limit(3, 1.0), "order": Limit(100, 0.5)})
    assert limit_of("testvenue", "more.spot") == ("more", Limit(3, 1.0))
    assert limit_of("testvenue", "order") == ("order", Limit(10, 0.5))
    register_limits("testvenue", {"more": Limit(2, 1.0)})
    assert limit_of("testvenue", "more") == ("more", Limit(2, 1.0))


async def test_an_unknown_provider_is_treated_cautiously(bus):
    governor = Governor(bus)
    for _ in range(5):
        await governor.take("stranger", "a", "k", "anything", priority=Priority.CANCEL, timeout_s=0.0)
    with pytest.raises(GovernorRefused):
        await governor.take("stranger", "a", "k", "anything", priority=Priority.CANCEL, timeout_s=0.0)


async def test_without_the_bus_cancels_have_half_and_the_rest_is_refused():
    async with Bus("redis://127.0.0.1:1/0") as gone:
        governor = Governor(gone)
        assert await taken(governor, "order", Priority.CANCEL) == 5
        assert await taken(governor, "order", Priority.REDUCE) == 0
        with pytest.raises(GovernorRefused, match="the bus is gone"):
            await governor.take("testvenue", "a", "k", "order", priority=Priority.ORDER)
        await governor.take("testvenue", "a", "k", "order", priority=Priority.REDUCE, timeout_s=1.0)
        await governor.penalise("testvenue", "a", wall_ns() + 100_000_000)
        with pytest.raises(GovernorRefused):
            await governor.take("testvenue", "a", "k2", "order", priority=Priority.CANCEL, timeout_s=0.0)
        await governor.take("testvenue", "a", "k2", "order", cost=8, priority=Priority.CANCEL, timeout_s=2.0)


@pytest.mark.stack
@pytest.mark.django_db(transaction=True)
async def test_processes_share_one_limit(bus):
    processes = [spawn("tests.apps.common.governor_process", settings.REDIS_URL, "2") for _ in range(2)]
    try:
        async with asyncio.timeout(200), bus.redis.monitor() as seen:
            while len(taken := await bus.redis.hvals("taken")) < 2 or sum(map(int, taken)) < 60:
                await asyncio.sleep(0.05)
            granted = await grants_seen(bus, seen, "qd:governor:shared:k:order")
    finally:
        for process in processes:
            end(process)
    assert len(granted) >= 60
    assert_within_limit(granted)
