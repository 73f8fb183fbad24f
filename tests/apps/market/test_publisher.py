"""Conflation: at once when quiet, at most once an interval when busy, and the newest always arrives."""

import asyncio

import pytest
import redis

from apps.market.events import Quote
from apps.market.feed.publisher import Publisher
from tests.apps.market.live import until


class Wire:
    """Where messages arrive; `is_up` false is a bus that is gone."""

    def __init__(self) -> None:
        self.sends: list[list[tuple[str, Quote]]] = []
        self.is_up = True

    async def publish_many(self, messages) -> None:
        if not self.is_up:
            raise redis.ConnectionError("gone")
        self.sends.append(list(messages))

    def of(self, topic: str) -> list[float]:
        return [message.last for send in self.sends for name, message in send if name == topic]


def _quote(last: float) -> Quote:
    return Quote(1, 1.0, 1.0, 2.0, 1.0, last, 0, 0, 0)


@pytest.fixture
async def publishing():
    wire = Wire()
    publisher = Publisher(wire, asyncio.get_running_loop(), beat_s=0.05)
    task = asyncio.create_task(publisher.run())
    yield publisher, wire
    task.cancel()


async def test_a_quiet_topic_is_sent_at_once_and_once(publishing) -> None:
    publisher, wire = publishing
    publisher.offer("quote.1", lambda: _quote(5.0), 0.01)
    await until(lambda: wire.sends)
    await asyncio.sleep(0.03)
    assert wire.of("quote.1") == [5.0]


async def test_a_busy_topic_is_thinned_and_its_newest_state_arrives(publishing) -> None:
    publisher, wire = publishing
    for number in range(100):
        publisher.offer("quote.1", lambda number=number: _quote(float(number)), 0.02)
        await asyncio.sleep(0.001)
    await until(lambda: wire.of("quote.1")[-1:] == [99.0])
    assert 2 <= len(wire.of("quote.1")) <= 30


async def test_topics_of_one_moment_share_a_packet(publishing) -> None:
    publisher, wire = publishing
    for number in range(5):
        publisher.offer(f"quote.{number}", lambda: _quote(1.0), 0.01)
    await until(lambda: wire.sends)
    assert len(wire.sends) == 1
    assert len(wire.sends[0]) == 5


async def test_what_only_eyes_watch_waits_for_the_beat(publishing) -> None:
    publisher, wire = publishing
    publisher.offer_slow("book.1", lambda: _quote(1.0), 0.05)
    publisher.offer("quote.1", lambda: _quote(1.0), 0.01)
    await until(lambda: wire.of("book.1"))
    for number in range(20):
        publisher.offer_slow("book.1", lambda number=number: _quote(float(number)), 0.05)
        publisher.offer_slow("prints.1", lambda number=number: _quote(float(number)), 0.05)
        await asyncio.sleep(0.002)
    await until(lambda: wire.of("book.1")[-1] == 19.0 and wire.of("prints.1")[-1] == 19.0)
    assert len(wire.of("book.1")) <= 5


async def test_a_maker_that_has_nothing_sends_nothing(publishing) -> None:
    publisher, wire = publishing
    publisher.offer("quote.1", lambda: None, 0.01)
    await asyncio.sleep(0.03)
    assert wire.sends == []


async def test_a_bus_that_is_gone_costs_freshness_only(publishing) -> None:
    publisher, wire = publishing
    wire.is_up = False
    publisher.offer("quote.1", lambda: _quote(1.0), 0.01)
    await until(lambda: not publisher.is_bus_up)
    wire.is_up = True
    publisher.offer("quote.1", lambda: _quote(2.0), 0.01)
    await until(lambda: wire.of("quote.1") == [2.0])
    assert publisher.is_bus_up
