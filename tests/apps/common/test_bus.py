"""The bus: newest state wins, streams resume where the reader was, a lost server is waited for."""

import asyncio

import pytest
from django.conf import settings

from apps.common.bus import LOG_KEY, Bus, SyncBus, pubsub_messages
from apps.common.errors import LogGap, MessageError
from apps.common.messages import encode
from apps.common.redis_clients import BUS_ERRORS
from tests.apps.common.samples import Closed, Note, Price


async def take(iterator, count):
    """Return the next `count` items of an async iterator, within 5 s."""
    found = []
    async with asyncio.timeout(5):
        async for item in iterator:
            found.append(item)
            if len(found) == count:
                return found
    return found


async def test_a_subscriber_gets_the_last_state_and_what_follows(bus):
    await bus.publish("test.price.1", Price(i=1, last=10.0))
    reader = bus.subscribe("test.price.*")
    assert await take(reader, 1) == [("test.price.1", Price(i=1, last=10.0))]
    reader = bus.subscribe("test.price.1")
    await anext(reader)
    await bus.publish_many([("test.price.1", Price(i=1, last=11.0)), ("test.price.2", Price(i=2, last=5.0))])
    assert await take(reader, 1) == [("test.price.1", Price(i=1, last=11.0))]
    await reader.aclose()


async def test_last_returns_the_newest_of_each_topic(bus):
    await bus.publish_many([("test.price.1", Price(i=1, last=1.0)), ("test.price.1", Price(i=1, last=2.0))])
    assert await bus.last("test.price.1") == Price(i=1, last=2.0)
    assert await bus.last_many(["test.price.1", "test.price.9"]) == {"test.price.1": Price(i=1, last=2.0)}
    assert await bus.last("test.price.9") is None


async def test_the_synchronous_twin_speaks_the_same(bus):
    twin = SyncBus(settings.REDIS_URL)
    twin.publish("test.price.4", Price(i=4, last=4.0))
    assert twin.last("test.price.4") == await bus.last("test.price.4") == Price(i=4, last=4.0)
    assert twin.last_many([]) == {}


async def test_a_wrong_message_is_not_published(bus):
    with pytest.raises(MessageError):
        await bus.publish("test.price.1", Note(text="no"))


async def test_bars_are_read_on_from_an_id(bus):
    first = await bus.bars_add("testvenue.60", Closed(open_ns=0, rows=[1.0]))
    await bus.bars_add("testvenue.60", Closed(open_ns=60, rows=[2.0]))
    assert [message.open_ns for _, message in await take(bus.bars_read("testvenue.60", after="0"), 2)] == [0, 60]
    assert [message.open_ns for _, message in await take(bus.bars_read("testvenue.60", after=first), 1)] == [60]


async def test_bars_from_now_on_skip_what_was(bus):
    await bus.bars_add("testvenue.60", Closed(open_ns=0, rows=[]))
    reader = bus.bars_read("testvenue.60")
    pending = asyncio.ensure_future(anext(reader))
    while not pending.done():
        await bus.bars_add("testvenue.60", Closed(open_ns=60, rows=[]))
        await asyncio.sleep(0.02)
    assert pending.result()[1].open_ns == 60
    await reader.aclose()


async def log_write(bus, numbers):
    for number in numbers:
        await bus.redis.xadd(LOG_KEY + "test.notes", {"m": encode(Note(text="x", number=number))}, id=f"{number}-0")


async def test_a_log_is_read_in_order_after_a_number(bus):
    await log_write(bus, range(1, 6))
    found = await take(bus.log_read("test.notes", after=2), 3)
    assert [(n, message.number) for n, message in found] == [(3, 3), (4, 4), (5, 5)]
    assert await bus.log_last("test.notes") == 5


async def test_a_hole_in_a_log_is_never_passed_over(bus):
    await log_write(bus, [1, 2, 5])
    reader = bus.log_read("test.notes", after=0)
    await take(reader, 2)
    reader = bus.log_read("test.notes", after=2)
    with pytest.raises(LogGap, match="after 2 comes 5"):
        await anext(reader)


async def test_a_reader_comes_back_after_its_connection_is_killed(bus, clean_bus):
    reader = bus.subscribe("test.price.1")
    await bus.publish("test.price.1", Price(i=1, last=1.0))
    await take(reader, 1)
    reader = bus.subscribe("test.price.1")
    assert (await anext(reader))[1].last == 1.0
    pending = asyncio.ensure_future(anext(reader))
    clean_bus.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await bus.publish("test.price.1", Price(i=1, last=2.0))
    async with asyncio.timeout(5):
        assert (await pending)[1].last == 2.0
    await reader.aclose()


async def test_a_message_that_cannot_be_read_is_left_out(bus, clean_bus):
    reader = bus.subscribe("test.price.1")
    await bus.publish("test.price.1", Price(i=1, last=1.0))
    await anext(reader)
    clean_bus.publish("qd:state:test.price.1", b"\x00")
    await bus.publish("test.price.1", Price(i=1, last=3.0))
    async with asyncio.timeout(5):
        assert (await anext(reader))[1].last == 3.0
    await reader.aclose()


async def test_a_stream_reader_comes_back_where_it_was(bus, clean_bus):
    await log_write(bus, [1])
    reader = bus.log_read("test.notes", after=0)
    assert (await anext(reader))[0] == 1
    pending = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0.1)  # it waits in the server now
    (waiting,) = [client for client in clean_bus.client_list() if client["cmd"] == "xread"]
    clean_bus.client_kill_filter(_id=waiting["id"])
    await log_write(bus, [2])
    async with asyncio.timeout(5):
        assert (await pending)[0] == 2
    await reader.aclose()


async def test_a_log_is_followed_from_now_on(bus):
    await log_write(bus, [1, 2])
    reader = bus.log_read("test.notes")
    pending = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0.1)
    await log_write(bus, [3])
    async with asyncio.timeout(5):
        assert (await pending)[0] == 3
    await reader.aclose()


async def test_readers_wait_for_a_bus_that_is_not_there():
    async with Bus("redis://127.0.0.1:1/0") as gone:
        for reader in (gone.log_read("test.notes"), gone.bars_read("testvenue.60"), gone.subscribe("test.price.*")):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(reader), 0.3)


async def test_publishing_to_a_bus_that_is_not_there_raises():
    async with Bus("redis://127.0.0.1:1/0") as gone:
        with pytest.raises(BUS_ERRORS):
            await gone.publish("test.price.1", Price(i=1, last=1.0))
        await gone.publish_many([])
        assert await gone.last_many([]) == {}
    SyncBus("redis://127.0.0.1:1/0").outbox_wake()
    SyncBus("redis://127.0.0.1:1/0").publish_many([])


async def test_a_silent_server_is_noticed():
    class Silent:
        pings = 0

        async def get_message(self, timeout):
            return None

        async def ping(self):
            self.pings += 1

    silent = Silent()
    with pytest.raises(TimeoutError, match="does not answer a ping"):
        await anext(pubsub_messages(silent))
    assert silent.pings == 1
