"""One run of a strategy through the three ports: features, decide, size, limits, order, fill, account."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from trader.core.engine.book import ZERO, SessionBook
from trader.core.engine.pipeline import Decided, Pipeline
from trader.core.engine.ports import Clock, ClosedBar, Feed, Gateway, GatewayFill, OrderRequest, Terms
from trader.core.portfolio import Fill, Ledger
from trader.core.risk import (
    CheckResult,
    Limits,
    OpenOrder,
    OrderIntent,
    Sizing,
    StopPlan,
    adds_risk,
    checks,
    lots_down,
    quantity_exact,
    refusal_of,
    size_target,
    stop_matches,
    stop_plan,
)
from trader.core.types.ids import client_id
from trader.core.types.sides import Side

NO_INSTALL = "0000"
"""A session without a venue has no install; its ids are derived all the same."""


@dataclass(frozen=True, slots=True)
class SessionFill:
    """A fill as it was booked."""

    instrument: int
    market_ns: int
    leg: str
    side: Side
    quantity: Decimal
    price: Decimal
    realised: Decimal


@dataclass
class SessionResult:
    """What happened, each with its market time: decisions, refusals, fills, and equity at every close."""

    decisions: list[tuple[int, int, Decided]] = field(default_factory=list)
    refusals: list[tuple[int, int, CheckResult]] = field(default_factory=list)
    fills: list[SessionFill] = field(default_factory=list)
    equity: list[tuple[int, Decimal]] = field(default_factory=list)
    round_trips: int = 0


class Session:
    """A deployment's pipeline over three ports, with books of its own.

    `terms` are by the pipeline's instrument index; the account's currency is the first one's quote.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        terms: tuple[Terms, ...],
        clock: Clock,
        gateway: Gateway,
        *,
        cash: Decimal,
        sizing: Sizing | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.clock = clock
        self.gateway = gateway
        self.sizing = sizing or Sizing()
        self.limits = limits or Limits()
        ledger = Ledger(terms[0].contract.quote, {index: each.contract for index, each in enumerate(terms)})
        ledger.book_cash(ledger.currency, cash)
        self.book = SessionBook(pipeline.strategy.name, terms, ledger)
        self.result = SessionResult()
        self._turns: dict[int, tuple[Decided, int]] = {}
        self._stop_revisions = 0
        gateway.listen(self._filled)

    def run(self, feed: Feed, trade_from_ns: int = 0) -> SessionResult:
        """Take every bar of the feed; those that open before `trade_from_ns` only warm up."""
        for bar in feed.bars():
            if bar.open_ns < trade_from_ns:
                self.pipeline.step(bar.instrument, bar.row, decide=False)
            else:
                self.bar(bar)
        return self.result

    def bar(self, bar: ClosedBar) -> None:
        """Take one closed bar: step, decide, and order what follows."""
        now_ns, instrument = self.clock.now_ns(), bar.instrument
        self.book.marks[instrument] = Decimal(repr(bar.row[3]))
        self.book.day_marked(now_ns)
        decided = self.pipeline.step(instrument, bar.row, self.book.view(instrument, now_ns))
        self.result.decisions.append((now_ns, instrument, decided))
        self.result.equity.append((now_ns, self.book.equity()))
        under_way = any(o.instrument == instrument and o.leg != "stop" for o in self.book.orders.values())
        if decided.outcome != "signal" or under_way:
            return
        if self.book.is_flat(instrument):
            self._enter(instrument, decided, now_ns)
        else:
            self._exit(instrument, decided, now_ns)

    def _exit(self, instrument: int, decided: Decided, decided_ns: int) -> None:
        held = self.book.held(instrument)
        if decided.direction:
            self._turns[instrument] = (decided, decided_ns)
        side = Side.SELL if held > 0 else Side.BUY
        quantity = lots_down(abs(held), self.book.terms[instrument].lot)
        self._order(instrument, "exit", side, quantity, decided_ns, reduce_only=True)

    def _enter(self, instrument: int, decided: Decided, decided_ns: int) -> None:
        mark, stop = float(self.book.marks[instrument]), self.pipeline.plan.stop_distance
        multiplier = float(self.book.terms[instrument].contract.multiplier)
        equity = float(self.book.equity())
        size = size_target(equity, mark, decided.strength, stop, self.sizing, multiplier=multiplier)
        quantity = quantity_exact(size, self.book.terms[instrument].lot)
        side = Side.BUY if decided.direction > 0 else Side.SELL
        if quantity > 0:
            self._order(instrument, "entry", side, quantity, decided_ns, reduce_only=False)

    def _order(
        self, instrument: int, leg: str, side: Side, quantity: Decimal, decided_ns: int, *, reduce_only: bool
    ) -> None:
        """Ask the checks, then send; a refusal is recorded and ends it."""
        now_ns = self.clock.now_ns()
        contract = self.book.terms[instrument].contract
        others = [OpenOrder(o.side, o.quantity, o.reduce_only) for o in self._others(instrument)]
        risky = adds_risk(OpenOrder(side, quantity, reduce_only), self.book.held(instrument), others, contract.kind)
        mark, multiplier = float(self.book.marks[instrument]), float(contract.multiplier)
        intent = OrderIntent(side, float(quantity), mark, contract.kind, risky, multiplier)
        answers = checks(intent, self.book.risk_state(instrument, side, now_ns), self.limits, self.limits)
        refusal = refusal_of(answers)
        if refusal is not None:
            self._turns.pop(instrument, None)
            self.result.refusals.append((now_ns, instrument, refusal))
            return
        if risky:  # what takes risk away is never held up by a limit, and so counts for none
            self.book.sends.append(now_ns)
        self._send(OrderRequest(self._id(instrument, decided_ns, leg, 0), instrument, leg, side, quantity,
                                reduce_only=reduce_only and contract.kind == "linear"))  # fmt: skip

    def _send(self, order: OrderRequest) -> None:
        self.book.orders[order.client_id] = order
        self.gateway.submit(order)

    def _filled(self, fill: GatewayFill, is_last: bool) -> None:
        """Book a fill, look after the stop, and enter the other side where that was meant."""
        order, instrument, book = self.book.orders[fill.client_id], fill.instrument, self.book
        book.marks[instrument] = fill.price
        was_flat = book.is_flat(instrument)
        booked = book.ledger.book_fill(
            instrument, book.owner, Fill(fill.side, fill.quantity, fill.price, fill.fee, fill.fee_currency)
        )
        self.result.fills.append(
            SessionFill(instrument, fill.market_ns, order.leg, fill.side, fill.quantity, fill.price, booked.realised)
        )
        if is_last:
            del book.orders[fill.client_id]
        if was_flat:
            book.opened_ns[instrument] = fill.market_ns
        elif book.is_flat(instrument):
            self.result.round_trips += 1
        self._stop_looked_after(instrument)
        turn = self._turns.pop(instrument, None) if is_last and book.is_flat(instrument) else None
        if turn is not None:
            self._enter(instrument, *turn)

    def _stop_looked_after(self, instrument: int) -> None:
        """One resting stop for what is held: new before old, none when flat."""
        plan = self._stop_plan(instrument)
        resting = [o for o in self._others(instrument) if o.leg == "stop"]
        kept = [o for o in resting if stop_matches(plan, o.side, o.quantity, o.trigger_price or ZERO)]
        if plan is not None and not kept:
            self._stop_revisions += 1
            opened_ns = self.book.opened_ns.get(instrument, 0)
            identity = self._id(instrument, opened_ns, "stop", self._stop_revisions)
            on_contract = self.book.terms[instrument].contract.kind == "linear"
            self._send(OrderRequest(identity, instrument, "stop", plan.side, plan.quantity, plan.trigger_price,
                                    reduce_only=on_contract))  # fmt: skip
        for old in resting:
            if old not in kept:
                del self.book.orders[old.client_id]
                self.gateway.cancel(old.client_id)

    def _stop_plan(self, instrument: int) -> StopPlan | None:
        if self.book.is_flat(instrument):
            return None
        terms, position = self.book.terms[instrument], self.book.ledger.position(instrument, self.book.owner)
        return stop_plan(
            position.quantity,
            position.average_price,
            Decimal(repr(self.pipeline.plan.stop_distance)),
            tick=terms.tick,
            lot=terms.lot,
            min_quantity=terms.min_quantity,
            min_notional=terms.min_notional,
            multiplier=terms.contract.multiplier,
        )

    def _others(self, instrument: int) -> list[OrderRequest]:
        return [order for order in self.book.orders.values() if order.instrument == instrument]

    def _id(self, instrument: int, decided_ns: int, leg: str, revision: int) -> str:
        return client_id(NO_INSTALL, 0, 0, self.book.owner, instrument, decided_ns, leg, revision)
