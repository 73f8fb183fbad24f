"""The orders that are open, by account, and the newest that were."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from apps.simulator.exchange.records import OrderRecord

RECENT_CLOSED = 500


class ActiveOrders:
    """Open orders by number and by account; each account's newest 500 closed ones."""

    def __init__(self) -> None:
        self._open: dict[int, OrderRecord] = {}
        self._of: dict[int, dict[int, OrderRecord]] = {}
        self._recent: dict[int, deque[OrderRecord]] = {}

    def add(self, order: OrderRecord) -> None:
        """Take an open order."""
        self._open[order.number] = order
        self._of.setdefault(order.uid, {})[order.number] = order

    def get(self, number: int) -> OrderRecord | None:
        """Return an open order, None where it is not open."""
        return self._open.get(number)

    def of(self, uid: int) -> Iterable[OrderRecord]:
        """Return an account's open orders, older first."""
        return self._of.get(uid, {}).values()

    def recent(self, uid: int) -> Iterable[OrderRecord]:
        """Return an account's newest closed orders, newest first."""
        return self._recent.get(uid, ())

    def recent_load(self, uid: int, orders: Iterable[OrderRecord]) -> None:
        """Take an account's closed orders, newest first, from the store."""
        self._recent[uid] = deque(orders, RECENT_CLOSED)

    def find(self, uid: int, kind: str, order_id: str, link_id: str) -> OrderRecord | None:
        """Return an open order by its id or, without one, by its client id."""
        for order in self.of(uid):
            if order.kind == kind and (order.order_id == order_id if order_id else order.link_id == link_id):
                return order
        return None

    def forget_closed(self, orders: Iterable[OrderRecord]) -> list[int]:
        """Move those that are closed to the recent ones; return their numbers."""
        gone = [order for order in orders if not order.is_open and order.number in self._open]
        for order in gone:
            del self._open[order.number]
            del self._of[order.uid][order.number]
            self._recent.setdefault(order.uid, deque(maxlen=RECENT_CLOSED)).appendleft(order)
        return [order.number for order in gone]
