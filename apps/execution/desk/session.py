"""A desk's session: its row, the private socket, upkeep, checkpoints, and the end of it."""

import asyncio
import time
from decimal import Decimal

import msgspec
import structlog

from apps.common import ending
from apps.common.checkpoints import CheckpointToSave, checkpoint_load_async, checkpoints_save_async
from apps.common.leases import holder_name
from apps.common.redis_clients import BUS_ERRORS
from apps.execution.brokers.base import StreamState, VenueFill, VenueFunding, VenueOrder
from apps.execution.desk.core import DeskCore
from apps.execution.desk.figures import Day
from apps.execution.desk.model import plain
from apps.execution.desk.parts import Parts
from apps.execution.desk.store import DATABASE_ERRORS, DatabaseGone
from apps.execution.origins import Blocker
from apps.execution.states import OrderState
from apps.market.selectors import bars_newest_open_async, bars_read_many_async
from trader.config import config
from trader.core.types import VenueError

log = structlog.get_logger(__name__)
UPKEEP_S = 0.25
CANCEL_S = 3.0
MARKS_S = 5.0
DAY_VERSION = "1"
SETTLE_S = 1.0
SETTLE_POLL_S = 0.01
PRIVATE = "private socket"
NOTHING = ("nothing rests",)
STOPPING = Blocker.STOPPING
# what can make an order of its own will; the writer, the private socket, stops and the sweep stay to the end
WILFUL = ("start", "bars ", "commands", "deployments", "reversal", "reconcile", "checkpoints", "log ")
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
    """Book what the private socket tells, in its order; after a loss, compare with the venue."""
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


async def end_gracefully(parts: Parts) -> None:
    """Cancel what adds risk, keep the stops, say what rests; a desk whose lease has passed on does nothing."""
    core = parts.core
    if core.lease.superseded:
        log.warning("the account has another desk: this one leaves without touching anything")
        return
    parts.health.set("ended", "stopped")
    why = "failed" if core.failure is not None else "stopped"
    core.block(STOPPING, "the desk stops")
    await _wilful_end(core)
    # nobody judges them again while no desk is there, and the stops that stay may close what they would reduce
    adding = core.books.resting_unbound()
    try:
        async with asyncio.timeout(CANCEL_S):
            if adding and core.failure is None:
                await parts.canceller.cancel(adding, why="the desk stops")
                for order in adding:
                    await parts.tracker.wait(order, lambda one: not one.is_open, CANCEL_S)
            await parts.writer.flush(1.0)
            await checkpoint_now(parts)
            await core.store.query(END, {"why": why, "id": core.session_id})
    except (TimeoutError, DatabaseGone, VenueError, *BUS_ERRORS) as error:
        log.warning("the end was not all written", error=repr(error)[:200])
    resting = [
        f"{one.market.symbol} {one.side} {plain(one.left)} {one.kind}"
        + "".join(f" at {plain(price)}" for price in (one.trigger_price or one.price,) if price is not None)
        + f" ({one.leg} of {one.owner})"
        for one in core.books.open.values()
    ]
    log.info("desk stopped; resting at the venue", orders=resting)
    _resting_write(core, resting)


def _resting_write(core: DeskCore, resting: list[str]) -> None:
    """Leave what rests at the venue for the screen of `up`, which prints it when everything has stopped."""
    at = time.strftime("%H:%M:%S UTC", time.gmtime())
    lines = [f"resting at the venue, account {core.account.name}, {at}:", *(f"  {one}" for one in resting or NOTHING)]
    path = core.account.state_dir / "run" / f"resting-{core.account.id}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n")
        fresh.replace(path)
    except OSError as error:
        log.warning("what rests at the venue could not be written for the screen", error=str(error)[:200])


async def _wilful_end(core: DeskCore) -> None:
    """Let what is on its way to the venue get its answer, then end whatever could make another order."""
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until and any(one.state is OrderState.CREATED for one in core.books.open.values()):
        await asyncio.sleep(SETTLE_POLL_S)
    await tasks_end(core, WILFUL)


async def tasks_end(core: DeskCore, names: tuple[str, ...] = ("",)) -> None:
    """End the tasks whose names begin so."""
    left = await ending.tasks_end(task for task in core.tasks if task.get_name().startswith(names))
    if left:
        log.warning("parts of the desk do not end", parts=sorted(task.get_name() for task in left))
