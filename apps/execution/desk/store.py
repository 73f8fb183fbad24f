"""The desk's writes: one statement, one commit, on a connection of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg_pool import PoolTimeout

from apps.common.bus import Bus
from apps.common.database import connection_open
from apps.common.messages import Message
from apps.common.outbox import outbox_cte, outbox_wake
from apps.execution.desk import rows, statements
from apps.execution.desk.model import DeskDecision, DeskOrder, DeskSignal
from trader.core.types import TraderError

Event = tuple[str, Message]
T = TypeVar("T")
DATABASE_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    # a process that stood still inside a transaction finds its connection closed by the server
    psycopg.errors.IdleInTransactionSessionTimeout,
    PoolTimeout,
    TimeoutError,
    OSError,
)
WRITE_TIMEOUT_S = 1.5
QUERY_TIMEOUT_S = 3.0
# what the commit of an order holds (`send.py`), each with its log messages
PATH_SHAPES = (("decisions", "signals", "orders"), ("orders",))
PLANNED_AFTER = 6  # uses of a prepared statement until the server has settled on one plan for all of them


class FenceLost(TraderError):
    """Another desk has taken this account over: this one ends and touches nothing more."""


class BookedBefore(TraderError):
    """A fill was in the database already while memory did not know it: the desk starts again from the rows."""


class DatabaseGone(TraderError):
    """The database did not take the write in time; whether it did is unknown until it is read."""


@dataclass(slots=True)
class Unit:
    """What belongs into one commit."""

    decisions: list[DeskDecision] = field(default_factory=list)
    signals: list[DeskSignal] = field(default_factory=list)
    signals_changed: list[DeskSignal] = field(default_factory=list)
    orders: list[DeskOrder] = field(default_factory=list)
    orders_adopted: list[DeskOrder] = field(default_factory=list)
    orders_changed: list[DeskOrder] = field(default_factory=list)
    fills: list[rows.Row] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class Store:
    """Writes of one desk under one fence. A connection of its own: an order waits for nobody's query."""

    def __init__(self, account_id: int, fence: int, bus: Bus) -> None:
        self._account_id = account_id
        self._fence = fence
        self._bus = bus
        self._connections: dict[str, psycopg.AsyncConnection[Any]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._wakes: set[asyncio.Task[None]] = set()
        self._left: set[asyncio.Task[Any]] = set()
        self.on_gone: Callable[[str], None] | None = None

    async def close(self) -> None:
        """Let the connections go."""
        for connection in self._connections.values():
            await connection.close()
        self._connections.clear()

    async def write(self, unit: Unit, lane: str = "path", before: Sequence[Any] = ()) -> None:
        """Commit a unit. Raises `FenceLost`, `BookedBefore`, `DatabaseGone`; integrity errors pass through.

        `lane` names the connection: `path` is for orders alone. `before` are coroutine functions that take the
        connection and run first in the same transaction (positions and cash beside fills).
        """
        sql, parameters = self._statement(unit)
        try:
            await self._within(lane, WRITE_TIMEOUT_S, lambda connection: _written(connection, sql, parameters, before))
        except psycopg.errors.DivisionByZero:
            await self._why_refused(unit)
        if unit.events:
            wake = asyncio.create_task(outbox_wake(self._bus))
            self._wakes.add(wake)
            wake.add_done_callback(self._wakes.discard)

    async def warm(self) -> None:
        """Let the server plan what an order commits before the first order needs it. Leaves nothing behind.

        Costs some 30 ms, which the first orders of a desk would pay. Raises `FenceLost`, `DatabaseGone`.
        """
        for parts in PATH_SHAPES:
            parameters = {
                "lease_key": str(self._account_id), "fence": self._fence, "account_id": self._account_id,
                **dict.fromkeys(parts, "[]"), **outbox_cte([])[1],
            }  # fmt: skip
            sql = statements.statement(parts, True)
            try:
                await self._within("path", QUERY_TIMEOUT_S, partial(_tried, sql=sql, parameters=parameters))
            except psycopg.errors.DivisionByZero:
                await self._why_refused(Unit())

    async def query(self, sql: str, parameters: dict[str, Any] | None = None, lane: str = "side") -> list[Any]:
        """Run a query (or a write without a fence) and return its rows; raises `DatabaseGone`."""
        return await self._within(lane, QUERY_TIMEOUT_S, lambda connection: _asked(connection, sql, parameters))

    def _statement(self, unit: Unit) -> tuple[str, dict[str, Any]]:
        parameters: dict[str, Any] = {
            "lease_key": str(self._account_id),
            "fence": self._fence,
            "account_id": self._account_id,
        }
        parts = []
        for name, make in _MAKERS.items():
            found = getattr(unit, name)
            if found:
                parts.append(name)
                parameters["orders" if name == "orders_adopted" else name] = rows.document([make(one) for one in found])
        if unit.fills:
            parameters["fills_n"] = len(unit.fills)
        if unit.events:
            parameters |= outbox_cte(unit.events)[1]
        return statements.statement(tuple(parts), bool(unit.events)), parameters

    async def _why_refused(self, unit: Unit) -> None:
        held = await self.query(
            "SELECT fence FROM common_lease WHERE kind = 'desk' AND key = %(key)s", {"key": str(self._account_id)}
        )
        if not held or held[0][0] != self._fence:
            raise FenceLost(f"fence {self._fence} of account {self._account_id} is not the newest: {held}")
        raise BookedBefore(f"one of {[fill['venue_fill_id'] for fill in unit.fills]} is booked already")

    async def _within(self, lane: str, timeout_s: float, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do something on a lane's connection in time, or throw the connection away and raise `DatabaseGone`.

        The work runs apart: a driver that is cancelled asks the server to cancel, and waits for a server that stands
        still; nobody here waits for that.
        """
        task = asyncio.create_task(self._locked(lane, work))
        task.add_done_callback(_looked_at)  # who asked may have left: what it raised then is of no interest
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
        if not done:
            self._leave(task, self._connections.pop(lane, None))
            self._locks.pop(lane, None)
            raise self._gone(f"no answer within {timeout_s:.0f} s")
        try:
            return task.result()
        except DATABASE_ERRORS as error:
            self._discard(lane)
            raise self._gone(str(error)) from error

    async def _locked(self, lane: str, work: Callable[[Any], Awaitable[T]]) -> T:
        async with self._locks.setdefault(lane, asyncio.Lock()):
            return await work(await self._connection(lane))

    def _gone(self, why: str) -> DatabaseGone:
        if self.on_gone is not None:
            self.on_gone(why)
        return DatabaseGone(f"the database does not answer: {why}")

    def _leave(self, task: "asyncio.Task[Any]", connection: psycopg.AsyncConnection[Any] | None) -> None:
        """Let a task end by itself, and its connection with it; what it raises is of no interest any more."""

        def ended(_: object) -> None:
            self._left.discard(task)
            if connection is not None:
                connection.pgconn.finish()

        self._left.add(task)
        task.add_done_callback(ended)
        task.cancel()

    def _discard(self, lane: str) -> None:
        """Throw a lane's connection away without a farewell."""
        connection = self._connections.pop(lane, None)
        if connection is not None:
            connection.pgconn.finish()

    async def _connection(self, lane: str) -> psycopg.AsyncConnection[Any]:
        connection = self._connections.get(lane)
        if connection is None or connection.closed:
            connection = self._connections[lane] = await connection_open(f"desk-{self._account_id}-{lane}")
            connection.prepare_threshold = 1
        return connection


def _looked_at(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()


async def _written(connection: Any, sql: str, parameters: dict[str, Any], before: Sequence[Any]) -> None:
    if not before:
        await connection.execute(sql, parameters)
        return
    async with connection.transaction():
        for step in before:
            await step(connection)
        await connection.execute(sql, parameters)


async def _tried(connection: Any, sql: str, parameters: dict[str, Any]) -> None:
    for _ in range(PLANNED_AFTER):
        await connection.execute(sql, parameters)


async def _asked(connection: Any, sql: str, parameters: dict[str, Any] | None) -> list[Any]:
    cursor = await connection.execute(sql, parameters)
    return await cursor.fetchall() if cursor.description else []


_MAKERS = {
    "decisions": rows.decision_row,
    "signals": rows.signal_row,
    "signals_changed": rows.signal_change,
    "orders": rows.order_row,
    "orders_adopted": rows.order_row,
    "orders_changed": rows.order_change,
    "fills": lambda row: row,
}
