"""The host of residents: one asyncio loop in a thread of its own, inside a worker.

It competes for free leases, runs what it holds, restarts what crashed with back-off, and stops a resident when
asked, when its key is no longer wanted, or when its lease passed to another. A database that is gone stops nobody:
the resident sees through its lease that it may not add risk.
"""

import asyncio
import logging
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import uvloop
from django.conf import settings
from psycopg import Error as DatabaseError
from structlog.contextvars import bind_contextvars

from apps.common.bus import Bus
from apps.common.database import async_pool
from apps.common.leases import Lease, LeaseKeeper, holder_name
from apps.common.residents import ResidentContext, ResidentKind, in_thread, residents_registered
from trader.config import config

SWITCH_S = 0.0002  # Python would let a thread of tasks hold a desk up for 5 ms
STOP_S = 5.0  # what a resident is given to end by itself
CANCEL_S = 1.0
CLOSE_S = 2.0
KEYS_S = 2.0  # an answer that takes longer is waited for beside the rest
CRASH_FIRST_S = 1.0
CRASH_MAX_S = 30.0
MODESTY_S, MODESTY_MAX_S = 0.5, 3.0  # hosts that start together share what there is
CALM_S = 60.0  # a run this long forgets earlier crashes

logger = logging.getLogger(__name__)
Name = tuple[str, str]


@dataclass
class Running:
    """A resident at work here."""

    lease: Lease
    context: ResidentContext
    task: "asyncio.Task[None]"
    started: float


