"""Protective stops: for every opening position an order that rests at the venue, grown with each fill.

The new stop is acknowledged before the old one is cancelled, so there is no window without protection. A stop is
never replaced by a wider one: that takes a person, who deploys a change. When the position is flat, its stops go. A
stop that the venue will not take means the position is closed at once.
"""

import asyncio
from dataclasses import replace
from decimal import Decimal

import structlog

from apps.execution.desk.cancel import Canceller
from apps.execution.desk.core import DeskCore
from apps.execution.desk.make import Wish, closing_quantity, is_closing, order_make
from apps.execution.desk.model import ENTRY, EXIT, MANUAL, STOP, DeskOrder
from apps.execution.desk.send import HAS_ROW, NO_TOKEN, Sender
from apps.execution.desk.track import Tracker
from apps.execution.origins import Blocker, Origin
from apps.execution.states import FINAL, OrderState
from trader.config import config
from trader.core.portfolio import UNATTRIBUTED
from trader.core.risk import StopPlan, stop_matches, stop_plan
from trader.core.types import Side

log = structlog.get_logger(__name__)
Key = tuple[int, str]
ACKNOWLEDGED_S = 5.0
REVISIONS_MAX = 30_000
REVISIONS_TRIED = 500
RETRY_S, RETRY_MAX_S = 0.25, 2.0
BARE_S = 0.5
HELD = frozenset({OrderState.ACKNOWLEDGED, OrderState.PARTLY_FILLED})
KNOWN = FINAL | {OrderState.ACKNOWLEDGED, OrderState.PARTLY_FILLED}


