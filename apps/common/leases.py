"""Leases with fencing: who may act for a feed, an account, a shard. Held in PostgreSQL, judged by two clocks.

The database's clock says when a lease is free for others. The holder's own BOOTTIME clock, read *before* each
renewal was sent, says when it must stop adding risk: a margin before the database could give it away.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg import Error as DatabaseError

from apps.common.clocks import boottime_ns
from apps.common.database import connection_open, deadline
from trader.config import config

QUERY_TIMEOUT_S = 2.0

# Free means expired by the database's clock. A taker of a row gets a higher fence than all before it.
ACQUIRE = """
INSERT INTO common_lease AS held (kind, key, holder, fence, expires_at, since, meta)
VALUES (%(kind)s, %(key)s, %(holder)s, 1, clock_timestamp() + %(ttl)s, clock_timestamp(), '{"state": "starting"}')
ON CONFLICT (kind, key) DO UPDATE SET
    holder = excluded.holder, fence = held.fence + 1, expires_at = clock_timestamp() + %(ttl)s,
    since = clock_timestamp(), meta = excluded.meta
WHERE held.expires_at <= clock_timestamp()
RETURNING fence
"""
# An expired lease that nobody took may be renewed: its fence is still the highest.
RENEW = """
UPDATE common_lease AS held SET expires_at = clock_timestamp() + %(ttl)s, meta = mine.meta::jsonb
FROM unnest(%(kinds)s::text[], %(keys)s::text[], %(fences)s::bigint[], %(metas)s::text[]) 
    AS mine (kind, key, fence, meta)
WHERE held.kind = mine.kind AND held.key = mine.key AND held.fence = mine.fence
RETURNING held.kind, held.key
"""
RELEASE = """
UPDATE common_lease SET expires_at = clock_timestamp(), holder = '', meta = meta || '{"state": "stopped"}'
WHERE kind = %s AND key = %s AND fence = %s
"""
SECONDS_LEFT = """
SELECT wanted.kind, wanted.key, extract(epoch FROM held.expires_at - clock_timestamp())::float8,
    coalesce(held.holder <> '', false)
FROM unnest(%s::text[], %s::text[]) AS wanted (kind, key)
LEFT JOIN common_lease held USING (kind, key)
"""

logger = logging.getLogger(__name__)
Name = tuple[str, str]  # kind, key


class Look(NamedTuple):
    """How a lease stands: free when nothing is left of it; with a holder then, that one has died."""

    left_s: float
    has_holder: bool


def holder_name(worker: str = "") -> str:
    """Return who holds: host, process and worker in one text."""
    return f"{socket.gethostname()}:{os.getpid()}:{worker}".rstrip(":")


class Lease:
    """A lease that this process holds, or held. Cheap to ask: no I/O."""

    def __init__(self, kind: str, key: str, fence: int, asked_at_ns: int, urgent: asyncio.Event | None = None) -> None:
        self.kind, self.key, self.fence = kind, key, fence
        self.meta: dict[str, Any] = {"state": "starting"}
        self.superseded = False  # a higher fence was read: do nothing any more, not even cancel
        self._margin_ns = int(config.leases.stop_margin_s * 1e9)
        self._expires_ns = asked_at_ns + int(config.leases.ttl_s * 1e9)
        self._urgent: asyncio.Event | None = urgent
        self._reports = 0  # counts reports; the newest one that is written
        self._written = 0
        self._confirmed = asyncio.Event()

    def adds_risk_allowed(self) -> bool:
        """Say whether new risk may still be sent: not superseded, and a margin is left before expiry."""
        return not self.superseded and boottime_ns() < self._expires_ns - self._margin_ns

    def expired(self) -> bool:
        """Say whether another may hold it by now. What needs no lease (cancel, reduce) may go on."""
        return self.superseded or boottime_ns() >= self._expires_ns

    def seconds_left(self) -> float:
        """Return seconds until expiry by this machine's clock; negative when past."""
        return (self._expires_ns - boottime_ns()) / 1e9

    def report(self, *, state: str | None = None, lag_s: float | None = None, **meta: Any) -> None:
        """Set what `status` shows of this resident; written with the next renewal."""
        given = {"state": state, "lag_s": lag_s}
        self.meta = {**self.meta, **{name: value for name, value in given.items() if value is not None}, **meta}
        self._reports += 1

    async def report_now(self, *, state: str | None = None, lag_s: float | None = None, **meta: Any) -> None:
        """Report and renew at once; returns when it is written, or after 2 s without a database."""
        self.report(state=state, lag_s=lag_s, **meta)
        if self._urgent is None:
            return
        mine = self._reports
        self._urgent.set()
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_S):
                while self._written < mine:
                    self._confirmed.clear()
                    await self._confirmed.wait()
        except TimeoutError:
            logger.warning("lease %s %s: report not written, the database does not answer", self.kind, self.key)

    def renewed(self, asked_at_ns: int, reports: int = 0) -> None:
        """Note a confirmed renewal: when it was sent (BOOTTIME), and up to which report it carried."""
        self._expires_ns = max(self._expires_ns, asked_at_ns + int(config.leases.ttl_s * 1e9))
        self._written = max(self._written, reports)
        self._confirmed.set()

    @property
    def reports(self) -> int:
        """Return the number of the newest report."""
        return self._reports


