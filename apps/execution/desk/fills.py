"""Executions, funding and reports of the venue, whichever way they come: each booked exactly once, by its id."""

from collections.abc import Callable
from decimal import Decimal

import structlog

from apps.execution.brokers.base import Market, VenueFill, VenueFunding, VenueOrder
from apps.execution.desk.core import DeskCore
from apps.execution.desk.model import DeskOrder, plain
from apps.execution.desk.track import Tracker
from apps.execution.desk.writer import Writer
from apps.execution.events import FillBooked
from apps.execution.origins import Blocker
from apps.execution.states import OrderState, observe
from trader.core.portfolio import MONEY, UNATTRIBUTED

log = structlog.get_logger(__name__)
AVERAGE_STEP = Decimal("1e-18")


class Fills:
    """Books what the private socket and the venue's answers tell. Memory at once, the database right behind."""

    def __init__(self, core: DeskCore, writer: Writer, tracker: Tracker) -> None:
        self._core = core
        self._writer = writer
        self._tracker = tracker
        self._by_venue = {(m.kind, m.venue_symbol): m for m in core.books.markets.values()}
        self.on_position: list[Callable[[int, str, DeskOrder | None], None]] = []
        self.version = 0

    def market_add(self, market: Market) -> None:
        """Make a new instrument known."""
        self._by_venue[(market.kind, market.venue_symbol)] = market

    def report(self, report: VenueOrder) -> None:
        """Fold in what the venue says of an order; one that is not ours is left alone."""
        order = self._core.books.order_find(report.client_id, report.venue_order_id)
        if order is not None and self._core.books.order_observe(order, report):
            self._tracker.changed(order)

    def take(self, fill: VenueFill) -> bool:
        """Book an execution once; returns whether it was new."""
        if fill.fill_id in self._core.books.seen_fills:
            return False
        market = self._by_venue.get((fill.kind, fill.venue_symbol))
        if market is None:
            self._core.block(
                Blocker.BOOKS, f"execution {fill.fill_id} is of {fill.venue_symbol}, which is not an instrument"
            )
            return False
        fill_id = self._core.ids.take()
        order = self._core.books.order_find(fill.client_id, fill.venue_order_id)
        owner = order.owner if order is not None else UNATTRIBUTED
        result = self._core.books.fill_apply(fill, market.instrument_id, owner)
        self.version += 1
        if order is not None:
            self._order_filled(order, fill)
        self._row(fill_id, fill, market, owner, order, result.realised, set(result.cash) | {fill.fee_currency})
        if order is not None:
            self._tracker.changed(order)
        self._core.books.risk_judge(market.instrument_id)
        log.info(
            "fill",
            fill_id=fill.fill_id,
            client_id=fill.client_id,
            side=fill.side,
            quantity=str(fill.quantity),
            price=str(fill.price),
            owner=owner,
            decision_id=str(order.decision_id or "") if order else "",
        )
        for follow in self.on_position:
            follow(market.instrument_id, owner, order)
        return True

    def _order_filled(self, order: DeskOrder, fill: VenueFill) -> None:
        order.filled += fill.quantity
        order.cost += fill.quantity * fill.price
        order.average_price = (order.cost / order.filled).quantize(AVERAGE_STEP, context=MONEY)
        order.reported_filled = max(order.reported_filled, order.filled)
        done = order.filled >= order.quantity
        order.state = observe(order.state, OrderState.FILLED if done else OrderState.PARTLY_FILLED)

    def counted(self, order: DeskOrder, fills: list[VenueFill]) -> None:
        """Count for an order the executions that were booked before it was known here (an adopted one).

        Their position and cash are booked; without this the order would owe them, and nothing be compared, for ever.
        """
        booked = [fill for fill in fills if fill.fill_id in self._core.books.seen_fills]
        filled = sum((fill.quantity for fill in booked), Decimal(0))
        if filled > order.filled:
            order.filled, order.cost = filled, sum((fill.quantity * fill.price for fill in booked), Decimal(0))
            order.average_price = (order.cost / filled).quantize(AVERAGE_STEP, context=MONEY)
            self._tracker.changed(order)

    def _row(
        self,
        fill_id: int,
        fill: VenueFill,
        market: Market,
        owner: str,
        order: DeskOrder | None,
        realised: Decimal,
        moved: set[str],
    ) -> None:
        order_id = order.id if order is not None else None
        row = {
            "id": fill_id,
            "order_id": order_id,
            "instrument_id": market.instrument_id,
            "owner": owner,
            "venue_fill_id": fill.fill_id,
            "venue_order_id": fill.venue_order_id,
            "side": fill.side,
            "quantity": plain(fill.quantity),
            "price": plain(fill.price),
            "fee": plain(fill.fee),
            "fee_currency": fill.fee_currency,
            "is_maker": fill.is_maker,
            "realised": plain(realised),
            "market": fill.market_ns // 1000,
        }
        event = FillBooked(
            id=fill_id,
            order_id=order_id,
            client_id=fill.client_id,
            account_id=self._core.account.id,
            instrument_id=market.instrument_id,
            symbol=market.symbol,
            owner=owner,
            side=fill.side,
            quantity=plain(fill.quantity),
            price=plain(fill.price),
            fee=plain(fill.fee),
            fee_currency=fill.fee_currency,
            realised=plain(realised),
            is_maker=fill.is_maker,
            market_ns=fill.market_ns,
            wall_ns=self._core.now_ns(),
        )
        self._writer.fill(row, event, (market.instrument_id, owner), moved)

    def funding(self, payment: VenueFunding) -> bool:
        """Book a funding payment once, shared out by what each owner holds; returns whether it was new."""
        books = self._core.books
        if f"funding:{payment.venue_id}" in books.seen_fills:
            return False
        market = self._by_venue.get(("linear", payment.venue_symbol))
        if market is None:
            return False
        books.seen_fills.add(f"funding:{payment.venue_id}")
        self.version += 1
        shares = self._funding_shares(market.instrument_id, payment.amount)
        for owner, amount in shares.items():
            books.ledger.book_funding(market.instrument_id, owner, amount)
            row = (
                "funding",
                f"{payment.venue_id}:{owner}",
                market.instrument_id,
                owner,
                payment.currency,
                amount,
                Decimal(0),
                "funding",
                payment.market_ns,
            )
            self._writer.movement(row, (market.instrument_id, owner), {payment.currency})
        return True

    def _funding_shares(self, instrument_id: int, amount: Decimal) -> dict[str, Decimal]:
        """Split a payment by quantity; the last owner takes the rounding, so the sum is exact."""
        held = {owner: quantity for of, owner, quantity in self._core.books.open_positions() if of == instrument_id}
        net = sum(held.values(), Decimal(0))
        if not net:
            return {UNATTRIBUTED: amount}
        shares = {
            owner: (amount * quantity / net).quantize(AVERAGE_STEP, context=MONEY) for owner, quantity in held.items()
        }
        last = next(reversed(shares))
        shares[last] += amount - sum(shares.values(), Decimal(0))
        return shares
