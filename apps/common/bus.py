"""The bus: state topics by pub/sub, log topics and closed bars by streams.

Redis holds nothing that is not also in PostgreSQL or replaced by the next message, so it may be lost.
Readers reconnect by themselves; writers raise, and the caller decides what a lost message means.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, TypeVar

from apps.common.errors import LogGap, MessageError
from apps.common.messages import Message
from apps.common.redis_clients import BUS_ERRORS, blocking_client, command_client, sync_client
from apps.common.topics import TopicKind, topic_decode, topic_encode

STATE_CHANNEL = "qd:state:"
LAST_KEY = "qd:last"
LOG_KEY = "qd:log:"
BARS_KEY = "qd:bars:"
OUTBOX_CHANNEL = "qd:outbox"
BARS_KEPT = 500  # messages a stream, each with all instruments; what is older is read from storage
READ_COUNT = 500
BLOCK_MS = 5_000
PING_S = 5.0
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 1.0

logger = logging.getLogger(__name__)
T = TypeVar("T")
Published = tuple[str, Message]


class Backoff:
    """Waits between attempts to reconnect: doubling from 50 ms to 1 s, with jitter."""

    def __init__(self) -> None:
        self._next_s = BACKOFF_FIRST_S

    def reset(self) -> None:
        """Start anew after a success."""
        self._next_s = BACKOFF_FIRST_S

    async def wait(self) -> None:
        """Sleep for the next span."""
        await asyncio.sleep(self._next_s * random.uniform(0.5, 1.0))
        self._next_s = min(self._next_s * 2, BACKOFF_MAX_S)


class Bus:
    """The bus for one event loop. Cheap to make; connects when first used."""

    def __init__(self, redis_url: str) -> None:
        self.url = redis_url
        self.redis = command_client(redis_url)

    async def close(self) -> None:
        """Close the connections of commands. Iterators close their own when they end."""
        await self.redis.aclose()

    async def __aenter__(self) -> "Bus":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # State topics

    async def publish(self, topic: str, message: Message) -> None:
        """Publish the newest state of a topic, and keep it for those who come later."""
        await self.publish_many([(topic, message)])

    async def publish_many(self, messages: Iterable[Published]) -> None:
        """Publish several states in one round trip. Of one topic given twice, the last counts."""
        newest = {topic: topic_encode(TopicKind.STATE, topic, message) for topic, message in messages}
        if not newest:
            return
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.hset(LAST_KEY, mapping=newest)
            for topic, data in newest.items():
                pipe.publish(STATE_CHANNEL + topic, data)
            await pipe.execute()

    async def last(self, topic: str) -> Message | None:
        """Return the newest message of a state topic, or None when there was none."""
        return (await self.last_many([topic])).get(topic)

    async def last_many(self, topics: Sequence[str]) -> dict[str, Message]:
        """Return the newest message of each of these state topics that has one."""
        if not topics:
            return {}
        found = await self.redis.hmget(LAST_KEY, list(topics))
        return {topic: _state(topic, data) for topic, data in zip(topics, found, strict=True) if data is not None}

    async def subscribe(self, *patterns: str) -> AsyncIterator[Published]:
        """Yield (topic, message) of state topics as they come; `quote.*` takes all of a prefix.

        First comes the newest known message of each topic, and again after every reconnection.
        """
        backoff = Backoff()
        while True:
            try:
                async for topic, message in self._subscribed(patterns):
                    backoff.reset()
                    yield topic, message
            except BUS_ERRORS as error:
                logger.warning("bus lost, subscribing again: %s", error)
                await backoff.wait()

    async def _subscribed(self, patterns: Sequence[str]) -> AsyncIterator[Published]:
        client = blocking_client(self.url)
        pubsub = client.pubsub()
        try:
            wild = [STATE_CHANNEL + pattern for pattern in patterns if "*" in pattern]
            exact = [STATE_CHANNEL + pattern for pattern in patterns if "*" not in pattern]
            if wild:
                await pubsub.psubscribe(*wild)
            if exact:
                await pubsub.subscribe(*exact)
            for topic, data in await self._newest(client, patterns):
                for published in _decoded(topic, data):
                    yield published
            async for reply in pubsub_messages(pubsub):
                topic = reply["channel"].decode().removeprefix(STATE_CHANNEL)
                for published in _decoded(topic, reply["data"]):
                    yield published
        finally:
            await _close(pubsub, client)

    async def _newest(self, client: Any, patterns: Sequence[str]) -> list[tuple[str, bytes]]:
        found: dict[str, bytes] = {}
        for pattern in patterns:
            if "*" in pattern:
                async for name, data in client.hscan_iter(LAST_KEY, match=pattern, count=1000):
                    found[name.decode()] = data
            elif (data := await client.hget(LAST_KEY, pattern)) is not None:
                found[pattern] = data
        return list(found.items())

    # Closed bars

    async def bars_add(self, stream: str, message: Message) -> str:
        """Add a batch of closed bars to a stream; returns its id there. Write them to storage first."""
        data = topic_encode(TopicKind.BARS, stream, message)
        added = await self.redis.xadd(BARS_KEY + stream, {"m": data}, maxlen=BARS_KEPT, approximate=True)
        return added.decode()

    async def bars_read(self, stream: str, after: str = "$") -> AsyncIterator[tuple[str, Message]]:
        """Yield (id, message) of a bar stream after an id; `$` means from now on.

        A lost or trimmed stream shows as a hole in bar times: the reader fills it from storage.
        """
        async for found, data in self._stream(BARS_KEY + stream, after):
            for message in _tolerant(TopicKind.BARS, stream, data):
                yield found, message

    # Log topics

    async def log_last(self, topic: str) -> int:
        """Return the newest number in the log's stream; 0 when it is empty."""
        return await stream_last(self.redis, LOG_KEY + topic)

    async def log_read(self, topic: str, after: int | None = None) -> AsyncIterator[tuple[int, Message]]:
        """Yield (number, message) of a log topic after a number, each once and in order; None means from now on.

        Raises `LogGap` when the stream no longer holds what follows (read the outbox then),
        and `MessageNewer` for a version that this process does not know.
        """
        last = await self._when_up(topic) if after is None else after
        async for found, data in self._stream(LOG_KEY + topic, f"{last}-0"):
            number = int(found.split("-")[0])
            if number <= last:
                continue
            if number != last + 1:
                raise LogGap(topic, last, number)
            yield number, topic_decode(TopicKind.LOG, topic, data)
            last = number

    async def _when_up(self, topic: str) -> int:
        backoff = Backoff()
        while True:
            try:
                return await self.log_last(topic)
            except BUS_ERRORS:
                await backoff.wait()

    async def _stream(self, key: str, after: str) -> AsyncIterator[tuple[str, bytes]]:
        backoff = Backoff()
        while True:
            client = blocking_client(self.url)
            try:
                if after == "$":
                    newest = await client.xrevrange(key, count=1)
                    after = newest[0][0].decode() if newest else "0-0"
                while True:
                    async with asyncio.timeout(BLOCK_MS / 1e3 + PING_S):
                        answer = await client.xread({key: after}, count=READ_COUNT, block=BLOCK_MS)
                    backoff.reset()
                    for found, fields in _entries(answer):
                        after = found.decode()
                        yield after, fields[b"m"]
            except BUS_ERRORS as error:
                logger.warning("bus lost while reading %s: %s", key, error)
                await backoff.wait()
            finally:
                await _close(client)


