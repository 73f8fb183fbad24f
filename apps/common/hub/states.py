"""State topics: one coalesced frame per browser and span, newest wins."""

import asyncio
import logging
from collections.abc import Iterable

from apps.common.bus import LAST_KEY, STATE_CHANNEL
from apps.common.errors import CommonError
from apps.common.hub.feeds import Client, StateFeed
from apps.common.hub.frames import Frame, json_bytes, state_frame
from apps.common.hub.listener import Listener
from apps.common.hub.room import Room
from apps.common.redis_clients import BUS_ERRORS
from apps.common.topics import TopicKind, topic_decode
from trader.config import config

GATHER_S = 0.001  # messages of one pipeline arrive together: let them share a frame

logger = logging.getLogger(__name__)


class States:
    """Newest values of state topics and who wants them."""

    def __init__(self, room: Room, listener: Listener) -> None:
        self.room, self.listener = room, listener
        self.feeds: dict[str, StateFeed] = {}
        self._changed: set[str] = set()
        self._due = asyncio.Event()

    async def subscribe(self, client: Client, topics: list[str]) -> None:
        """Add topics to a browser; it gets the newest known values at once."""
        if not topics:
            return
        new = [topic for topic in topics if topic not in self.feeds]
        for topic in topics:
            self.feeds.setdefault(topic, StateFeed(topic)).clients.add(client)
        client.states |= set(topics)
        if new:
            await self.listener.add(STATE_CHANNEL + topic for topic in new)
            await self.fetch(new)
        self.owe(client, (topic for topic in topics if topic in self.feeds and self.feeds[topic].body is not None))

    def owe(self, client: Client, topics: Iterable[str]) -> None:
        """Put topics into a browser's next frame."""
        client.dirty |= frozenset(topics) & client.states
        if client.dirty:
            self.room.is_slow(client)
            self._due.set()

    def drop(self, client: Client, topics: list[str]) -> list[str]:
        """Take topics from a browser; returns the channels that nobody needs any more."""
        client.states -= set(topics)
        client.dirty -= set(topics)
        unused = []
        for topic in topics:
            feed = self.feeds.get(topic)
            if feed is None:
                continue
            feed.clients.discard(client)
            if not feed.clients:
                del self.feeds[topic]
                unused.append(STATE_CHANNEL + topic)
        return unused

    async def fetch(self, topics: list[str]) -> None:
        """Take the newest known values: of topics just subscribed, and of all after a reconnection."""
        if not topics:
            return
        try:
            found = await self.room.redis.hmget(LAST_KEY, topics)
        except BUS_ERRORS as error:
            logger.debug("newest states come when the bus is back: %s", error)
            return
        for topic, data in zip(topics, found, strict=True):
            if data is not None:
                self.heard(topic, data)

    def heard(self, topic: str, data: bytes) -> None:
        """Take a new value; it is encoded here, once for all browsers."""
        feed = self.feeds.get(topic)
        if feed is None:
            return
        try:
            feed.body = json_bytes(topic_decode(TopicKind.STATE, topic, data))
        except CommonError as error:
            logger.error("state %s not shown: %s", topic, error)
            return
        self.room.counts["states"] += 1
        self._changed.add(topic)
        self._due.set()

    async def send(self) -> None:
        """Send frames for ever: at once after a quiet time, then no oftener than the span allows."""
        while True:
            await self._due.wait()
            await asyncio.sleep(GATHER_S)
            self._due.clear()
            self.flush()
            span_ms = max(config.hub.frame_ms, config.hub.frame_ms_per_client * len(self.room.clients))
            await asyncio.sleep(span_ms / 1e3)

    def flush(self) -> None:
        """Send what changed to all who take it; the others keep the names of what they miss."""
        changed, self._changed = frozenset(self._changed), set()
        affected = {client for client in self.room.slow if client.dirty}
        for topic in changed:
            if topic in self.feeds:
                affected |= self.feeds[topic].clients
        frames: dict[frozenset[str], Frame] = {}
        for client in affected:
            wanted = (changed & client.states) | client.dirty
            if client.writer.unsent():
                client.dirty = wanted
                self.room.is_slow(client)
                self.room.counts["coalesced"] += 1
                continue
            if wanted not in frames:
                frames[wanted] = self._frame(wanted)
            client.dirty = frozenset()
            client.writer.write(frames[wanted])
            self.room.counts["state_frames"] += 1

    def due(self) -> None:
        """Send soon: a browser takes frames again."""
        self._due.set()

    def _frame(self, topics: frozenset[str]) -> Frame:
        bodies = {topic: self.feeds[topic].body for topic in sorted(topics) if topic in self.feeds}
        return state_frame({topic: body for topic, body in bodies.items() if body is not None})
