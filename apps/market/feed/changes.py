"""What people change while a feed runs, heard at once: universes and venues have logs of their own."""

import asyncio

from apps.common.bus import Bus
from apps.common.errors import LogGap
from apps.common.redis_clients import BUS_ERRORS

TOPICS = ("universes", "venues")
AGAIN_S = 1.0


class Changes:
    """Says that something has changed, not what: the feed then reads its plan anew."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._happened = asyncio.Event()
        self.listens_to: set[str] = set()

    async def listen(self) -> None:
        """Listen for ever."""
        await asyncio.gather(*[self._listen(topic) for topic in TOPICS])

    async def wait(self, timeout_s: float) -> None:
        """Return at the next change, or one since the last call, or when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._happened.wait()
        except TimeoutError:
            pass
        self._happened.clear()

    async def _listen(self, topic: str) -> None:
        """Hear of every change; one from before we listened is found by a look once we do."""
        while True:
            try:
                after = await self._bus.log_last(topic)
                self._happened.set()
                self.listens_to.add(topic)
                async for _ in self._bus.log_read(topic, after):
                    self._happened.set()
            except (LogGap, *BUS_ERRORS):
                self.listens_to.discard(topic)
                self._happened.set()
                await asyncio.sleep(AGAIN_S)