class SyncBus:
    """The bus for Django's and Celery's code: publishes and looks, never waits for messages."""

    def __init__(self, redis_url: str) -> None:
        self.redis = sync_client(redis_url)

    def publish(self, topic: str, message: Message) -> None:
        """Publish the newest state of a topic, and keep it for those who come later."""
        self.publish_many([(topic, message)])

    def publish_many(self, messages: Iterable[Published]) -> None:
        """Publish several states in one round trip."""
        newest = {topic: topic_encode(TopicKind.STATE, topic, message) for topic, message in messages}
        if not newest:
            return
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hset(LAST_KEY, mapping=newest)
            for topic, data in newest.items():
                pipe.publish(STATE_CHANNEL + topic, data)
            pipe.execute()

    def last(self, topic: str) -> Message | None:
        """Return the newest message of a state topic, or None when there was none."""
        return self.last_many([topic]).get(topic)

    def last_many(self, topics: Sequence[str]) -> dict[str, Message]:
        """Return the newest message of each of these state topics that has one."""
        if not topics:
            return {}
        found = self.redis.hmget(LAST_KEY, list(topics))
        return {topic: _state(topic, data) for topic, data in zip(topics, found, strict=True) if data is not None}

    def outbox_wake(self) -> None:
        """Tell the relay that there is something to hand on. Never raises: the relay also polls."""
        try:
            self.redis.publish(OUTBOX_CHANNEL, b"")
        except BUS_ERRORS as error:
            logger.debug("relay not woken, it will poll: %s", error)


async def pubsub_messages(pubsub: Any) -> AsyncIterator[dict[str, Any]]:
    """Yield a pub/sub connection's messages; a silent connection is pinged, a dead one raises within 10 s."""
    async for reply in pubsub_replies(pubsub):
        if reply["type"] in ("message", "pmessage"):
            yield reply


async def pubsub_replies(pubsub: Any) -> AsyncIterator[dict[str, Any]]:
    """Yield all that a pub/sub connection says, confirmations of subscriptions too.

    It must not be told to ignore those: they would look like silence.
    """
    waiting_for_pong = False
    while True:
        reply = await pubsub.get_message(timeout=PING_S)
        if reply is None and waiting_for_pong:
            raise TimeoutError("the bus does not answer a ping")
        waiting_for_pong = reply is None
        if reply is None:
            await pubsub.ping()
        else:
            yield reply


async def stream_last(client: Any, key: str) -> int:
    """Return the number of a stream's newest entry; 0 when it is empty."""
    newest = await client.xrevrange(key, count=1)
    return int(newest[0][0].split(b"-")[0]) if newest else 0


def _entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries of an XREAD on one key, in either protocol's shape."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (batches,) = answer.values()
        return [entry for batch in batches for entry in batch]
    return answer[0][1]


def _state(topic: str, data: bytes) -> Message:
    return topic_decode(TopicKind.STATE, topic, data)


def _decoded(topic: str, data: bytes) -> list[Published]:
    return [(topic, message) for message in _tolerant(TopicKind.STATE, topic, data)]


def _tolerant(kind: TopicKind, name: str, data: bytes) -> list[Message]:
    """Return the message in a list, or nothing, with a line in the log, when it cannot be read."""
    try:
        return [topic_decode(kind, name, data)]
    except MessageError as error:
        logger.error("message on %s left out: %s", name, error)
        return []


async def _close(*clients: Any) -> None:
    for client in clients:
        try:
            await client.aclose()
        except BUS_ERRORS:
            pass