class Stops:
    """Keeps one resting stop beside every position that should have one."""

    def __init__(self, core: DeskCore, sender: Sender, tracker: Tracker, canceller: Canceller) -> None:
        self._core = core
        self._sender = sender
        self._tracker = tracker
        self._canceller = canceller
        self._dirty: set[Key] = set()
        self._working: set[Key] = set()
        self._opened_by: dict[Key, DeskOrder] = {}
        self._revision: dict[Key, int] = {}
        self.distances: dict[str, Decimal | None] = {}

    def is_busy(self) -> bool:
        """Whether a stop is being placed, replaced or taken away."""
        return bool(self._working or self._dirty)

    def position_moved(self, instrument_id: int, owner: str, order: DeskOrder | None) -> None:
        """A fill was booked: look at this position's stop again."""
        key = (instrument_id, owner)
        if order is not None and order.leg in (ENTRY, MANUAL) and self._opened_by.get(key) is not order:
            self._opened_by[key] = order
            self._revision[key] = 0
        self.touch(key)

    def touch(self, key: Key) -> None:
        """Look at a position's stop; at most one task works on a position."""
        if key[1] == UNATTRIBUTED:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._working.add(key)
            self._core.spawn(self._settle(key), f"stop {key}")

    def touch_all(self) -> None:
        """Look at every position and every resting stop (after a reconciliation)."""
        keys = {(instrument_id, owner) for instrument_id, owner, _ in self._core.books.open_positions()}
        keys |= {(o.market.instrument_id, o.owner) for o in self._core.books.open.values() if o.leg == STOP}
        for key in keys:
            self.touch(key)

    def order_ended(self, order: DeskOrder) -> None:
        """A stop that ended otherwise than by us or by its own fill leaves a position bare: look again."""
        if order.leg == STOP and order.state in (OrderState.CANCELLED, OrderState.EXPIRED):
            self.touch((order.market.instrument_id, order.owner))

    def distance(self, owner: str) -> Decimal | None:
        """Distance of an owner's stops as a share of the price; None where it does without, by its own word."""
        return self.distances.get(owner, Decimal(str(config.execution.manual_stop_share)))

    async def _settle(self, key: Key) -> None:
        """Work on a position until its stop is as it should be; new risk is blocked while it is bare."""
        name = _block_name(key)
        pause = RETRY_S
        try:
            while key in self._dirty:
                self._dirty.discard(key)
                # a token or an answer may be waited for: new risk does not wait for the outcome
                slow = asyncio.get_running_loop().call_later(BARE_S, self._bare, key)
                try:
                    is_protected = await self._once(key)
                finally:
                    slow.cancel()
                if is_protected:
                    self._core.unblock(name)
                    pause = RETRY_S
                    continue
                self._bare(key)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_MAX_S)
                self._dirty.add(key)
        finally:
            self._working.discard(key)
            self._core.wake.set()

    def _bare(self, key: Key) -> None:
        """Block new risk of the account while a position stands without the stop that it should have."""
        if self._plan(key) is None:
            return
        symbol = self._core.books.markets[key[0]].symbol
        self._core.block(_block_name(key), f"{symbol} ({key[1]}) has no stop at the venue yet; trying again")

    async def _once(self, key: Key) -> bool:
        """Bring one position's stop in line; False when it should have one that the venue does not hold yet."""
        resting = self._resting(key)
        plan = self._not_wider(key, self._plan(key), resting)
        kept = [one for one in resting if stop_matches(plan, Side(one.side), one.left, one.trigger_price or Decimal(0))]
        kept.sort(key=lambda one: one.state not in HELD)
        if plan is not None and not kept:
            made = await self._place(key, plan)
            if made is None:
                return self._plan(key) is None
            kept = [made]
        elif plan is not None and not await self._is_held(kept[0]):
            return False
        old = [order for order in resting if order not in kept[:1]]
        if old:
            await self._canceller.cancel(old, why="replaced" if plan else "flat")
        return True

    async def _is_held(self, stop: DeskOrder) -> bool:
        """Whether the venue has a stop, waited for a while: one of unknown fate protects nothing yet."""
        await self._tracker.wait(stop, lambda one: one.state in KNOWN, ACKNOWLEDGED_S)
        return stop.state in HELD or stop.state is OrderState.FILLED

    def _plan(self, key: Key) -> StopPlan | None:
        instrument_id, owner = key
        position = self._core.books.ledger.position(instrument_id, owner)
        distance = self.distance(owner)
        if distance is None or not position.quantity or self._core.books.is_flat(instrument_id, position.quantity):
            return None
        market = self._core.books.markets[instrument_id]
        return stop_plan(
            position.quantity, position.average_price, distance,
            tick=market.tick, lot=market.lot, min_quantity=market.min_quantity, min_notional=market.min_notional,
        )  # fmt: skip

    def _not_wider(self, key: Key, plan: StopPlan | None, resting: list[DeskOrder]) -> StopPlan | None:
        """Keep the tightest trigger that rests already, unless the position has grown: then its price has moved.

        What changes a distance otherwise is a file or a row that was not read, and neither may loosen a stop.
        """
        own = [one for one in resting if plan is not None and one.side == plan.side.value and one.trigger_price]
        if plan is None or not own:
            return plan
        has_grown = plan.quantity > max(one.left for one in own)
        if has_grown and self._is_known(key[1]):
            return plan
        triggers = [plan.trigger_price, *(one.trigger_price for one in own if one.trigger_price is not None)]
        return replace(plan, trigger_price=max(triggers) if plan.side is Side.SELL else min(triggers))

    def _is_known(self, owner: str) -> bool:
        return owner in self.distances or owner == MANUAL

    def _resting(self, key: Key) -> list[DeskOrder]:
        found = [order for order in self._core.books.orders_of(*key) if order.leg == STOP]
        return [order for order in found if order.state is not OrderState.CANCELLING]

    async def _place(self, key: Key, plan: StopPlan) -> DeskOrder | None:
        """Place a stop and wait for the venue's word; None when it does not rest there.

        Only a refusal of the stop itself closes the position. A venue that is busy, does not take the key or thinks
        the request too old has not judged the stop: it is tried again, and new risk is blocked meanwhile.
        """
        for _ in range(REVISIONS_TRIED):
            order = self._make(key, plan)
            self._core.books.order_add(order)
            await self._sender.send([order])
            if order.origin == NO_TOKEN:
                self._revision[key] -= 1  # nothing was made: the same revision is tried again
                return None
            if order.origin == HAS_ROW:
                continue  # this revision has a row already (of an earlier session): take the next
            known = await self._tracker.wait(order, lambda one: one.state in KNOWN, ACKNOWLEDGED_S)
            if order.is_open:
                if not known:
                    log.warning("stop not acknowledged in time; the old one stays beside it", client_id=order.client_id)
                    return None
                return order
            if order.state is OrderState.FILLED:
                return order
            if order.origin == Origin.VENUE:
                await self._refused(key, order)
            return None
        return None

    def _make(self, key: Key, plan: StopPlan) -> DeskOrder:
        instrument_id, owner = key
        opener = self._opened_by.get(key) or self._opener_known(key)
        known = [one.revision for one in self._core.books.orders.values() if self._is_stop_of(one, key, opener)]
        revision = self._revision[key] = min(max([self._revision.get(key, 0), *known]) + 1, REVISIONS_MAX)
        opened = opener.market_ns if opener else self._core.books.opened_ns.get(key, self._core.market_ns)
        return order_make(
            self._core,
            Wish(
                market=self._core.books.markets[instrument_id],
                owner=owner,
                leg=STOP,
                side=plan.side.value,
                quantity=plan.quantity,
                decided_ns=opened,
                kind="stop",
                trigger_price=plan.trigger_price,
                reduce_only=True,
                revision=revision,
                decision_id=opener.decision_id if opener else None,
                parent_id=opener.id if opener else None,
            ),
        )

    def _opener_known(self, key: Key) -> DeskOrder | None:
        """The order that opened a position in an earlier session, if its row was read."""
        found = [
            order
            for order in self._core.books.orders.values()
            if order.leg in (ENTRY, MANUAL) and order.filled and (order.market.instrument_id, order.owner) == key
        ]
        return max(found, key=lambda order: order.market_ns, default=None)

    def _is_stop_of(self, order: DeskOrder, key: Key, opener: DeskOrder | None) -> bool:
        is_of_key = order.leg == STOP and (order.market.instrument_id, order.owner) == key
        return is_of_key and (opener is None or order.parent_id == opener.id)

    async def _refused(self, key: Key, stop: DeskOrder) -> None:
        """The venue does not take the stop (the price is past it already): leave the position."""
        log.error("stop refused, closing the position", client_id=stop.client_id, why=stop.detail)
        side, quantity = closing_quantity(self._core, *key)
        if any(is_closing(one, side) for one in self._core.books.orders_of(*key)):
            return  # a close is under way already
        if quantity <= 0 or self._core.books.is_flat(key[0], quantity):
            return
        wish = Wish(
            market=stop.market, owner=key[1], leg=EXIT, side=side, quantity=quantity, decided_ns=stop.market_ns,
            reduce_only=True, revision=stop.revision, decision_id=stop.decision_id, parent_id=stop.id,
        )  # fmt: skip
        order = order_make(self._core, wish)
        self._core.books.order_add(order)
        await self._sender.send([order])


def _block_name(key: Key) -> str:
    return f"{Blocker.STOP} {key[0]} {key[1]}"
