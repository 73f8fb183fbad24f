"""Cancels: marked, journalled while the database is gone, sent by id in the venue's batches at the venue's rate."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import structlog

from apps.common.errors import GovernorRefused
from apps.common.governor import Priority
from apps.execution.brokers.base import CancelResult, OrderRef
from apps.execution.desk.clock import VenueClock
from apps.execution.desk.core import DeskCore
from apps.execution.desk.model import DeskOrder
from apps.execution.desk.track import Tracker
from apps.execution.origins import Blocker, Origin
from apps.execution.states import LEGAL, OrderState
from trader.config import config
from trader.core.types import VenueBusy, VenueError

log = structlog.get_logger(__name__)


class Canceller:
    """Asks the venue to cancel. The venue's word that an order is gone comes by its socket, or when it is asked."""

    def __init__(self, core: DeskCore, tracker: Tracker, clock: VenueClock) -> None:
        self._core = core
        self._clock = clock
        self._tracker = tracker

    async def cancel(self, orders: Sequence[DeskOrder], why: str, origin: str = Origin.DESK) -> list[DeskOrder]:
        """Ask to cancel orders that are open; returns those whose cancel was not taken, with why as detail."""
        going = [order for order in orders if order.is_open and OrderState.CANCELLING in LEGAL[order.state]]
        going += [order for order in orders if order.state is OrderState.CANCELLING]
        for order in going:
            self._mark(order, why, origin)
        failed: list[DeskOrder] = []
        for batch in self._batches(going):
            failed.extend(await self._batch(batch))
        return failed

    async def cancel_refs(self, refs: Sequence[OrderRef]) -> str:
        """Ask to cancel what rests at the venue by the venue's own id, whatever the books say of it.

        Returns why one was not taken, empty where all were.
        """
        why = ""
        groups: dict[tuple[str, bool], list[OrderRef]] = defaultdict(list)
        for ref in refs:
            log.warning("cancelling an order by the venue's id", venue_order_id=ref.venue_order_id)
            groups[(ref.market.kind, ref.is_stop)].append(ref)
        for (kind, _), group in groups.items():
            size = self._core.broker.cancel_batch[kind]
            for start in range(0, len(group), size):
                why = await self._refs(kind, group[start : start + size]) or why
        return why

    async def _refs(self, kind: str, refs: list[OrderRef]) -> str:
        try:
            await self._token(kind, len(refs))
            results = await self._clock.signed(lambda: self._core.broker.cancel_many(refs))
        except (GovernorRefused, VenueError) as error:
            return await self._not_taken(error, len(refs))
        return next((f"cancel not taken: {one.detail}" for one in results if not (one.accepted or one.gone)), "")

    async def cancel_all(self, kind: str, orders: Sequence[DeskOrder], why: str, origin: str = Origin.DESK) -> str:
        """Cancel every plain order of a category in one request; the caller has seen that nothing foreign rests.

        Returns why it was not taken, empty where it was.
        """
        for order in orders:
            if order.is_open:
                self._mark(order, why, origin)
        try:
            await self._token(kind, 1)
            markets = [order.market for order in orders]
            await self._clock.signed(lambda: self._core.broker.cancel_all(kind, markets))
        except (GovernorRefused, VenueError) as error:
            return await self._not_taken(error, len(orders))
        return ""

    async def _not_taken(self, error: Exception, orders: int) -> str:
        """Say that a cancel was not taken, hold back where the venue was too busy for it; returns why."""
        if isinstance(error, VenueBusy):
            await self._core.penalise()
        log.warning("cancel not taken, asked again by the next pass", orders=orders, error=str(error)[:200])
        return f"cancel not taken: {error}"[:200]

    async def _token(self, kind: str, cost: int) -> None:
        await self._core.governor.take(
            self._core.broker.provider,
            self._core.account.address,
            str(self._core.account.id),
            f"cancel.{kind}",
            cost=cost,
            priority=Priority.CANCEL,
            timeout_s=config.execution.token_wait_s,
        )

    def _mark(self, order: DeskOrder, why: str, origin: str) -> None:
        """Note the intent: on disk locally while the database cannot take it.

        A disk that fails loses the reason, not the cancel: what could add risk must not rest because of it.
        """
        if Blocker.DATABASE in self._core.blocks:
            try:
                self._core.journal.add("cancel", order.client_id, why=why, origin=origin)
            except OSError as error:
                log.error("cancel not journalled", client_id=order.client_id, why=why, error=str(error)[:200])
        if order.state is not OrderState.CANCELLING:
            self._tracker.move(order, OrderState.CANCELLING, origin, why)

    def _batches(self, orders: Iterable[DeskOrder]) -> list[list[DeskOrder]]:
        """Split by category, stops of spot apart (they go singly), in the venue's sizes."""
        groups: dict[tuple[str, bool], list[DeskOrder]] = defaultdict(list)
        for order in orders:
            groups[(order.market.kind, order.is_stop)].append(order)
        batches = []
        for (kind, _), group in groups.items():
            size = self._core.broker.cancel_batch[kind]
            batches.extend(group[start : start + size] for start in range(0, len(group), size))
        return batches

    async def _batch(self, orders: list[DeskOrder]) -> list[DeskOrder]:
        try:
            await self._token(orders[0].market.kind, len(orders))
            refs = [order.ref() for order in orders]
            results = await self._clock.signed(lambda: self._core.broker.cancel_many(refs))
        except (GovernorRefused, VenueError) as error:
            why = await self._not_taken(error, len(orders))
            for order in orders:
                self._restore(order, why)
            return list(orders)
        by_id = {result.client_id: result for result in results}
        return [order for order in orders if self._judge(order, by_id.get(order.client_id))]

    def _judge(self, order: DeskOrder, result: CancelResult | None) -> bool:
        """Take in the venue's word on one cancel; returns whether it must be asked again."""
        if result is not None and result.accepted:
            return False
        if result is not None and result.gone:
            # filled or cancelled meanwhile: its end comes by the socket; make sure by asking
            self._core.ask_soon(order)
            return False
        why = result.detail if result else "no answer"
        log.warning("cancel refused", client_id=order.client_id, why=why)
        self._restore(order, f"cancel not taken: {why}")
        return True

    def _restore(self, order: DeskOrder, why: str) -> None:
        """A cancel that was not taken leaves the order where it was; nobody has ended it."""
        if order.state is OrderState.CANCELLING:
            order.origin, order.detail = "", why[:200]
            self._tracker.move(order, OrderState.PARTLY_FILLED if order.filled else OrderState.ACKNOWLEDGED)