class LeaseKeeper:
    """Takes, renews and gives back the leases of one process, over one connection of its own.

    With the database gone it keeps trying; leases then run out by the clock and nobody is told to stop.
    """

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.leases: dict[Name, Lease] = {}
        self._connection: AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()
        self._urgent = asyncio.Event()

    async def acquire(self, kind: str, key: str) -> Lease | None:
        """Take the lease if it is free; None when another holds it. Raises a database error when it cannot ask."""
        asked_at = boottime_ns()
        row = await self._ask(ACQUIRE, {"kind": kind, "key": key, "holder": self.holder, "ttl": self._ttl()})
        if not row:
            return None
        lease = Lease(kind, key, row[0][0], asked_at, self._urgent)
        self.leases[(kind, key)] = lease
        return lease

    async def looks(self, names: Iterable[Name]) -> dict[Name, Look]:
        """Return how each lease stands, by the database's clock."""
        wanted = list(names)
        rows = await self._ask(SECONDS_LEFT, [[kind for kind, _ in wanted], [key for _, key in wanted]])
        return {(kind, key): Look(max(left or 0.0, 0.0), has_holder) for kind, key, left, has_holder in rows}

    async def release(self, lease: Lease) -> None:
        """Give a lease back, so that another can take it at once. Without a database it runs out by itself."""
        self.leases.pop((lease.kind, lease.key), None)
        if lease.superseded:
            return
        try:
            await self._ask(RELEASE, [lease.kind, lease.key, lease.fence])
        except (DatabaseError, OSError, TimeoutError) as error:
            logger.warning("lease %s %s runs out by itself: %s", lease.kind, lease.key, error)

    async def keep(self) -> None:
        """Renew all leases for ever, every `leases.renew_s` and whenever one reports urgently."""
        while True:
            try:
                async with asyncio.timeout(config.leases.renew_s):
                    await self._urgent.wait()
            except TimeoutError:
                pass
            self._urgent.clear()
            try:
                await self.renew()
            except (DatabaseError, OSError, TimeoutError) as error:
                logger.warning("leases not renewed, the database does not answer: %s", error)
                await asyncio.sleep(0.2)

    async def renew(self) -> None:
        """Renew all leases in one statement; mark those that another holder has taken."""
        held = [lease for lease in self.leases.values() if not lease.superseded]
        if not held:
            return
        reports = [lease.reports for lease in held]
        asked_at = boottime_ns()
        rows = await self._ask(
            RENEW,
            {
                "ttl": self._ttl(),
                "kinds": [lease.kind for lease in held],
                "keys": [lease.key for lease in held],
                "fences": [lease.fence for lease in held],
                "metas": [json.dumps(lease.meta, default=str) for lease in held],
            },
        )
        confirmed = {(kind, key) for kind, key in rows}
        for lease, carried in zip(held, reports, strict=True):
            if (lease.kind, lease.key) in confirmed:
                lease.renewed(asked_at, carried)
            else:
                lease.superseded = True
                logger.error("lease %s %s (fence %s) passed to another", lease.kind, lease.key, lease.fence)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    @staticmethod
    def _ttl() -> timedelta:
        return timedelta(seconds=config.leases.ttl_s)

    async def _ask(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement within 2 s; a connection that failed or hung is thrown away."""
        async with self._lock:
            try:
                if self._connection is None or self._connection.closed:
                    async with asyncio.timeout(QUERY_TIMEOUT_S):
                        self._connection = await connection_open("quarterdeck leases")
                async with deadline(self._connection, QUERY_TIMEOUT_S):
                    cursor = await self._connection.execute(statement, parameters)
                    return await cursor.fetchall() if cursor.description else []
            except BaseException:
                await self._discard()
                raise

    async def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()  # no farewell: the server may be standing still
