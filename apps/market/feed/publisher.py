"""State on its way to the bus, conflated: at once when quiet, at most once per topic and interval when busy.

What is offered is a way to make the message, so that only what is sent is ever built, and it is the newest.
"""

import asyncio
from collections.abc import Callable

import structlog

from apps.common.bus import Bus
from apps.common.messages import Message
from apps.common.redis_clients import BUS_ERRORS

log = structlog.get_logger(__name__)
Maker = Callable[[], Message | None]
RETRY_S = 0.25


class Publisher:
    """Topics that changed and have not been sent. A lost bus costs nothing but freshness: the newest comes again."""

    def __init__(self, bus: Bus, loop: asyncio.AbstractEventLoop) -> None:
        self._bus = bus
        self._loop = loop
        self._changed: dict[str, Maker] = {}
        self._not_before: dict[str, float] = {}
        self._intervals: dict[str, float] = {}
        self._wake = asyncio.Event()
        self.sent = 0
        self.is_bus_up = True

    def offer(self, topic: str, make: Maker, interval_s: float) -> None:
        """Send the topic's newest state soon, at most once an interval."""
        self._changed[topic] = make
        self._intervals[topic] = interval_s
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            due = self._take_due()
            if due:
                await self._send(due)
            if self._changed:
                self._wake_at(min(self._not_before.get(topic, 0.0) for topic in self._changed))

    def _take_due(self) -> list[tuple[str, Message]]:
        now = self._loop.time()
        topics = [topic for topic in self._changed if self._not_before.get(topic, 0.0) <= now]
        messages = []
        for topic in topics:
            message = self._changed.pop(topic)()
            self._not_before[topic] = now + self._intervals[topic]
            if message is not None:
                messages.append((topic, message))
        return messages

    async def _send(self, messages: list[tuple[str, Message]]) -> None:
        try:
            await self._bus.publish_many(messages)
            self.sent += len(messages)
            self.is_bus_up = True
        except BUS_ERRORS as error:
            if self.is_bus_up:
                log.warning("feed.bus_lost", error=str(error))
            self.is_bus_up = False
            await asyncio.sleep(RETRY_S)

    def _wake_at(self, moment: float) -> None:
        if moment <= self._loop.time():
            self._wake.set()
        else:
            self._loop.call_at(moment, self._wake.set)
