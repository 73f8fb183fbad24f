"""The relay: hands log messages from the outbox table on to their streams, in order, once.

Whoever holds the lease `relay main` runs it; but correctness does not hang on the lease: every append names the
number it follows, so a repeat, a paused relay or an old one is refused by the stream itself. A lost stream is
filled again from the table.
"""

import asyncio
import logging
from typing import Any, NamedTuple

from psycopg import AsyncConnection, OperationalError

from apps.common.bus import LOG_KEY, OUTBOX_CHANNEL, Backoff, pubsub_messages, stream_last
from apps.common.database import connection_open, deadline
from apps.common.ending import tasks_end
from apps.common.redis_clients import BUS_ERRORS, blocking_client
from apps.common.residents import ResidentContext
from trader.config import config

BATCH = 500
QUERY_TIMEOUT_S = 5.0
BUSY_S = 2.0  # after a message the relay polls often for this long

# Appends only behind the number it expects; otherwise returns the stream's newest number and adds nothing.
# The same step publishes each message, so whoever listens hears it under its number.
APPEND = """
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = '0'
if newest[1] then last = string.match(newest[1][1], '^(%d+)') end
if last ~= ARGV[1] then return last end
for i = 3, #ARGV, 2 do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], ARGV[i] .. '-0', 'm', ARGV[i + 1])
  redis.call('PUBLISH', KEYS[1], ARGV[i] .. ' ' .. ARGV[i + 1])
  last = ARGV[i]
end
return last
"""

# One look at everything that is new: rows behind what each stream has, and topics not seen before (no body).
NEW_ROWS = """
SELECT held.topic, held.n, event.n, event.body
FROM common_topicsequence held
LEFT JOIN unnest(%s::text[], %s::bigint[]) AS known (topic, last) USING (topic)
LEFT JOIN LATERAL (
    SELECT n, body FROM common_outbox
    WHERE common_outbox.topic = held.topic AND n > known.last ORDER BY n LIMIT %s
) event ON true
WHERE known.last IS DISTINCT FROM held.n
ORDER BY held.topic, event.n
"""

logger = logging.getLogger(__name__)
Row = tuple[str, int, int | None, bytes | None]


class Place(NamedTuple):
    """Where a topic is: read the table behind `read_after`; the stream's newest number is `stream_at`."""

    read_after: int
    stream_at: int


def relay_keys() -> list[str]:
    """Return the one key: a single relay serves the installation."""
    return ["main"]


class Relay:
    """The resident that hands the outbox on."""

    def __init__(self, key: str, context: ResidentContext) -> None:
        self.context = context
        self.redis = context.bus.redis
        self.places: dict[str, Place] = {}
        self._append = self.redis.register_script(APPEND)
        self._woken = asyncio.Event()
        self._busy_until = 0.0

    async def run(self) -> None:
        """Relay until the host asks to stop or the lease has passed to another."""
        listener = asyncio.create_task(self._listen())
        backoff = Backoff()
        try:
            while not self._over():
                try:
                    await self._serve(backoff)
                except (OperationalError, *BUS_ERRORS) as error:
                    self.places.clear()  # what the streams hold is asked anew
                    logger.warning("relay waits for database and bus: %s", error)
                    self.context.lease.report(state="waiting", detail=str(error)[:200])
                    await backoff.wait()
        finally:
            await tasks_end([listener])

    def _over(self) -> bool:
        return self.context.stop.is_set() or self.context.lease.superseded

    async def _serve(self, backoff: Backoff) -> None:
        async with await connection_open("quarterdeck relay") as connection:
            self.context.lease.report(state="ready", lag_s=0.0, detail="")
            while not self._over():
                handed = await self.hand_on(connection)
                backoff.reset()
                if not handed:
                    await self._rest()

    async def hand_on(self, connection: AsyncConnection[Any]) -> int:
        """Hand on what is new, up to a batch per topic; returns how many messages were added."""
        async with deadline(connection, QUERY_TIMEOUT_S):
            known = [place.read_after for place in self.places.values()]
            cursor = await connection.execute(NEW_ROWS, [list(self.places), known, BATCH])
            rows: list[Row] = await cursor.fetchall()
        if not rows:
            return 0
        by_topic: dict[str, list[Row]] = {}
        for row in rows:
            by_topic.setdefault(row[0], []).append(row)
        added = [await self._topic(connection, topic, found) for topic, found in by_topic.items()]
        self._busy_until = asyncio.get_running_loop().time() + BUSY_S
        return sum(added)

    async def _topic(self, connection: AsyncConnection[Any], topic: str, rows: list[Row]) -> int:
        newest = rows[0][1]
        place = self.places.get(topic)
        if place is None or newest < place.read_after:
            return await self._resume(connection, topic)
        waiting = [(number, bytes(body)) for _, _, number, body in rows if number is not None and body is not None]
        if not waiting:  # the table was pruned past what the stream holds
            self.places[topic] = Place(newest, place.stream_at)
            return 0
        pairs = [part for pair in waiting for part in pair]
        last = int(await self._append(keys=[LOG_KEY + topic], args=[place.stream_at, config.bus.log_kept, *pairs]))
        if last == waiting[-1][0]:
            self.places[topic] = Place(last, last)
            return len(waiting)
        logger.warning("stream %s ends at %s, not at %s: going on from there", topic, last, place.stream_at)
        return await self._resume(connection, topic)

    async def _resume(self, connection: AsyncConnection[Any], topic: str) -> int:
        """Find out where to go on. The stream is read before the table, which is never behind it."""
        last = await stream_last(self.redis, LOG_KEY + topic)
        async with deadline(connection, QUERY_TIMEOUT_S):
            cursor = await connection.execute("SELECT n FROM common_topicsequence WHERE topic = %s", [topic])
            newest = (await cursor.fetchone() or (0,))[0]
        if last > newest:
            logger.error("stream %s is at %s but the database at %s: made anew from the table", topic, last, newest)
            await self.redis.delete(LOG_KEY + topic)
            last = 0
        # An empty stream begins with its newest part; what is older stays in the table.
        self.places[topic] = Place(last or max(newest - config.bus.log_kept, 0), last)
        return 1

    async def _rest(self) -> None:
        busy = asyncio.get_running_loop().time() < self._busy_until
        pause = config.bus.relay_poll_ms / 1e3 * (1 if busy else 5)
        try:
            async with asyncio.timeout(pause):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def _listen(self) -> None:
        backoff = Backoff()
        while True:
            client = blocking_client(self.context.bus.url)
            try:
                pubsub = client.pubsub()
                await pubsub.subscribe(OUTBOX_CHANNEL)
                self._woken.set()
                async for _ in pubsub_messages(pubsub):
                    backoff.reset()
                    self._woken.set()
            except BUS_ERRORS as error:
                logger.debug("relay hears no wakes, it polls: %s", error)
                await backoff.wait()
            finally:
                await client.aclose()
