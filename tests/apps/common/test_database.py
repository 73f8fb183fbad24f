"""Database connections of asyncio code: nothing waits for a server that stands still."""

import asyncio
import time

import psycopg
import pytest
import uvloop
from psycopg_pool import PoolTimeout

from apps.common.database import async_pool, connect_arguments, connection_open, deadline
from tests.reliability.processes import postgres_freeze, thaw

pytestmark = pytest.mark.django_db(transaction=True)


async def test_the_servers_own_timeouts_are_set():
    async with await connection_open("a test") as connection:
        cursor = await connection.execute(
            "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'), "
            "current_setting('idle_in_transaction_session_timeout'), current_setting('application_name')"
        )
        assert await cursor.fetchone() == ("5s", "1s", "5s", "a test")
    assert connect_arguments()["connect_timeout"] == 2


async def test_what_is_in_time_is_left_alone():
    async with await connection_open() as connection:
        async with deadline(connection, 5.0):
            cursor = await connection.execute("SELECT 1")
        assert await cursor.fetchone() == (1,)
        assert not connection.closed


@pytest.mark.stack
@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_frozen_server_is_given_up_in_time_and_the_pool_comes_back(loop_factory):
    async def scenario():
        pool = async_pool(1, 2)
        await pool.open()
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
        held = await connection_open()
        frozen, began = postgres_freeze(), time.monotonic()
        try:
            with pytest.raises(psycopg.OperationalError):
                async with deadline(held, 0.5):
                    await held.execute("SELECT 1")
            took_s = time.monotonic() - began
            began = time.monotonic()
            with pytest.raises((psycopg.OperationalError, PoolTimeout)):
                async with pool.connection() as connection:
                    await connection.execute("SELECT 1")
            pool_took_s = time.monotonic() - began
        finally:
            thaw(frozen)
        assert held.closed
        back = time.monotonic()
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
        await pool.close()
        return took_s, pool_took_s, time.monotonic() - back

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        took_s, pool_took_s, back_s = runner.run(scenario())
    assert took_s < 1.5
    assert pool_took_s < 4
    assert back_s < 4
