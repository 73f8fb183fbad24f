"""A desk's session: its row, the private socket, upkeep and checkpoints."""

import asyncio
import time
from decimal import Decimal

import msgspec
import structlog

from apps.common.checkpoints import CheckpointToSave, checkpoint_load_async, checkpoints_save_async
from apps.common.leases import holder_name
from apps.execution.brokers.base import StreamState, VenueFill, VenueFunding, VenueOrder
from apps.execution.desk.core import DeskCore
from apps.execution.desk.figures import Day
from apps.execution.desk.parts import Parts
from apps.execution.desk.store import DATABASE_ERRORS, DatabaseGone
from apps.execution.origins import Blocker
from apps.market.selectors import bars_newest_open_async, bars_read_many_async
from trader.config import config

log = structlog.get_logger(__name__)
UPKEEP_S = 0.25
MARKS_S = 5.0
DAY_VERSION = "1"
PRIVATE = "private socket"
BEGIN = """
    INSERT INTO execution_session (account_id, fence, holder, started_at, end_reason)
    VALUES (%(account_id)s, %(fence)s, %(holder)s, clock_timestamp(), '') RETURNING id
"""
RECONCILED = "UPDATE execution_session SET reconciled_at = clock_timestamp() WHERE id = %(id)s"
END = "UPDATE execution_session SET ended_at = clock_timestamp(), end_reason = %(why)s WHERE id = %(id)s"


class _Day(msgspec.Struct, frozen=True):
    number: int
    equity: float
    earned: dict[str, float]
    peak: float
    realised: Decimal | None = None


async def begin(core: DeskCore) -> int:
    """Write the session's row and return its id, from which those of its rows are counted."""
    given = {"account_id": core.account.id, "fence": core.lease.fence, "holder": holder_name("desk")[:120]}
    rows = await core.store.query(BEGIN, given)
    session_id = int(rows[0][0])
    core.ids.begin(session_id, (order.id for order in core.books.orders.values()))
    return session_id


async def reconciled(core: DeskCore) -> None:
    """Note when the books were equal to the venue's."""
    await core.store.query(RECONCILED, {"id": core.session_id})


async def private_events(parts: Parts) -> None:
    """Book what the private socket tells, in its order; after a loss or an unread row, compare with the venue."""
    while True:
        event = await parts.core.broker.next_event()
        if isinstance(event, VenueFill):
            parts.fills.take(event)
        elif isinstance(event, VenueOrder):
            parts.fills.report(event)
        elif isinstance(event, VenueFunding):
            parts.fills.funding(event)
        elif event is StreamState.LOST:
            parts.core.block(Blocker.SOCKET_LOST, "the private socket is not connected")
        else:
            if event is StreamState.CONNECTED:
                parts.core.unblock(Blocker.SOCKET_LOST)
            parts.reconciler.soon()


async def upkeep(parts: Parts) -> None:
    """Keep the connection warm and the venue's clock known, both by one question; look for a lost database."""
    core = parts.core
    measured = time.monotonic()
    while True:
        await asyncio.sleep(UPKEEP_S)
        now = time.monotonic()
        try:
            if Blocker.DATABASE in core.blocks:
                await core.store.query("SELECT 1")
                core.unblock(Blocker.DATABASE)
            if now - measured >= config.execution.warm_s:
                measured = now
                await parts.clock.measure()
        except DatabaseGone as error:
            core.block(Blocker.DATABASE, str(error))
        core.wake.set()


async def marks_wait(parts: Parts) -> None:
    """Take the newest stored closes as marks, so that what is held has a value before the first quote."""
    core = parts.core
    instruments = list(core.books.markets)
    pool, epoch_id = core.context.pool, core.account.epoch_id
    newest = await bars_newest_open_async(pool, epoch_id, instruments, 60)
    if not newest:
        return
    last = max(newest.values())
    bars = await bars_read_many_async(pool, epoch_id, instruments, 60, min(newest.values()), last + 1)
    for bar in bars:
        core.books.mark_if_none(int(bar["instrument_id"]), float(bar["close"]))
    core.market_ns = max(core.market_ns, last + 60_000_000_000)


async def day_restore(parts: Parts) -> None:
    """Take up what the day's limits count from, if this market day had begun before."""
    core = parts.core
    found = await checkpoint_load_async(
        core.context.pool, "desk-day", str(core.account.id), core.account.epoch_id, DAY_VERSION
    )
    if found is not None:
        day = msgspec.msgpack.decode(found.body, type=_Day)
        parts.accounts.day = Day(day.number, day.equity, dict(day.earned), day.peak, day.realised)
    parts.accounts.mark_day(core.market_ns)
    await parts.accounts.orders_restore()


async def checkpoints(parts: Parts) -> None:
    """Save the steps' state from time to time, and at once what a new day's limits count from; for ever."""
    while True:
        try:
            async with asyncio.timeout(config.execution.checkpoint_s):
                await parts.accounts.day_began.wait()
        except TimeoutError:
            pass
        parts.accounts.day_began.clear()
        await checkpoint_now(parts)


async def checkpoint_now(parts: Parts) -> None:
    """Save the steps' state and the day's figures; without a database the last one stays."""
    core = parts.core
    day = parts.accounts.day
    body = msgspec.msgpack.encode(_Day(day.number, day.equity, day.earned, day.peak, day.realised))
    epoch = core.account.epoch_id
    saved = [CheckpointToSave("desk-day", str(core.account.id), epoch, body, DAY_VERSION)]
    for deployed in parts.decider.deployments.values():
        state = msgspec.msgpack.encode(deployed.snapshot())
        saved.append(CheckpointToSave("desk", deployed.key, epoch, state, deployed.pipeline.definition_hash))
    try:
        await checkpoints_save_async(core.context.pool, saved, core.lease.fence)
    except DATABASE_ERRORS as error:
        log.warning("checkpoint not saved", error=str(error)[:200])
