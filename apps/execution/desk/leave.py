"""How a desk leaves: what adds risk is cancelled, stops stay, what rests is told to the screen."""

import asyncio
import time

import structlog

from apps.common import ending
from apps.common.errors import GovernorRefused
from apps.common.redis_clients import BUS_ERRORS
from apps.execution.desk.core import DeskCore
from apps.execution.desk.model import DeskOrder, plain
from apps.execution.desk.parts import Parts
from apps.execution.desk.session import END, checkpoint_now
from apps.execution.desk.store import DatabaseGone
from apps.execution.origins import Blocker
from apps.execution.states import OrderState
from trader.core.types import VenueError

log = structlog.get_logger(__name__)
CANCEL_S = 3.0
LOOK_S = 0.7
SETTLE_S = 1.0
SETTLE_POLL_S = 0.01
MANY = 20  # by id they take a second for every ten
WHY = "the desk stops"
NOTHING = ("nothing rests",)
STOPPING = Blocker.STOPPING
# what can make an order of its own will; the writer, the private socket, stops and the sweep stay to the end
WILFUL = ("start", "bars ", "commands", "deployments", "reversal", "reconcile", "checkpoints", "log ")


async def end_gracefully(parts: Parts) -> None:
    """Cancel what adds risk, keep the stops, say what rests; a desk whose lease has passed on does nothing."""
    core = parts.core
    if core.lease.superseded:
        log.warning("the account has another desk: this one leaves without touching anything")
        return
    parts.health.set("ended", "stopped")
    why = "failed" if core.failure is not None else "stopped"
    core.block(STOPPING, WHY)
    await _wilful_end(core)
    # nobody judges them again while no desk is there, and the stops that stay may close what they would reduce
    adding = core.books.resting_unbound()
    try:
        async with asyncio.timeout(CANCEL_S):
            if adding and core.failure is None:
                await _cancel(parts, adding)
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


async def _cancel(parts: Parts, adding: list[DeskOrder]) -> None:
    """Cancel by id, and many at once where nothing of a category rests that has to stay: by id takes a second for ten.

    What rests is asked for, not remembered: cancel-all would take a foreign order along.
    """
    for kind in sorted({order.market.kind for order in adding}):
        of_kind = [order for order in adding if order.market.kind == kind]
        plain = [order for order in of_kind if not order.is_stop]
        if len(plain) > MANY and await _is_all(parts, kind, plain):
            not_taken = await parts.canceller.cancel_all(kind, plain, WHY)
            of_kind = [order for order in of_kind if order.is_stop or not_taken]
        await parts.canceller.cancel(of_kind, why=WHY)


async def _is_all(parts: Parts, kind: str, orders: list[DeskOrder]) -> bool:
    """Whether these are all plain orders of a category that rest at the venue, under a lease that is sure.

    A venue that does not say so at once is not waited for: by id some can be cancelled in the time that is left.
    """
    core = parts.core
    if core.lease.expired():
        return False
    try:
        async with asyncio.timeout(LOOK_S):
            at_venue = await parts.clock.signed(lambda: core.broker.open_orders(kind))
    except (TimeoutError, GovernorRefused, VenueError) as error:
        log.warning("the venue does not list its orders at the end; cancelling by id", error=repr(error)[:200])
        return False
    plain = {core.broker.decode(report.client_id) for report in at_venue if not report.is_stop}
    return plain <= {order.client_id for order in orders}


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
