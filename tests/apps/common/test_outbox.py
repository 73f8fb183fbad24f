"""The outbox numbers log messages in commit order, without gaps, together with what they tell."""

import asyncio
import threading

import pytest
from django.db import connection, transaction

from apps.common.bus import OUTBOX_CHANNEL, Bus
from apps.common.database import async_pool, connection_open
from apps.common.errors import CommonError
from apps.common.models import Outbox, TopicSequence
from apps.common.outbox import (
    outbox_add,
    outbox_add_async,
    outbox_cte,
    outbox_last,
    outbox_read,
    outbox_wake,
)
from tests.apps.common.samples import Note

pytestmark = pytest.mark.django_db(transaction=True)


def add(topic="test.notes", *numbers):
    with transaction.atomic():
        return outbox_add(*[(topic, Note(text="x", number=number)) for number in numbers])


def test_messages_are_numbered_from_one_without_gaps():
    assert add("test.notes", 1, 2, 3) == [1, 2, 3]
    assert add("test.notes", 4) == [4]
    assert [(n, note.number) for n, note in outbox_read("test.notes", after=1)] == [(2, 2), (3, 3), (4, 4)]
    assert outbox_last("test.notes") == 4
    assert outbox_last("test.others") == 0


def test_numbers_come_back_in_the_order_given_across_topics():
    with transaction.atomic():
        numbers = outbox_add(
            ("test.others", Note(text="a")), ("test.notes", Note(text="b")), ("test.others", Note(text="c"))
        )
    assert numbers == [1, 1, 2]
    assert [note.text for _, note in outbox_read("test.others", after=0)] == ["a", "c"]


def test_what_is_rolled_back_was_never_said_and_leaves_no_gap():
    add("test.notes", 1)
    with transaction.atomic():
        outbox_add(("test.notes", Note(text="never")))
        transaction.set_rollback(True)
    assert add("test.notes", 2) == [2]
    assert Outbox.objects.count() == 2


def test_a_message_outside_of_a_transaction_is_refused():
    with pytest.raises(CommonError, match="needs a transaction"):
        outbox_add(("test.notes", Note(text="x")))


def test_no_messages_cost_nothing():
    assert outbox_add() == []
    assert not TopicSequence.objects.exists()


def test_transactions_that_write_at_once_leave_no_gap_and_no_deadlock():
    errors = []

    def write(topics):
        try:
            for number in range(40):
                with transaction.atomic():
                    outbox_add(
                        *[(topic, Note(text=threading.current_thread().name, number=number)) for topic in topics]
                    )
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    orders = [("test.notes", "test.others"), ("test.others", "test.notes"), ("test.notes",)]
    threads = [threading.Thread(target=write, args=(topics,)) for topics in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [n for n, _ in outbox_read("test.notes", after=0)] == list(range(1, 121))
    assert [n for n, _ in outbox_read("test.others", after=0)] == list(range(1, 81))


async def test_a_row_and_its_message_go_in_one_statement():
    cte, parameters = outbox_cte([("test.notes", Note(text="job made"))])
    async with await connection_open() as opened:
        cursor = await opened.execute(
            f"""WITH {cte}, made AS (
                INSERT INTO common_job (kind, title, parameters, state, total, done, cancel_asked, by, error,
                    created_at)
                VALUES ('x', %(title)s, '{{}}', 'waiting', 0, 0, false, '', '', now()) RETURNING title
            ) SELECT made.title, outbox_added.n FROM made, outbox_added""",
            {**parameters, "title": "one"},
        )
        assert await cursor.fetchone() == ("one", 1)


async def test_the_asynchronous_twin_numbers_in_the_same_row():
    pool = async_pool(1, 2)
    await pool.open()
    async with pool.connection() as opened, opened.transaction():
        assert await outbox_add_async(opened, [("test.notes", Note(text="a")), ("test.notes", Note(text="b"))]) == [
            1,
            2,
        ]
    async with pool.connection() as opened:
        assert await outbox_add_async(opened, [("test.notes", Note(text="c"))]) == [3]
        assert await outbox_add_async(opened, []) == []
    await pool.close()


async def test_the_relay_is_woken_after_the_commit_only(bus):
    pubsub = bus.redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(OUTBOX_CHANNEL)
    await asyncio.to_thread(add, "test.notes", 1)
    async with asyncio.timeout(3):
        while (message := await pubsub.get_message(timeout=1)) is None:
            pass
    assert message["channel"].decode() == OUTBOX_CHANNEL
    await outbox_wake(bus)
    async with asyncio.timeout(3):
        while await pubsub.get_message(timeout=1) is None:
            pass
    await pubsub.aclose()


async def test_waking_with_the_bus_gone_raises_nothing():
    async with Bus("redis://127.0.0.1:1/0") as gone:
        await outbox_wake(gone)
