"""PostgreSQL for asyncio code: connections and pools with timeouts of their own, on Django's address."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django.conf import settings
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

CONNECT_TIMEOUT_S = 2
CHECK_S = 1.0
STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 1_000
IDLE_IN_TRANSACTION_MS = 5_000
# The pool doubles its pause after each failed attempt; giving up early lets the next request try at once.
RECONNECT_S = 1.0
logger = logging.getLogger(__name__)
PIECES = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}


def connect_arguments(
    application: str = "quarterdeck", statement_timeout_ms: int = STATEMENT_TIMEOUT_MS
) -> dict[str, Any]:
    """Return what psycopg needs to connect to Django's default database, with timeouts.

    The server's timeouts do not help when the server itself stands still: use `deadline` around what matters.
    """
    database = settings.DATABASES["default"]
    found = {name: str(database[piece]) for piece, name in PIECES.items() if database.get(piece)}
    extra = {key: value for key, value in database.get("OPTIONS", {}).items() if isinstance(value, str)}
    options = (
        f"-c statement_timeout={statement_timeout_ms} -c lock_timeout={LOCK_TIMEOUT_MS} "
        f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
    )
    return {
        **extra,
        **found,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "options": f"{extra.get('options', '')} {options}".strip(),
        "application_name": application,
        "tcp_user_timeout": STATEMENT_TIMEOUT_MS,
    }


@asynccontextmanager
async def deadline(connection: AsyncConnection[Any], timeout_s: float) -> AsyncIterator[None]:
    """Cut the connection if what is done inside takes longer: it then raises `psycopg.OperationalError` at once.

    `asyncio.timeout` is no help on a server that stands still: psycopg answers a cancellation by asking that very
    server to cancel, and waits for it up to 10 s. A connection that was cut is closed; a pool replaces it.
    """
    timer = asyncio.get_running_loop().call_later(timeout_s, _cut, connection)
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: AsyncConnection[Any]) -> None:
    """Shut the socket down under libpq, which then sees its end. Closing it would leave a number to be reused."""
    if connection.closed:
        return
    logger.warning("a database connection is cut: the server does not answer")
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as mine:
        mine.shutdown(socket.SHUT_RDWR)


async def connection_open(application: str = "quarterdeck", *, autocommit: bool = True) -> AsyncConnection[TupleRow]:
    """Open one connection outside any pool."""
    return await AsyncConnection.connect(**connect_arguments(application), autocommit=autocommit)


async def _check(connection: AsyncConnection[Any]) -> None:
    """Refuse a pooled connection that is dead, or whose server does not answer within a second."""
    async with deadline(connection, CHECK_S):
        await connection.execute("")


def async_pool(
    min_size: int = 1, max_size: int = 4, application: str = "quarterdeck"
) -> "AsyncConnectionPool[AsyncConnection[TupleRow]]":
    """Return a pool, not yet open: `await pool.open()` (it does not wait for the database).

    Connections commit each statement by itself; `async with connection.transaction():` makes one of several.
    A request waits 2 s for a connection, then raises `psycopg_pool.PoolTimeout`.
    """
    return AsyncConnectionPool(
        kwargs={**connect_arguments(application), "autocommit": True},
        min_size=min_size,
        max_size=max_size,
        open=False,
        timeout=2.0,
        reconnect_timeout=RECONNECT_S,
        max_idle=120.0,
        max_lifetime=3600.0,
        check=_check,
        name=application,
    )
