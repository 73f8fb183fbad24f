"""What a desk knows, in memory: its orders, the core's ledger, marks, what is foreign at the venue.

One writer (the desk's loop), so no locks. The database follows; after a crash it is read back and the venue asked.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from apps.execution.brokers.base import Market, VenueFill, VenueOrder, VenuePosition
from apps.execution.desk.model import DeskOrder
from apps.execution.origins import Origin
from apps.execution.states import OrderState, observe
from trader.core.portfolio import Contract, Fill, FillResult, Ledger
from trader.core.risk import OpenOrder, adds_risk, is_flat
from trader.core.types import Side

ZERO = Decimal(0)
FINAL_KEPT = 4096
MINUTE_NS = 60_000_000_000


@dataclass
class Books:
    """The account as the desk sees it now."""

    account_id: int
    currency: str
    markets: dict[int, Market]
    ledger: Ledger = field(init=False)
    orders: dict[str, DeskOrder] = field(default_factory=dict)
    open: dict[str, DeskOrder] = field(default_factory=dict)
    by_venue_id: dict[str, DeskOrder] = field(default_factory=dict)
    marks: dict[int, Decimal] = field(default_factory=dict)
    leverage: dict[int, Decimal] = field(default_factory=dict)  # of contracts, as the venue told it last
    opened_ns: dict[tuple[int, str], int] = field(default_factory=dict)
    seen_fills: set[str] = field(default_factory=set)
    cash_fees: dict[str, Decimal] = field(default_factory=dict)
    heirs: dict[str, str] = field(default_factory=dict)  # who holds the sub-ledger of a deployment that was replaced
    foreign: list[VenueOrder] = field(default_factory=list)
    executions_ns: int = 0  # market time up to which the venue's executions are read
    sends: deque[tuple[int, str]] = field(default_factory=deque)
    on_judged: Callable[[DeskOrder], None] = field(default=lambda order: None)  # told of a flag that has changed
    _final: deque[str] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.currency, {})
        for market in self.markets.values():
            self.market_add(market)

    def market_add(self, market: Market) -> None:
        """Make an instrument known, or renew its terms."""
        self.markets[market.instrument_id] = market
        kind = "spot" if market.kind == "spot" else "linear"
        self.ledger.contracts[market.instrument_id] = Contract(kind, market.base, market.quote, market.settle)

    # Orders

    def order_add(self, order: DeskOrder) -> None:
        """Take an order in; from now on every check counts it. One of a replaced deployment is its heir's."""
        order.owner = self.heirs.get(order.owner, order.owner)
        self.orders[order.client_id] = order
        if order.venue_order_id:
            self.by_venue_id[order.venue_order_id] = order
        if order.is_open:
            self.open[order.client_id] = order
            self.risk_judge(order.market.instrument_id)

    def order_drop(self, order: DeskOrder) -> None:
        """Forget an order that never got a row nor reached the wire."""
        self.orders.pop(order.client_id, None)
        self.open.pop(order.client_id, None)

    def order_settle(self, order: DeskOrder) -> None:
        """Keep the indexes right after a change of state; old final orders are forgotten."""
        if order.venue_order_id:
            self.by_venue_id[order.venue_order_id] = order
        if not order.is_open and self.open.pop(order.client_id, None) is not None:
            self._final.append(order.client_id)
            if len(self._final) > FINAL_KEPT:
                old = self.orders.pop(self._final.popleft(), None)
                if old is not None:
                    self.by_venue_id.pop(old.venue_order_id, None)

    def order_find(self, client_id: str, venue_order_id: str = "") -> DeskOrder | None:
        """Return an order of ours by either id."""
        return self.orders.get(client_id) or self.by_venue_id.get(venue_order_id)

    def order_observe(self, order: DeskOrder, report: VenueOrder) -> bool:
        """Fold in what the venue says of an order; returns whether anything changed. Fills are booked apart."""
        before = (order.state, order.venue_order_id, order.reported_filled)
        order.venue_order_id = report.venue_order_id or order.venue_order_id
        order.reported_filled = max(order.reported_filled, report.filled)
        order.state = observe(order.state, report.state)
        if order.state in (OrderState.REJECTED, OrderState.CANCELLED) and not order.origin:
            order.origin, order.detail = str(Origin.VENUE), report.reason or order.detail
        self.order_settle(order)
        return before != (order.state, order.venue_order_id, order.reported_filled)

    def orders_of(self, instrument_id: int | None = None, owner: str | None = None) -> list[DeskOrder]:
        """Return open orders, of an instrument and an owner where given."""
        return [
            order
            for order in self.open.values()
            if (instrument_id is None or order.market.instrument_id == instrument_id)
            and (owner is None or order.owner == owner)
        ]

    def adds_risk(self, market: Market, side: str, quantity: Decimal, reduce_only: bool) -> bool:
        """Whether an order that is not in the books yet may add risk, beside all open orders of its side (DESIGN 2)."""
        together = self._together(self.orders_of(market.instrument_id))
        return self._adds(market, OpenOrder(Side(side), quantity, reduce_only), together[side])

    def risk_judge(self, instrument_id: int | None = None) -> None:
        """Judge open orders again by what is held and what rests now; `on_judged` hears of each that has changed.

        Called after everything that moves a position or ends an order: what reduced when it was made may open a
        position once the one that it reduced is gone. A stop keeps its flag: it stays until its position is flat, and
        goes with it (`stops`).
        """
        groups: defaultdict[int, list[DeskOrder]] = defaultdict(list)
        for order in self.orders_of(instrument_id):
            groups[order.market.instrument_id].append(order)
        for orders in groups.values():
            together = self._together(orders)
            for order in orders:
                if not order.is_stop:
                    self._judge(order, together[order.side])

    def _judge(self, order: DeskOrder, together: Decimal) -> None:
        others = together - (ZERO if order.reduce_only else order.left)
        adds = self._adds(order.market, OpenOrder(Side(order.side), order.left, order.reduce_only), others)
        if adds is not order.adds_risk:
            order.adds_risk = adds
            self.on_judged(order)

    def _together(self, orders: Iterable[DeskOrder]) -> defaultdict[str, Decimal]:
        """What orders that nothing binds to reduce may fill together, by side."""
        found: defaultdict[str, Decimal] = defaultdict(Decimal)
        for order in orders:
            if not order.reduce_only:
                found[order.side] += order.left
        return found

    def _adds(self, market: Market, order: OpenOrder, others: Decimal) -> bool:
        kind = "spot" if market.kind == "spot" else "linear"
        net = self.ledger.net_quantity(market.instrument_id)
        return adds_risk(order, net, [OpenOrder(order.side, others)], kind)

    def resting_risk(self) -> list[DeskOrder]:
        """Return the open orders that could add risk, as things stand now."""
        self.risk_judge()
        return [order for order in self.open.values() if order.adds_risk]

    def resting_unbound(self) -> list[DeskOrder]:
        """Return those, and the contract orders that only the present position keeps from it: for a moment after
        which that position is gone, or nobody judges any more."""
        self.risk_judge()
        return [order for order in self.open.values() if order.could_add_risk]

    # Fills and positions

    def fill_apply(self, fill: VenueFill, instrument_id: int, owner: str) -> FillResult:
        """Book an execution in the core's ledger; the caller has seen to it that it comes once."""
        before = self.ledger.position(instrument_id, owner).quantity
        # dust is flat: what is left of the last position does not make the next one older
        was_flat = not before or self.is_flat(instrument_id, before)
        result = self.ledger.book_fill(
            instrument_id,
            owner,
            Fill(Side(fill.side), fill.quantity, fill.price, fill.fee, fill.fee_currency, self._fee_price(fill)),
        )
        if fill.fee:
            self.cash_fees[fill.fee_currency] = self.cash_fees.get(fill.fee_currency, ZERO) + fill.fee
        if was_flat or before * result.position.quantity < 0:
            self.opened_ns[(instrument_id, owner)] = fill.market_ns
        if not result.position.quantity:
            self.opened_ns.pop((instrument_id, owner), None)
        self.seen_fills.add(fill.fill_id)
        return result

    def held(self, instrument_id: int, owner: str) -> Decimal:
        """Signed quantity of one owner."""
        return self.ledger.position(instrument_id, owner).quantity

    def net(self, instrument_id: int) -> Decimal:
        """Signed quantity of all owners: what the venue must show."""
        return self.ledger.net_quantity(instrument_id)

    def is_flat(self, instrument_id: int, quantity: Decimal) -> bool:
        """Whether a quantity is flat or dust at the instrument's terms and mark."""
        market = self.markets[instrument_id]
        mark = self.marks.get(instrument_id)
        if mark is None:
            return not quantity
        return is_flat(
            quantity, mark, lot=market.lot, min_quantity=market.min_quantity, min_notional=market.min_notional
        )

    def open_positions(self) -> Iterable[tuple[int, str, Decimal]]:
        """Yield (instrument, owner, quantity) of what is held, dust included."""
        for (instrument_id, owner), position in self.ledger.positions.items():
            if position.quantity:
                yield instrument_id, owner, position.quantity

    def mark_if_none(self, instrument_id: int, price: float) -> None:
        """Take a price as mark where there is none yet."""
        if price > 0:
            self.marks.setdefault(instrument_id, Decimal(repr(price)))

    def leverage_take(self, positions: Iterable[VenuePosition]) -> None:
        """Take over the leverage that the venue sets for its positions; what it does not tell stays as it was."""
        told = {one.venue_symbol: one.leverage for one in positions}
        for instrument_id, market in self.markets.items():
            leverage = told.get(market.venue_symbol) if market.kind == "linear" else None
            if leverage is not None:
                self.leverage[instrument_id] = leverage

    # Figures

    def rates(self) -> dict[str, Decimal]:
        """Prices of currencies in the account's: its quote twins 1:1 are not assumed; spot marks give the rest."""
        found = {self.currency: Decimal(1)}
        for instrument_id, market in self.markets.items():
            if market.kind == "spot" and market.quote == self.currency and instrument_id in self.marks:
                found[market.base] = self.marks[instrument_id]
        return found

    def sent(self, market_ns: int, owner: str) -> None:
        """Count a send for the limit of orders a minute (market clock)."""
        self.sends.append((market_ns, owner))

    def sends_last_minute(self, market_ns: int, owner: str | None = None) -> int:
        """How many orders were sent in the market's last minute, by an owner or by all."""
        while self.sends and self.sends[0][0] <= market_ns - MINUTE_NS:
            self.sends.popleft()
        return sum(1 for _, by in self.sends if owner is None or by == owner)

    def _fee_price(self, fill: VenueFill) -> Decimal | None:
        return self.rates().get(fill.fee_currency) if fill.fee else None
