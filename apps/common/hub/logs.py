"""Log topics: every delta, in order; a browser that falls behind gets one snapshot."""

import asyncio
import logging
import time

from apps.common.bus import LOG_KEY, Backoff, stream_last
from apps.common.errors import CommonError
from apps.common.hub.feeds import Client, LogFeed, frame_after
from apps.common.hub.frames import Frame, log_part, parts_frame
from apps.common.hub.listener import Listener
from apps.common.hub.registry import hub_topic
from apps.common.hub.room import Room
from apps.common.hub.snapshots import Snapshots
from apps.common.redis_clients import BUS_ERRORS
from apps.common.topics import TopicKind, topic_decode
from trader.config import config

FILL_COUNT = 500
RETRY_S = 1.0
REST = 2.0  # of the loop's time, sending takes a third at most: the bus must be heard meanwhile

logger = logging.getLogger(__name__)


class Logs:
    """Deltas of log topics and who is where in them."""

    def __init__(self, room: Room, listener: Listener) -> None:
        self.room, self.listener = room, listener
        self.snapshots = Snapshots()
        self.feeds: dict[str, LogFeed] = {}
        self._waiting: set[LogFeed] = set()
        self._due = asyncio.Event()

    async def subscribe(self, client: Client, topics: list[str], since: dict[str, int]) -> None:
        """Add topics to a browser and bring it up to date: by deltas behind `since`, else by a snapshot."""
        new = [topic for topic in topics if topic not in self.feeds]
        for topic in topics:
            self.feeds.setdefault(topic, LogFeed(topic)).clients.add(client)
            client.behind.add(topic)
            client.logs.pop(topic, None)
        if new:
            await self.listener.add(LOG_KEY + topic for topic in new)
        for topic in topics:
            await self._bring_up(client, topic, since.get(topic))

    def drop(self, client: Client, topics: list[str]) -> list[str]:
        """Take topics from a browser; returns the channels that nobody needs any more."""
        unused = []
        for topic in topics:
            client.logs.pop(topic, None)
            client.behind.discard(topic)
            feed = self.feeds.get(topic)
            if feed is None:
                continue
            feed.clients.discard(client)
            if not feed.clients:
                del self.feeds[topic]
                self._waiting.discard(feed)
                unused.append(LOG_KEY + topic)
        return unused

    async def bring_up_all(self, client: Client) -> None:
        """Send snapshots of all topics in which a browser is behind."""
        client.retry_at = time.monotonic() + RETRY_S
        for topic in sorted(client.behind):
            await self._bring_up(client, topic, None)

    async def _bring_up(self, client: Client, topic: str, since: int | None) -> None:
        feed = self.feeds.get(topic)
        if feed is None or client not in feed.clients:
            return
        if feed.parked:
            self.room.refuse(client, topic, feed.parked)
            client.behind.discard(topic)
            return
        await self._begin(feed)
        parts = None if since is None else await self._parts_after(feed, since)
        if parts is None:
            await self._snapshot(client, feed)
        elif client in feed.clients:
            self._caught_up(client, feed, feed.last or 0, parts)

    async def _begin(self, feed: LogFeed) -> None:
        """Learn where a topic's stream ends, once subscribed to it."""
        if feed.last is not None:
            return
        try:
            last = await stream_last(self.room.redis, LOG_KEY + feed.name)
        except BUS_ERRORS as error:
            logger.debug("log %s begins when the bus is back: %s", feed.name, error)
            return
        if feed.last is None:
            feed.last = last
            if feed.look_again:
                self._fill_begin(feed)

    async def _parts_after(self, feed: LogFeed, since: int) -> list[bytes] | None:
        """Return the deltas behind `since`, from memory or the stream; None when they cannot be had."""
        if feed.last is None or since > feed.last:
            return None
        parts = feed.after(since)
        if parts is not None:
            return parts
        last = feed.last
        if last - since > FILL_COUNT:
            return None
        try:
            found = await self.room.redis.xrange(LOG_KEY + feed.name, f"{since + 1}-0", f"{last}-0")
            older = [self._part(feed.name, _number(entry), fields[b"m"]) for entry, fields in found]
        except (CommonError, *BUS_ERRORS):
            return None
        newer = feed.after(last)
        return older + newer if len(older) == last - since and newer is not None else None

    async def _snapshot(self, client: Client, feed: LogFeed) -> None:
        """Send a snapshot and the deltas since; what goes wrong is tried again."""
        try:
            taken = await self.snapshots.take(feed.name, client.user, feed.last or 0)
        except Exception as error:
            logger.warning("snapshot of %s failed, trying again: %s", feed.name, error)
            self.room.is_slow(client)
            return
        if feed.name not in client.behind or client not in feed.clients:
            return
        parts = feed.after(taken.number)
        if parts is None or client.writer.unsent() > config.hub.buffer_bytes:  # too old by now, or behind again
            self.room.is_slow(client)
            return
        self.room.counts["snapshots"] += 1
        client.writer.write(taken.frame)
        self._caught_up(client, feed, max(taken.number, feed.last or 0), parts)

    def _caught_up(self, client: Client, feed: LogFeed, number: int, parts: list[bytes]) -> None:
        client.logs[feed.name] = number
        client.behind.discard(feed.name)
        if parts:
            client.writer.write(parts_frame(parts))

    def heard(self, topic: str, number: int, data: bytes) -> None:
        """Take a delta. One that was heard before is left out; a hole is read from the stream first."""
        feed = self.feeds.get(topic)
        if feed is None:
            return
        if feed.filling or feed.last is None:
            feed.look_again = True  # the stream has it
        elif number > feed.last + 1:
            self._fill_begin(feed)
        elif number > feed.last:
            self._add(feed, number, data)

    def connected(self) -> None:
        """After a reconnection, read what was missed."""
        for feed in self.feeds.values():
            if feed.last is None:
                self.room.spawn(self._begin_late(feed))
            elif feed.filling:
                feed.look_again = True
            else:
                self._fill_begin(feed)

    async def _begin_late(self, feed: LogFeed) -> None:
        """Begin a topic that was asked for while the bus was gone."""
        await self._begin(feed)
        for client in list(feed.clients):
            self.fall_behind(client, feed.name)

    def _add(self, feed: LogFeed, number: int, data: bytes) -> None:
        if feed.parked:
            return
        try:
            part = self._part(feed.name, number, data)
        except CommonError as error:
            self._park(feed, str(error))
            return
        feed.add(number, part)
        self._waiting.add(feed)
        self._due.set()

    def _part(self, topic: str, number: int, data: bytes) -> bytes:
        message = topic_decode(TopicKind.LOG, topic, data)
        render = hub_topic(topic).render_function()
        html = None
        if render is not None:
            try:
                html = render(message)
            except Exception:
                logger.exception("row of %s %s cannot be rendered", topic, number)
        self.room.counts["deltas"] += 1
        return log_part(topic, number, message, html)

    def _park(self, feed: LogFeed, why: str) -> None:
        """Stop a topic whose messages this process cannot read, and say so: a hole would be a lie."""
        feed.parked = why
        logger.error("log %s parked: %s", feed.name, why)
        for client in feed.clients:
            client.logs.pop(feed.name, None)
            self.room.refuse(client, feed.name, why)

    def _fill_begin(self, feed: LogFeed) -> None:
        feed.filling = True
        self.room.spawn(self._fill(feed))

    async def _fill(self, feed: LogFeed) -> None:
        """Read what was missed from the stream, until nothing was heard during the last look.

        What is heard during a look is not in its answer, and on a quiet topic no later delta would show the hole.
        A look that fails is tried again: the ear may have kept its connection, and then nobody else begins anew.
        """
        backoff = Backoff()
        try:
            while feed.last is not None and not feed.parked and self.feeds.get(feed.name) is feed:
                feed.look_again = False
                try:
                    has_moved = await self._look(feed, feed.last)
                except BUS_ERRORS as error:
                    logger.warning("log %s is filled when the bus is back: %s", feed.name, error)
                    await backoff.wait()
                    continue
                if not (has_moved or feed.look_again):
                    break
        finally:
            feed.filling = False

    async def _look(self, feed: LogFeed, last: int) -> bool:
        """Add what the stream holds after the last delta, or go on behind a hole; False when there is neither."""
        key = LOG_KEY + feed.name
        found = await self.room.redis.xrange(key, f"{last + 1}-0", "+", count=FILL_COUNT)
        if found and _number(found[0][0]) == last + 1 and len(found) < FILL_COUNT:
            for entry, fields in found:
                self._add(feed, _number(entry), fields[b"m"])
            return True
        newest = await stream_last(self.room.redis, key)
        # a stream that ends before us was made anew, from a restored database: begin again with it
        if found or 0 < newest < last:
            self._hole(feed, newest)
            return True
        return False

    def _hole(self, feed: LogFeed, last: int) -> None:
        logger.warning("log %s goes on at %s, not after %s: sending snapshots", feed.name, last, feed.last)
        feed.restart(last)
        self._waiting.discard(feed)
        for client in feed.clients:
            self.fall_behind(client, feed.name)

    def fall_behind(self, client: Client, topic: str) -> None:
        """Note that a browser needs a snapshot; nothing is queued for it."""
        client.logs.pop(topic, None)
        client.behind.add(topic)
        self.room.is_slow(client)
        self.room.counts["fallen_behind"] += 1

    async def send(self) -> None:
        """Send deltas for ever: at once after a quiet time, then gathered, as each frame costs per browser."""
        while True:
            await self._due.wait()
            await asyncio.sleep(0)
            self._due.clear()
            began = time.perf_counter()
            self.flush()
            await asyncio.sleep(self._span_s(time.perf_counter() - began))

    def _span_s(self, flush_took_s: float) -> float:
        """Return how long to gather before the next frame: longer on a busy machine, where each frame costs more."""
        span_ms = max(config.hub.log_frame_ms, config.hub.log_frame_ms_per_client * len(self.room.clients))
        return max(span_ms / 1e3, REST * flush_took_s)

    def flush(self) -> None:
        """Send what is new, in one frame for all browsers that are at the same place."""
        feeds, self._waiting = sorted(self._waiting, key=lambda feed: feed.name), set()
        befores = {feed.name: feed.unsent_from - 1 for feed in feeds}
        frames: dict[tuple[tuple[str, int], ...], Frame | None] = {}
        for client in {client for feed in feeds for client in feed.clients}:
            if client.writer.unsent() > config.hub.buffer_bytes:
                for feed in feeds:
                    if feed.name in client.logs:
                        self.fall_behind(client, feed.name)
                continue
            self._flush_to(client, [feed for feed in feeds if feed.name in client.logs], befores, frames)
        for feed in feeds:
            feed.unsent_from = 0

    def _flush_to(
        self,
        client: Client,
        feeds: list[LogFeed],
        befores: dict[str, int],
        frames: dict[tuple[tuple[str, int], ...], Frame | None],
    ) -> None:
        places = tuple((feed.name, max(client.logs[feed.name], befores[feed.name])) for feed in feeds)
        lost = [feed.name for feed in feeds if client.logs[feed.name] < befores[feed.name]]
        if not lost and places not in frames:
            frames[places] = frame_after(feeds, places)
        frame = frames.get(places)
        if lost or frame is None:
            for feed in feeds:
                self.fall_behind(client, feed.name)
            return
        if frame.text:
            client.writer.write(frame)
            self.room.counts["log_frames"] += 1
        for feed in feeds:
            client.logs[feed.name] = max(client.logs[feed.name], feed.last or 0)


def _number(entry: bytes) -> int:
    return int(entry.split(b"-")[0])
