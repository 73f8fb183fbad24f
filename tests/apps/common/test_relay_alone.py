"""The relay inside one process: it goes on after the database or the bus were away."""

import asyncio

import psycopg
import pytest
from django.db import connection

from apps.common.bus import LOG_KEY, Bus
from apps.common.database import connect_arguments
from apps.common.models import Outbox
from apps.common.relay import Relay, relay_keys
from apps.common.residents import ResidentContext
from tests.apps.common.test_outbox import add
from trader.config import config

pytestmark = pytest.mark.django_db(transaction=True)


class Held:
    """A lease that is held, and what was reported on it."""

    superseded = False

    def __init__(self):
        self.reports = []

    def report(self, **report):
        self.reports.append(report)


@pytest.fixture
async def relay(bus):
    context = ResidentContext(Held(), bus, None, asyncio.get_running_loop())
    relay = Relay(*relay_keys(), context)
    task = asyncio.create_task(relay.run())
    yield relay
    context.lease.superseded = True
    await asyncio.wait_for(task, 5)


async def handed_on(bus, count, topic="test.notes"):
    async with asyncio.timeout(8):
        while await bus.redis.xlen(LOG_KEY + topic) < count:
            await asyncio.sleep(0.02)
    entries = await bus.redis.xrange(LOG_KEY + topic)
    return [int(found.split(b"-")[0]) for found, _ in entries]


async def test_a_database_that_went_away_is_found_again(relay, bus):
    await asyncio.to_thread(add, "test.notes", 1)
    assert await handed_on(bus, 1) == [1]
    with psycopg.connect(**connect_arguments("killer"), autocommit=True) as killer:
        killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'quarterdeck relay'"
        )
    await asyncio.to_thread(add, "test.notes", 2, 3)
    assert await handed_on(bus, 3) == [1, 2, 3]
    assert "waiting" in [report["state"] for report in relay.context.lease.reports]


async def test_it_hears_wakes_again_after_the_bus_was_away(relay, bus, clean_bus):
    await asyncio.to_thread(add, "test.notes", 1)
    await handed_on(bus, 1)
    clean_bus.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await asyncio.to_thread(add, "test.notes", 2)
    assert await handed_on(bus, 2) == [1, 2]


async def test_an_empty_stream_begins_with_its_newest_part(bus, monkeypatch):
    short = config.model_copy(update={"bus": config.bus.model_copy(update={"log_kept": 100})})
    monkeypatch.setattr("apps.common.relay.config", short)
    await asyncio.to_thread(add, "test.notes", *range(1, 251))
    context = ResidentContext(Held(), bus, None, asyncio.get_running_loop())
    task = asyncio.create_task(Relay("main", context).run())
    assert (await handed_on(bus, 100))[-100:] == list(range(151, 251))
    context.stop.set()
    await asyncio.wait_for(task, 5)


async def test_rows_pruned_before_they_were_handed_on_are_passed_over(bus):
    await asyncio.to_thread(add, "test.notes", 1)
    context = ResidentContext(Held(), bus, None, asyncio.get_running_loop())
    relay = Relay("main", context)
    task = asyncio.create_task(relay.run())
    await handed_on(bus, 1)
    context.stop.set()
    await asyncio.wait_for(task, 5)
    await asyncio.to_thread(add, "test.notes", 2, 3)
    await asyncio.to_thread(_prune, 3)
    context.stop.clear()
    task = asyncio.create_task(relay.run())
    await asyncio.to_thread(add, "test.notes", 4)
    assert await handed_on(bus, 2) == [1, 4]
    context.stop.set()
    await asyncio.wait_for(task, 5)


def _prune(newest):
    Outbox.objects.filter(n__lte=newest).delete()
    connection.close()


async def test_without_a_bus_it_waits_and_says_so():
    async with Bus("redis://127.0.0.1:1/0") as gone:
        await asyncio.to_thread(add, "test.notes", 1)
        context = ResidentContext(Held(), gone, None, asyncio.get_running_loop())
        task = asyncio.create_task(Relay("main", context).run())
        async with asyncio.timeout(5):
            while not any(report["state"] == "waiting" for report in context.lease.reports):
                await asyncio.sleep(0.02)
        context.stop.set()
        await asyncio.wait_for(task, 5)