class ResidentHost:
    """Hosts the residents of some queues. `start()` and `stop()` are called from other threads."""

    def __init__(self, queues: set[str], worker: str = "") -> None:
        self.kinds = residents_registered(queues)
        self.holder = holder_name(worker)
        self._thread = threading.Thread(target=self._run, name="residents", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_to_stop = threading.Event()
        self._stopping: asyncio.Event | None = None

    def start(self) -> None:
        """Start the loop; nothing is awaited, neither database nor bus."""
        if self.kinds:
            self._thread.start()

    def request_stop(self) -> None:
        """Ask everything to stop, from any thread or a signal handler; returns at once."""
        self._asked_to_stop.set()
        if self._loop is not None and self._stopping is not None:
            try:
                self._loop.call_soon_threadsafe(self._stopping.set)
            except RuntimeError:  # the loop has ended already
                pass

    def stop(self) -> None:
        """Stop the residents and give their leases back; waits for them, about 8 s at most."""
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(STOP_S + CANCEL_S + CLOSE_S)

    def _run(self) -> None:
        # the loop gives the interpreter up at each wait; tasks in other threads give it back after this at the latest
        sys.setswitchinterval(SWITCH_S)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except Exception:
            logger.exception("the host of residents failed; its leases run out by themselves")

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        if self._asked_to_stop.is_set():
            return
        bind_contextvars(holder=self.holder)
        floor = _Floor(self.kinds, self.holder, self._loop)
        await floor.open()
        try:
            await floor.serve(self._stopping)
        finally:
            await floor.close()


class _Floor:
    """What lives on the host's loop: the keeper of leases, shared connections, the residents."""

    def __init__(self, kinds: list[ResidentKind], holder: str, loop: asyncio.AbstractEventLoop) -> None:
        self.kinds = kinds
        self.loop = loop
        self.keeper = LeaseKeeper(holder)
        self.bus = Bus(settings.REDIS_URL)
        self.pool = async_pool(min_size=1, max_size=config.leases.host_connections, application="quarterdeck residents")
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="residents-database")
        self.keys = ThreadPoolExecutor(1, thread_name_prefix="residents-keys")
        self.asking: dict[str, asyncio.Future[list[str]]] = {}
        self.prepare = ThreadPoolExecutor(1, thread_name_prefix="residents-prepare")
        self.running: dict[Name, Running] = {}
        self.preparing: dict[Name, asyncio.Future[Any]] = {}
        self.prepared: set[Name] = set()
        self.wanted: dict[Name, ResidentKind] = {}
        self.crashes: dict[Name, int] = {}
        self.not_before: dict[Name, float] = {}
        self.free_since: dict[Name, float] = {}
        self.look_at: dict[Name, float] = {}  # when another's lease could run out

    async def open(self) -> None:
        await self.pool.open()
        self.keeping = asyncio.create_task(self.keeper.keep(), name="leases")

    async def serve(self, stopping: asyncio.Event) -> None:
        """Look every `leases.poll_s` until asked to stop; a database that stands still delays neither."""
        stopped = asyncio.create_task(stopping.wait())
        while not stopping.is_set():
            look = asyncio.create_task(self._look())
            await asyncio.wait({look, stopped}, return_when=asyncio.FIRST_COMPLETED)
            look.cancel()
            await asyncio.wait({stopped}, timeout=self._pause_s())

    async def _look(self) -> None:
        """Find out what should run, take what is free, stop what should not run here."""
        try:
            await self._wanted_refresh()
            self._stop_unwanted()
            await self._take_free()
        except (DatabaseError, OSError, TimeoutError) as error:
            logger.warning("no lease can be taken, the database does not answer: %s", error)
        except Exception:
            logger.exception("looking for leases failed; trying again")

    async def close(self) -> None:
        for name in list(self.running):
            self._ask_to_stop(name, "the worker stops")
        tasks = [running.task for running in self.running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S + CANCEL_S + 0.5)
        self.keeping.cancel()
        async with asyncio.timeout(CLOSE_S):
            await asyncio.gather(self.keeping, self.keeper.close(), self.bus.close(), return_exceptions=True)
            await self.pool.close(timeout=0.5)
        for executor in (self.executor, self.keys, self.prepare):
            executor.shutdown(wait=False, cancel_futures=True)

    async def _wanted_refresh(self) -> None:
        """Ask each kind which keys should run; a kind that cannot say in time keeps those it had."""
        for kind in self.kinds:
            if kind.kind not in self.asking:
                self.asking[kind.kind] = self.loop.run_in_executor(self.keys, in_thread, kind.keys_now, ())
        await asyncio.wait(self.asking.values(), timeout=KEYS_S)
        for kind in self.kinds:
            if self.asking[kind.kind].done():
                self._wanted_take(kind, self.asking.pop(kind.kind))
            else:
                logger.warning("keys of %s: no answer yet, keeping what runs", kind.kind)

    def _wanted_take(self, kind: ResidentKind, answer: "asyncio.Future[list[str]]") -> None:
        if (error := answer.exception()) is not None:
            logger.warning("keys of %s unknown, keeping what runs: %s", kind.kind, error)
            return
        kept = {name: known for name, known in self.wanted.items() if name[0] != kind.kind}
        self.wanted = kept | {(kind.kind, key): kind for key in answer.result()}

    async def _take_free(self) -> None:
        now = time.monotonic()
        names = [
            name
            for name in self.wanted
            if name not in self.running and self.not_before.get(name, 0) <= now and self._is_prepared(name)
        ]
        if not names:
            return
        looks = await self.keeper.looks(names)
        self.look_at |= {name: now + looks[name].left_s for name in names}
        free = [name for name in names if looks[name].left_s == 0]
        self.free_since = {name: self.free_since.get(name, now) for name in free}
        for name in random.sample(free, len(free)):
            # what a dead holder has left is taken at once
            if looks[name].has_holder or now - self.free_since[name] >= self._modesty_s(name[0]):
                await self._take(name)

    def _modesty_s(self, kind: str) -> float:
        """Return how long to leave a lease that nobody held to others: who holds more of a kind waits longer."""
        return min(MODESTY_S * sum(name[0] == kind for name in self.running), MODESTY_MAX_S)

    def _is_prepared(self, name: Name) -> bool:
        """Start the class's `prepare(key)` once, before its lease is asked for: kernels compile there."""
        prepare = getattr(self.wanted[name].factory_class(), "prepare", None)
        if prepare is None or name in self.prepared:
            return True
        if name not in self.preparing:
            self.preparing[name] = self.loop.run_in_executor(self.prepare, prepare, name[1])
        future = self.preparing[name]
        if not future.done():
            return False
        del self.preparing[name]
        if (error := future.exception()) is not None:
            logger.error("%s %s cannot be prepared: %s", *name, error, exc_info=error)
            self._back_off(name)
            return False
        self.prepared.add(name)
        return True

    async def _take(self, name: Name) -> None:
        lease = await self.keeper.acquire(*name)
        if lease is None:
            return
        context = ResidentContext(lease, self.bus, self.pool, self.loop, executor=self.executor)
        task = asyncio.create_task(self._reside(name, context), name=f"{name[0]} {name[1]}")
        self.running[name] = Running(lease, context, task, time.monotonic())
        logger.info("%s %s runs here with fence %s", *name, lease.fence)

    async def _reside(self, name: Name, context: ResidentContext) -> None:
        """Run one resident to its end, then give its lease back."""
        bind_contextvars(resident=f"{name[0]} {name[1]}")
        try:
            resident = self.wanted[name].factory_class()(name[1], context)
            await resident.run()
            if not context.stop.is_set():
                logger.warning("%s %s ended by itself", *name)
                self._back_off(name)
        except asyncio.CancelledError:
            logger.error("%s %s did not stop in time and was cancelled", *name)
        except Exception:
            logger.exception("%s %s crashed", *name)
            self._back_off(name)
        finally:
            self.running.pop(name, None)
            self.look_at.pop(name, None)
            await self.keeper.release(context.lease)

    def _back_off(self, name: Name) -> None:
        started = self.running[name].started if name in self.running else time.monotonic()
        calm = time.monotonic() - started > CALM_S
        self.crashes[name] = 1 if calm else self.crashes.get(name, 0) + 1
        pause = min(CRASH_FIRST_S * 2 ** (self.crashes[name] - 1), CRASH_MAX_S)
        self.not_before[name] = time.monotonic() + pause

    def _stop_unwanted(self) -> None:
        for name, running in self.running.items():
            if running.lease.superseded:
                self._ask_to_stop(name, "its lease passed to another")
            elif name not in self.wanted:
                self._ask_to_stop(name, "it is no longer wanted")

    def _ask_to_stop(self, name: Name, why: str) -> None:
        running = self.running[name]
        if running.context.stop.is_set():
            return
        logger.info("%s %s is asked to stop: %s", *name, why)
        running.context.stop.set()
        self.loop.call_later(STOP_S, running.task.cancel)

    def _pause_s(self) -> float:
        """Return the time to the next look: sooner where another's lease is about to run out."""
        now = time.monotonic()
        waiting = [at for name, at in self.look_at.items() if name not in self.running and name in self.wanted]
        soonest = min(waiting, default=now + config.leases.poll_s) - now + 0.02
        return min(max(soonest, 0.05), config.leases.poll_s)
