"""Residents: unbounded asyncio programs (a feed, a desk, the relay) that a worker hosts under a lease.

An app registers its kinds downward, by dotted path, in `AppConfig.ready()`.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import django.db
import psycopg
from django.db import close_old_connections

from apps.common.bus import Bus
from apps.common.dotted import imported
from apps.common.leases import Lease

T = TypeVar("T")


@dataclass(frozen=True)
class ResidentKind:
    """What the host needs to know of one kind of resident."""

    kind: str
    queues: tuple[str, ...]
    keys: str  # dotted path of a function without arguments: the keys that should run now
    factory: str  # dotted path of the class

    def keys_now(self) -> list[str]:
        """Return the keys that should run now, from the database (synchronous)."""
        return list(imported(self.keys)())

    def factory_class(self) -> type["Resident"]:
        """Return the class."""
        return imported(self.factory)


@dataclass
class ResidentContext:
    """What the host lends to a resident."""

    lease: Lease
    bus: Bus
    pool: Any  # psycopg_pool.AsyncConnectionPool
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    executor: Executor | None = None

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run synchronous Django code in the host's database thread and return what it returns.

        A database that is gone is told as everywhere else in a resident, by `psycopg.OperationalError` and never by
        Django's own class for it, so that one `except` is enough.
        """
        try:
            return await self.loop.run_in_executor(self.executor, in_thread, function, arguments)
        except (django.db.OperationalError, django.db.InterfaceError) as error:
            raise psycopg.OperationalError(f"the database does not answer: {error}") from error


class Resident(Protocol):
    """The shape of a resident class. `prepare(key)` is optional: it runs in a thread before the lease is asked for."""

    def __init__(self, key: str, context: ResidentContext) -> None: ...

    async def run(self) -> None:
        """Work until `context.stop` is set, then end within 5 s."""
        ...


_kinds: dict[str, ResidentKind] = {}


def register_resident(*, kind: str, queues: tuple[str, ...], keys: str, factory: str) -> None:
    """Register a kind of resident: the workers of these queues compete for the leases of its keys.

    `keys` and `factory` are dotted paths, `module:name` or `module.name`.
    """
    _kinds[kind] = ResidentKind(kind, tuple(queues), keys, factory)


def residents_registered(queues: set[str] | None = None) -> list[ResidentKind]:
    """Return all kinds, or those that workers of these queues host."""
    return [kind for kind in _kinds.values() if queues is None or queues & set(kind.queues)]


def in_thread(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    """Call Django code in a thread of its own, with connections that are alive."""
    close_old_connections()
    try:
        return function(*arguments)
    finally:
        close_old_connections()
