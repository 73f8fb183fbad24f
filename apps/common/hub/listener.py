"""The hub's ear: one pub/sub connection whose channels follow what browsers ask for."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from apps.common.bus import Backoff, pubsub_replies
from apps.common.redis_clients import BUS_ERRORS, blocking_client

CONFIRM_S = 2.0

logger = logging.getLogger(__name__)


class Listener:
    """Subscribes, hands each message on, and comes back by itself with the same channels."""

    def __init__(self, url: str, heard: Callable[[str, bytes], None], connected: Callable[[], None]) -> None:
        self.url = url
        self.channels: set[str] = {"qd:hub"}  # one of its own, so that there always is a subscription
        self._heard = heard
        self._connected = connected  # called when all is subscribed: what was missed can be fetched then
        self._pubsub: Any = None
        self._confirmed: set[str] = set()
        self._news = asyncio.Condition()

    async def add(self, channels: Iterable[str]) -> None:
        """Subscribe to more channels and wait until the server says so; with the bus gone it happens later."""
        asked = set(channels)
        new = asked - self.channels
        self.channels |= new
        if new and self._pubsub is not None:
            await self._try(self._pubsub.subscribe, new)
        if self._pubsub is None:
            return
        try:
            async with asyncio.timeout(CONFIRM_S), self._news:
                await self._news.wait_for(lambda: asked <= self._confirmed or self._pubsub is None)
        except TimeoutError:
            logger.warning("the bus does not confirm subscriptions")

    async def remove(self, channels: Iterable[str]) -> None:
        """Leave channels that nobody asks for any more."""
        old = set(channels) & self.channels
        self.channels -= old
        self._confirmed -= old
        if old and self._pubsub is not None:
            await self._try(self._pubsub.unsubscribe, old)

    async def _try(self, action: Callable[..., Any], channels: set[str]) -> None:
        try:
            await action(*channels)
        except BUS_ERRORS as error:
            logger.debug("taken up when the listener is connected again: %s", error)

    async def run(self) -> None:
        """Listen for ever."""
        backoff = Backoff()
        while True:
            client = blocking_client(self.url)
            try:
                await self._listen(client, backoff)
            except BUS_ERRORS as error:
                logger.warning("the hub lost the bus, connecting again: %s", error)
            finally:
                self._pubsub = None
                await self._tell(set())
                await _close(client)
            await backoff.wait()

    async def _listen(self, client: Any, backoff: Backoff) -> None:
        pubsub = client.pubsub()
        first = set(self.channels)
        await pubsub.subscribe(*first)
        self._pubsub = pubsub
        if asked_meanwhile := self.channels - first:
            await pubsub.subscribe(*asked_meanwhile)
        waiting = set(self.channels)
        async for reply in pubsub_replies(pubsub):
            if reply["type"] == "message":
                self._hand_on(reply["channel"].decode(), reply["data"])
            elif reply["type"] == "subscribe":
                channel = reply["channel"].decode()
                await self._tell(self._confirmed | {channel})
                if waiting and not (waiting := waiting - {channel}):
                    backoff.reset()
                    self._connected()

    def _hand_on(self, channel: str, data: bytes) -> None:
        try:
            self._heard(channel, data)
        except Exception:  # one message must not make the hub deaf
            logger.exception("message on %s left out", channel)

    async def _tell(self, confirmed: set[str]) -> None:
        async with self._news:
            self._confirmed = confirmed
            self._news.notify_all()


async def _close(client: Any) -> None:
    try:
        await client.aclose()
    except BUS_ERRORS:
        pass
