"""The matching kernel: price-time priority over the public book and the orders that rest here.

One book per instrument, in whole ticks and lots. It knows no clock, no account and no money: a
*listener* says how much of an order may trade now (reduce-only, funds) and is told of every match
at once, before the next one is looked for. The simulated exchange and the backtest use this one.

Assumptions about fills, on the careful side:
a resting order stands behind what is displayed at its price when it arrives, and moves up only as
prints take that queue or the display shrinks below it; a print at a worse price than ours would have
met us first, so it fills us, up to its size, at our price; a public book that crosses our resting
price trades with us at our price, up to what it displays.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import Protocol

from trader.core.simulation.depth import Level, PublicSide
from trader.core.simulation.orders import BUY, SELL, MatchOrder, Outcome, TimeInForce, better, crosses

UNKNOWN_QUEUE = 1 << 62


class Listener(Protocol):
    """Who decides what an order may still trade, and books what it traded."""

    def room(self, order: MatchOrder) -> int:
        """Return how many lots of `order` may trade now; 0 passes it over."""
        ...

    def matched(self, order: MatchOrder, price: int, lots: int, is_maker: bool) -> None:
        """Book a match; `order.remaining` is already less by `lots`."""
        ...


def priority(order: MatchOrder) -> tuple[int, int]:
    """Return the sorting key of a resting order: better price first, then older first."""
    return (-order.price if order.side == BUY else order.price, order.number)


class MatchingBook:
    """The book of one instrument: public depth on both sides, and our resting orders between it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._public = {BUY: PublicSide(), SELL: PublicSide()}
        self._resting: dict[int, list[MatchOrder]] = {BUY: [], SELL: []}

    def resting(self, side: int) -> Sequence[MatchOrder]:
        """Return our resting orders of a side, in priority."""
        return self._resting[side]

    def best(self, side: int) -> int | None:
        """Return the best price of a side, ours included; None where it is empty."""
        level, orders = self._public[side].best(), self._resting[side]
        prices = ([level[0]] if level else []) + ([orders[0].price] if orders else [])
        return (max(prices) if side == BUY else min(prices)) if prices else None

    def fillable(self, side: int, price: int, lots: int) -> list[Level]:
        """Return the (ticks, lots) that an order would trade now, best first, at most `lots` in all."""
        offers = list(self._public[-side].crossing(side, price))
        offers += [(o.price, o.remaining) for o in self._resting[-side] if crosses(side, price, o.price)]
        offers.sort(key=lambda level: level[0] * side)
        taken: list[Level] = []
        for ticks, offered in offers:
            if lots <= 0:
                break
            taken.append((ticks, min(offered, lots)))
            lots -= offered
        return taken

    def submit(self, order: MatchOrder, at_once: int | None = None) -> Outcome:
        """Match a new order, and let it rest where its time in force says so; `at_once` caps what it takes now."""
        if order.time_in_force is TimeInForce.POST_ONLY and self.fillable(order.side, order.price, 1):
            return Outcome.REFUSED
        if order.time_in_force is TimeInForce.FOK:
            offered = sum(lots for _, lots in self.fillable(order.side, order.price, order.remaining))
            if offered < order.remaining:
                return Outcome.REFUSED
        self._take(order, order.remaining if at_once is None else at_once)
        if not order.remaining:
            return Outcome.FILLED
        if order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK) or not self._listener.room(order):
            return Outcome.CANCELLED
        self.rest(order)
        return Outcome.RESTING

    def rest(self, order: MatchOrder) -> None:
        """Let an order rest behind what is displayed at its price, without matching it first."""
        side = self._public[order.side]
        # before the first display (after a restart) the queue is unknown: behind all that will be shown
        order.queue_ahead = side.displayed(order.price) if side.levels else UNKNOWN_QUEUE
        insort(self._resting[order.side], order, key=priority)

    def cancel(self, order: MatchOrder) -> bool:
        """Take a resting order out; False where it does not rest here."""
        orders = self._resting[order.side]
        if order not in orders:
            return False
        orders.remove(order)
        return True

    def show(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take a new public book, and trade with what crosses our resting orders."""
        self._public[BUY].show(bids)
        self._public[SELL].show(asks)
        for side in (BUY, SELL):
            if self._resting[side]:
                self._shrink_queues(side)
                self._meet_crossing(side)

    def print_seen(self, price: int, lots: int, aggressor: int) -> None:
        """Take a public print: an aggressor who sells meets our resting buys, and the other way round."""
        orders = self._resting[-aggressor]
        if not orders or better(aggressor, orders[0].price, price):
            return
        for order in list(orders):
            if lots <= 0 or better(aggressor, order.price, price):
                break
            lots = self._print_meets(order, price, lots)
        self._sweep(-aggressor)

    def _print_meets(self, order: MatchOrder, price: int, lots: int) -> int:
        """Return the lots of the print that are left after this order's queue and the order itself."""
        if order.price == price:
            in_queue = min(order.queue_ahead, lots)
            self._queue_moved(order.side, order.price, in_queue)
            lots -= in_queue
        else:
            order.queue_ahead = 0
        traded = min(order.remaining, lots, self._listener.room(order))
        if traded > 0:
            self._match(order, order.price, traded, is_maker=True)
        return lots - max(traded, 0)

    def _queue_moved(self, side: int, price: int, lots: int) -> None:
        """The public queue at a price is `lots` shorter: everybody behind it moves up."""
        for order in self._resting[side]:
            if order.price == price:
                order.queue_ahead = max(0, order.queue_ahead - lots)

    def _take(self, order: MatchOrder, at_once: int) -> None:
        """Trade an incoming order with the other side until nothing crosses or nothing is left of it."""
        other, leave = -order.side, order.remaining - at_once
        while order.remaining > leave:
            room = min(order.remaining - leave, self._listener.room(order))
            if room <= 0:
                break
            level, maker = self._public[other].best(), self._first_willing(other)
            if level is not None and not crosses(order.side, order.price, level[0]):
                level = None
            if maker is not None and not crosses(order.side, order.price, maker.price):
                maker = None
            if level is None and maker is None:
                break
            self._take_best(order, room, level, maker)
        self._sweep(other)

    def _take_best(self, order: MatchOrder, room: int, level: Level | None, maker: MatchOrder | None) -> None:
        public_first = maker is None or (
            level is not None
            and (better(maker.side, level[0], maker.price) or (level[0] == maker.price and maker.queue_ahead > 0))
        )
        if public_first and level is not None:
            ahead = maker.queue_ahead if maker is not None and maker.price == level[0] else level[1]
            lots = min(room, level[1], ahead)
            self._public[-order.side].take(level[0], lots)
            self._queue_moved(-order.side, level[0], lots)
            self._match(order, level[0], lots, is_maker=False)
            return
        assert maker is not None
        lots = min(room, maker.remaining, self._listener.room(maker))
        price = maker.price
        self._match(maker, price, lots, is_maker=True)
        self._match(order, price, lots, is_maker=False)

    def _first_willing(self, side: int) -> MatchOrder | None:
        for order in self._resting[side]:
            if order.remaining > 0 and self._listener.room(order) > 0:
                return order
        return None

    def _meet_crossing(self, side: int) -> None:
        for order in list(self._resting[side]):
            crossing = list(self._public[-side].crossing(side, order.price))
            if not crossing:  # nor does anything cross those of lower priority
                break
            for ticks, lots in crossing:
                traded = min(order.remaining, lots, self._listener.room(order))
                if traded <= 0:
                    break
                self._public[-side].take(ticks, traded)
                self._match(order, order.price, traded, is_maker=True)
        self._sweep(side)

    def _shrink_queues(self, side: int) -> None:
        for order in self._resting[side]:
            if order.queue_ahead:
                order.queue_ahead = min(order.queue_ahead, self._public[side].displayed(order.price))

    def _match(self, order: MatchOrder, price: int, lots: int, *, is_maker: bool) -> None:
        order.remaining -= lots
        self._listener.matched(order, price, lots, is_maker)

    def _sweep(self, side: int) -> None:
        orders = self._resting[side]
        if any(not order.remaining for order in orders):
            self._resting[side] = [order for order in orders if order.remaining]
