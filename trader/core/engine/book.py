"""What a session keeps beside its ledger: marks, the market day, sends, and what is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from trader.core.engine.ports import OrderRequest, Terms
from trader.core.portfolio import Ledger
from trader.core.risk import Book, RiskState, is_flat
from trader.core.strategy.protocol import PositionView
from trader.core.types.sides import Side
from trader.core.types.timeframes import MINUTE_NS, SECOND_NS, market_day

ZERO = Decimal(0)


@dataclass
class SessionBook:
    """The account of one owner, as the checks and the strategy see it."""

    owner: str
    terms: Sequence[Terms]
    ledger: Ledger
    marks: dict[int, Decimal] = field(default_factory=dict)
    opened_ns: dict[int, int] = field(default_factory=dict)
    orders: dict[str, OrderRequest] = field(default_factory=dict)
    sends: deque[int] = field(default_factory=deque)
    day: int = -1
    day_start_equity: Decimal = ZERO

    def held(self, instrument: int) -> Decimal:
        return self.ledger.position(instrument, self.owner).quantity

    def is_flat(self, instrument: int) -> bool:
        """Flat or dust, at the mark."""
        terms, held = self.terms[instrument], self.held(instrument)
        return not held or is_flat(
            held,
            self.marks[instrument],
            lot=terms.lot,
            min_quantity=terms.min_quantity,
            min_notional=terms.min_notional,
            multiplier=terms.contract.multiplier,
        )

    def view(self, instrument: int, now_ns: int) -> PositionView:
        """The position as a decision sees it."""
        if self.is_flat(instrument):
            return PositionView()
        position = self.ledger.position(instrument, self.owner)
        age_s = (now_ns - self.opened_ns.get(instrument, now_ns)) / SECOND_NS
        return PositionView(float(position.quantity), float(position.average_price), age_s)

    def equity(self) -> Decimal:
        return self.ledger.equity(self.marks)

    def day_marked(self, now_ns: int) -> None:
        """Remember the equity with which a market day began."""
        if market_day(now_ns) != self.day:
            self.day, self.day_start_equity = market_day(now_ns), self.equity()

    def risk_state(self, instrument: int, side: Side, now_ns: int) -> RiskState:
        """What the checks see. One owner has the whole account, so both books are the same."""
        terms, figures, held = self.terms[instrument], self.ledger.figures(self.marks), self.held(instrument)
        resting = [o for o in self.orders.values() if not o.reduce_only and o.leg != "stop"]
        contracts = sum((self._notional(at) for at in self.marks if self.terms[at].contract.kind == "linear"), ZERO)
        while self.sends and self.sends[0] <= now_ns - MINUTE_NS:
            self.sends.popleft()
        book = Book(
            position=float(held),
            resting=float(sum((o.quantity for o in resting if o.instrument == instrument and o.side is side), ZERO)),
            gross=float(figures.gross),
            net=float(figures.net),
            contracts=float(contracts),
            resting_gross=float(sum((o.quantity * self.marks[o.instrument] for o in resting), ZERO)),
            orders_last_minute=len(self.sends),
            day_start_equity=float(self.day_start_equity),
            day_profit=float(figures.equity - self.day_start_equity),
        )
        return RiskState(
            equity=float(figures.equity),
            mark=float(self.marks[instrument]),
            held=float(abs(held)) if held * side.sign < 0 else 0.0,
            min_quantity=float(terms.min_quantity),
            min_notional=float(terms.min_notional),
            owner=book,
            net=book,
        )

    def _notional(self, instrument: int) -> Decimal:
        return abs(self.held(instrument)) * self.marks[instrument] * self.terms[instrument].contract.multiplier
