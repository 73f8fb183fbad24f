"""The outbox: log messages become true in the transaction that made them true.

A number is taken from the topic's counter row, which stays locked until the commit: so numbers are in commit
order and without gaps. Call it last in the transaction, and keep transactions short.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection as django_connection
from django.db import transaction

from apps.common.bus import OUTBOX_CHANNEL, Bus, SyncBus
from apps.common.errors import CommonError
from apps.common.messages import Message
from apps.common.redis_clients import BUS_ERRORS
from apps.common.topics import TopicKind, topic_decode, topic_encode

Event = tuple[str, Message]
LOCK_TIMEOUT_MS = 2_000
WAKE_TIMEOUT_S = 0.2

logger = logging.getLogger(__name__)

# The insert goes through the topics in their order, so two transactions can never wait for each other. All in one
# parameter of one type, whatever it holds: a statement that contains this is prepared once and not for each mixture.
CTE = """
outbox_taken AS (
    INSERT INTO common_topicsequence AS held (topic, n)
    SELECT asked.topic, count(*)
    FROM jsonb_to_recordset(%(outbox)s::jsonb) AS asked (topic text)
    GROUP BY asked.topic ORDER BY asked.topic
    ON CONFLICT (topic) DO UPDATE SET n = held.n + excluded.n
    RETURNING held.topic, held.n
), outbox_added AS (
    INSERT INTO common_outbox (topic, n, body, at)
    SELECT event.topic, outbox_taken.n - event.back, decode(event.body, 'hex'), clock_timestamp()
    FROM jsonb_to_recordset(%(outbox)s::jsonb) AS event (topic text, back bigint, body text)
    JOIN outbox_taken USING (topic)
    RETURNING topic, n
)"""
STATEMENT = f"WITH {CTE} SELECT topic, n FROM outbox_added ORDER BY topic, n"


def outbox_cte(events: Sequence[Event]) -> tuple[str, dict[str, str]]:
    """Return the two CTEs that add the events, and their named parameters, for a statement of one's own.

    `sql, params = outbox_cte([("orders", event)])`, then
    `WITH {sql}, made AS (INSERT INTO … VALUES (%(client_id)s, …) RETURNING id) SELECT id FROM made`
    with `{**params, "client_id": …}`: row and message in one round trip. Afterwards `await outbox_wake(bus)`.
    """
    return CTE, _parameters(events)


def outbox_add(*events: Event) -> list[int]:
    """Add log messages to the running transaction of Django's connection; returns their numbers, as given.

    Must be the last thing in the transaction. Raises `CommonError` outside of one. The relay is woken on commit.
    """
    if not events:
        return []
    if not django_connection.in_atomic_block:
        raise CommonError("outbox_add needs a transaction: a message outside of one can be lost or untrue")
    with django_connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        cursor.execute(STATEMENT, _parameters(events))
        numbers = _numbers(events, cursor.fetchall())
    transaction.on_commit(SyncBus(settings.REDIS_URL).outbox_wake)
    return numbers


async def outbox_add_async(connection: Any, events: Sequence[Event]) -> list[int]:
    """Add log messages on a psycopg connection, inside its transaction or as one of their own.

    Call `await outbox_wake(bus)` after the commit.
    """
    if not events:
        return []
    cursor = await connection.execute(STATEMENT, _parameters(events))
    return _numbers(events, await cursor.fetchall())


async def outbox_wake(bus: Bus) -> None:
    """Tell the relay, after the commit, that there is something to hand on. Never raises: the relay also polls."""
    try:
        async with asyncio.timeout(WAKE_TIMEOUT_S):
            await bus.redis.publish(OUTBOX_CHANNEL, b"")
    except BUS_ERRORS as error:
        logger.debug("relay not woken, it will poll: %s", error)


def outbox_read(topic: str, after: int, limit: int = 1000) -> list[tuple[int, Message]]:
    """Return up to `limit` (number, message) of a log topic after a number, from the table (kept 90 days)."""
    with django_connection.cursor() as cursor:
        cursor.execute(
            "SELECT n, body FROM common_outbox WHERE topic = %s AND n > %s ORDER BY n LIMIT %s", [topic, after, limit]
        )
        return [(n, topic_decode(TopicKind.LOG, topic, bytes(body))) for n, body in cursor.fetchall()]


def outbox_last(topic: str) -> int:
    """Return the newest number of a log topic that this transaction sees: what a snapshot carries.

    Read it in the same REPEATABLE READ transaction as the rows, or before them: a delta that is shown twice
    is harmless, one that is missed is not.
    """
    with django_connection.cursor() as cursor:
        cursor.execute("SELECT n FROM common_topicsequence WHERE topic = %s", [topic])
        row = cursor.fetchone()
    return row[0] if row else 0


def _parameters(events: Sequence[Event]) -> dict[str, str]:
    left = Counter(topic for topic, _ in events)
    given = []
    for topic, message in events:
        left[topic] -= 1
        body = topic_encode(TopicKind.LOG, topic, message).hex()
        given.append({"topic": topic, "back": left[topic], "body": body})
    return {"outbox": msgspec.json.encode(given).decode()}


def _numbers(events: Sequence[Event], rows: Iterable[tuple[str, int]]) -> list[int]:
    by_topic: dict[str, list[int]] = {}
    for topic, number in rows:
        by_topic.setdefault(topic, []).append(number)
    taken = {topic: iter(numbers) for topic, numbers in by_topic.items()}
    return [next(taken[topic]) for topic, _ in events]
