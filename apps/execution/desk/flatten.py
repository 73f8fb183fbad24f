"""Closing positions with orders that cannot add risk: for the kill switch, for a person, never past the venue's net."""

import structlog

from apps.execution.desk.cancel import Canceller
from apps.execution.desk.core import DeskCore
from apps.execution.desk.make import Wish, closing_quantity, is_closing, order_make
from apps.execution.desk.model import FLATTEN, DeskOrder
from apps.execution.desk.send import NO_TOKEN, Sender
from apps.execution.origins import Blocker
from apps.execution.states import OrderState

STARTING = Blocker.STARTING  # what blocks new risk until the books of a new session are those of the venue
Key = tuple[int, str]
log = structlog.get_logger(__name__)


class Flattener:
    """Closes what owners hold, each for itself; an order under way is waited for, not repeated."""

    def __init__(self, core: DeskCore, sender: Sender, canceller: Canceller) -> None:
        self._core = core
        self._sender = sender
        self._canceller = canceller
        self._revision = 0
        self._last: dict[Key, DeskOrder] = {}

    async def flatten(self, scope: str) -> int:
        """Close every position of a scope; returns how many are not flat yet.

        Before the books were compared with the venue it waits: on spot an order of an old size could sell too much.
        """
        if STARTING in self._core.blocks:
            return 1
        keys = self._held(scope)
        orders: list[DeskOrder] = []
        for key in keys:
            order = self._closing(key)
            if order is not None:
                self._core.books.order_add(order)
                orders.append(order)
        if orders:
            log.warning("flattening", positions=len(orders), scope=scope)
            await self._sender.send(orders)
        return len(keys)

    def is_held(self, scope: str) -> bool:
        """Whether something of a scope is not flat."""
        return bool(self._held(scope))

    def why_held(self, scope: str) -> str:
        """Return in words what keeps a scope from being flat; empty while nothing has spoken against it."""
        if STARTING in self._core.blocks:
            return self._core.blocks[STARTING]
        for key in self._held(scope):
            why = self._why(key)
            if why:
                return f"{self._core.books.markets[key[0]].symbol} ({key[1]}): {why}"
        return ""

    def _why(self, key: Key) -> str:
        """What the last attempt to close a position came to."""
        _, quantity = closing_quantity(self._core, *key)
        if quantity <= 0:
            return "closing it would add to the account's position, which is on the other side"
        order = self._last.get(key)
        if order is None or order.state is OrderState.FILLED or (order.is_open and order.origin != NO_TOKEN):
            return ""
        if order.state is OrderState.CANCELLED and not order.detail:
            return "nothing to trade against" if not order.filled else "only a part could be traded"
        return f"{order.state} by {order.origin}: {order.detail}" if order.origin != NO_TOKEN else order.detail

    def _held(self, scope: str) -> list[Key]:
        return [
            (instrument_id, owner)
            for instrument_id, owner, quantity in self._core.books.open_positions()
            if (not scope.startswith("deployment:") or scope in self._core.scopes(owner))
            and not self._core.books.is_flat(instrument_id, quantity)
            and not self._core.books.is_flat(instrument_id, self._core.books.net(instrument_id))
        ]

    async def close(self, instrument_id: int, owner: str) -> DeskOrder | None:
        """Close one position for a person; None when there is nothing to close or a close is under way."""
        order = self._closing((instrument_id, owner))
        if order is not None:
            self._core.books.order_add(order)
            await self._sender.send([order])
        return order

    def _closing(self, key: Key) -> DeskOrder | None:
        instrument_id, owner = key
        side, quantity = closing_quantity(self._core, instrument_id, owner)
        under_way = [one for one in self._core.books.orders_of(instrument_id, owner) if is_closing(one, side)]
        market = self._core.books.markets[instrument_id]
        if under_way or quantity <= 0 or quantity < market.min_quantity:
            return None
        self._revision += 1
        wish = Wish(
            market=market, owner=owner, leg=FLATTEN, side=side, quantity=quantity,
            decided_ns=self._core.now_ns(), reduce_only=True, revision=self._revision,
        )  # fmt: skip
        order = self._last[key] = order_make(self._core, wish)
        return order
