"""The kill switch's record in PostgreSQL: the table `risk_killrecord`, told by NOTIFY `qd_kill`.

It has connections of its own, beside Django's: a page, a command and the gate all use it while the rest is stuck.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.conf import settings
from psycopg.conninfo import make_conninfo

from apps.risk.killswitch.places import Engage, PlaceError, RecordBroken
from apps.risk.killswitch.records import Record

CHANNEL = "qd_kill"
READ = 'SELECT scope, state, generation, "by", reason, flatten, at FROM risk_killrecord'
_INSERT = """
WITH written AS (
  INSERT INTO risk_killrecord AS own (scope, state, generation, "by", reason, flatten, at)
  VALUES (%(scope)s, %(state)s, %(generation)s, %(by)s, %(reason)s, %(flatten)s, %(at)s)
  ON CONFLICT (scope) DO UPDATE SET state = excluded.state, "by" = excluded."by", reason = excluded.reason,
    flatten = {flatten}, at = excluded.at, generation = {generation} {condition}
  RETURNING generation, flatten
)
SELECT generation, flatten, pg_notify('qd_kill', %(scope)s) FROM written
"""
ENGAGE = _INSERT.format(
    flatten="excluded.flatten OR (own.state = 'engaged' AND own.flatten)",
    generation="greatest(own.generation + 1, excluded.generation)",
    condition="",
)
PUT = _INSERT.format(
    flatten="excluded.flatten",
    generation="excluded.generation",
    condition="WHERE excluded.generation > own.generation "
    "OR (excluded.generation = own.generation AND NOT (own.state = 'engaged' AND excluded.state = 'clear'))",
)


def database_conninfo(database: Mapping[str, Any] | None = None, *, application: str = "quarterdeck-kill") -> str:
    """Return libpq's address of Django's default database, with this module's own limits."""
    database = database or settings.DATABASES["default"]
    given = {
        "dbname": database["NAME"],
        "user": database.get("USER"),
        "password": database.get("PASSWORD"),
        "host": database.get("HOST"),
        "port": database.get("PORT"),
        **{key: value for key, value in database.get("OPTIONS", {}).items() if key.startswith("ssl")},
    }
    limits = "-c statement_timeout=1000 -c lock_timeout=500 -c synchronous_commit=on"
    return make_conninfo(
        "", **{key: value for key, value in given.items() if value}, connect_timeout=2, options=limits,
        application_name=application, tcp_user_timeout=2000, keepalives_idle=2, keepalives_interval=1,
    )  # fmt: skip


class DatabasePlace:
    """The table `risk_killrecord`, by one connection that both listens and is polled."""

    name = "database"

    def __init__(self, conninfo: str = "", timeout_s: float = 1.0) -> None:
        self._conninfo, self._timeout_s = conninfo or database_conninfo(), timeout_s
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._seen: tuple[list[Any], Mapping[str, Record]] | None = None
        self._listening = False

    async def read(self) -> Mapping[str, Record]:
        """Return all records by scope."""
        rows = await self._rows(READ)
        if self._seen is None or self._seen[0] != rows:
            self._seen = (rows, {row[0]: _record(row) for row in rows})
        return self._seen[1]

    async def engage(self, wish: Engage) -> Record:
        """Write an engaged record of the next generation and tell all readers."""
        rows = await self._rows(ENGAGE, _values(wish.record(wish.generation)))
        return wish.record(rows[0][0], flattens=rows[0][1])

    async def put(self, record: Record) -> bool:
        """Write `record` unless something of a higher rank is there."""
        return bool(await self._rows(PUT, _values(record)))

    async def wait(self, timeout_s: float) -> None:
        """Return when the database tells of a change, or after `timeout_s`."""
        started = asyncio.get_running_loop().time()
        connection = self._connection
        if connection is not None:
            try:
                await self._listen(connection)
                async for _ in connection.notifies(timeout=timeout_s, stop_after=1):
                    return
            except (psycopg.Error, OSError, PlaceError):
                await self._drop()
        await asyncio.sleep(max(0.0, timeout_s - (asyncio.get_running_loop().time() - started)))

    async def close(self) -> None:
        """Close the connection."""
        await self._drop()

    def twin(self) -> "DatabasePlace":
        """Return the same place with a connection of its own."""
        return DatabasePlace(self._conninfo, self._timeout_s)

    async def _listen(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if not self._listening:
            await self._within(connection, connection.execute(f"LISTEN {CHANNEL}"))
            self._listening = True

    async def _rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        try:
            connection = await self._connected()
            cursor = await self._within(connection, connection.execute(sql, values))
            return await cursor.fetchall()
        except (psycopg.Error, OSError) as error:
            await self._drop()
            raise PlaceError(str(error).strip() or type(error).__name__) from error
        except PlaceError:
            await self._drop()
            raise

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._listening = False
            try:
                async with asyncio.timeout(self._timeout_s):
                    self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
            except TimeoutError as error:
                raise PlaceError(f"no connection within {self._timeout_s} s") from error
        return self._connection

    async def _within(self, connection: psycopg.AsyncConnection[Any], query: Any) -> Any:
        """Await `query` for the place's timeout, then cut the line.

        A cancelled query makes psycopg ask the server to end it, which a paused server never does.
        """
        task = asyncio.ensure_future(query)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            _cut(connection)
            await asyncio.gather(task, return_exceptions=True)
            raise
        if not done:
            _cut(connection)
            await asyncio.gather(task, return_exceptions=True)
            raise PlaceError(f"no answer within {self._timeout_s} s")
        return task.result()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()


def _cut(connection: psycopg.AsyncConnection[Any]) -> None:
    with contextlib.suppress(OSError, psycopg.Error):
        line = socket.socket(fileno=os.dup(connection.pgconn.socket))
        line.shutdown(socket.SHUT_RDWR)
        line.close()


def _values(record: Record) -> dict[str, Any]:
    return {
        "scope": record.scope,
        "state": record.state,
        "generation": record.generation,
        "by": record.by,
        "reason": record.reason,
        "flatten": record.flatten,
        "at": datetime.fromtimestamp(record.at_ns / 1e9, UTC),
    }


def _record(row: Any) -> Record:
    scope, state, generation, by, reason, flatten, at = row
    if state not in ("clear", "engaged"):
        raise RecordBroken(f"the record of {scope} has the unknown state {state!r}")
    return Record(scope, state, generation, by, reason, flatten, int(at.timestamp() * 1_000_000) * 1000)
