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
GATHER_S = 0.001


class Publisher:
    """Topics that changed and have not been sent. A lost bus costs nothing but freshness: the newest comes again.

    Quotes go a millisecond after the frame, so that a tick's book and trade frames make one message. What only
    eyes watch (ladder, prints, figures) waits for a common beat: few sends instead of many small ones.
    """

    def __init__(self, bus: Bus, loop: asyncio.AbstractEventLoop, beat_s: float) -> None:
        self._bus = bus
        self._loop = loop
        self._beat_s = beat_s
        self._quick: dict[str, Maker] = {}
        self._slow: dict[str, Maker] = {}
        self._not_before: dict[str, float] = {}
        self._intervals: dict[str, float] = {}
        self._next_beat = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._wake = asyncio.Event()
        self.sent = 0
        self.is_bus_up = True

    def offer(self, topic: str, make: Maker, interval_s: float) -> None:
        """Send the topic's newest state at once, and at most once an interval."""
        self._quick[topic] = make
        self._intervals[topic] = interval_s
        self._arm(GATHER_S)

    def offer_slow(self, topic: str, make: Maker, interval_s: float) -> None:
        """Send the topic's newest state with the next beat, and at most once an interval."""
        self._slow[topic] = make
        self._intervals[topic] = interval_s
        self._arm(self._beat_s)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._timer = None
            due = self._take_due()
            if due:
                await self._send(due)
            self._arm_for_rest()

    def _arm(self, delay_s: float) -> None:
        """Wake the sender in this time, unless it will wake sooner."""
        moment = self._loop.time() + delay_s
        if self._timer is not None:
            if self._timer_at <= moment:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(moment, self._wake.set), moment

    def _arm_for_rest(self) -> None:
        now = self._loop.time()
        if self._quick:
            self._arm(max(min(self._not_before.get(topic, 0.0) for topic in self._quick) - now, 0.0))
        elif self._slow:
            self._arm(max(self._next_beat - now, 0.0))

    def _take_due(self) -> list[tuple[str, Message]]:
        now = self._loop.time()
        messages = self._take(self._quick, now)
        if self._slow and now >= self._next_beat:
            self._next_beat = now + self._beat_s
            messages += self._take(self._slow, now)
        return messages

    def _take(self, changed: dict[str, Maker], now: float) -> list[tuple[str, Message]]:
        messages = []
        for topic in [topic for topic in changed if self._not_before.get(topic, 0.0) <= now]:
            message = changed.pop(topic)()
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
