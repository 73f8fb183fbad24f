"""Closed bars in, orders out: step, decide, size, check. One commit for all the orders of one batch of bars."""

import asyncio
from collections import defaultdict
from decimal import Decimal
from typing import Any

import structlog

from apps.common.clocks import boottime_ns
from apps.execution.desk.bars import BarFollower
from apps.execution.desk.core import DeskCore
from apps.execution.desk.deployed import Deployed
from apps.execution.desk.figures import Accounts
from apps.execution.desk.guard import Guard
from apps.execution.desk.make import Wish, closing_quantity, order_make
from apps.execution.desk.model import ENTRY, EXIT, DeskDecision, DeskOrder, DeskSignal
from apps.execution.desk.refusal import of_words
from apps.execution.desk.send import Sender
from apps.execution.desk.store import Unit
from apps.execution.desk.track import Tracker
from apps.execution.desk.turn import Turn, Turner
from apps.execution.desk.writer import Writer
from apps.execution.origins import Blocker
from apps.market.events import Bar, BarsClosed
from apps.risk.services import RefusalRow
from trader.core.engine import Decided, PositionView
from trader.core.risk import quantity_exact, size_target
from trader.core.types import decision_id

log = structlog.get_logger(__name__)


class Decider:
    """Runs every deployment of the account over the bars as they close."""

    def __init__(
        self, core: DeskCore, writer: Writer, tracker: Tracker, sender: Sender, guard: Guard, accounts: Accounts
    ) -> None:
        self._core = core
        self._writer = writer
        self._tracker = tracker
        self._sender = sender
        self._guard = guard
        self._accounts = accounts
        self.deployments: dict[str, Deployed] = {}
        self.follower = BarFollower(core)
        self._marked_ns: dict[int, int] = {}
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._turner = Turner(core, writer, tracker, sender, self._entry, self._of)
        self._at_work = 0

    async def bars(self, message: BarsClosed) -> None:
        """Take one batch of closed bars through every deployment of its timeframe, one batch at a time."""
        self._at_work += 1
        try:
            async with self.turn(message.timeframe_s):
                await self._batch(message)
        finally:
            self._at_work -= 1
            self._core.wake.set()

    @property
    def is_busy(self) -> bool:
        """Whether a batch is at work, or waits for its turn."""
        return self._at_work > 0

    def turn(self, timeframe_s: int) -> asyncio.Lock:
        """What holds the bars of a timeframe up while it is held: a deployment joins between two batches."""
        return self._turns[timeframe_s]

    async def mend(self) -> None:
        """Look after holes between two batches: what fills them is stepped; after one that stays, features begin anew.

        Raises `DATABASE_ERRORS`.
        """
        holes = self.follower.holes
        for key, instrument_id in holes.due(self.deployments):
            deployed = self.deployments[key]
            async with self.turn(deployed.timeframe_s):  # for one instrument's bars: others wait no longer than that
                if (key, instrument_id) in holes.open:  # a bar may have filled it meanwhile
                    self.follower.filled += await holes.mend(deployed, instrument_id)
                self._late_keep()
            self._core.wake.set()

    async def _batch(self, message: BarsClosed) -> None:
        step_ns = message.timeframe_s * 1_000_000_000
        for bar in message.bars:
            self._mark(bar, bar.open_ns + step_ns)
        closed_ns = max(bar.open_ns for bar in message.bars) + step_ns
        self._core.market_ns = max(self._core.market_ns, closed_ns)
        self._accounts.mark_day(self._core.market_ns)
        at_work = [one for one in self.deployments.values() if one.timeframe_s == message.timeframe_s]
        for deployed in at_work:
            deployed.given((bar.instrument_id, bar.open_ns) for bar in message.bars)
        for deployed in at_work:
            await self._deployment(deployed, message.bars)

    def _mark(self, bar: Bar, closed_ns: int) -> None:
        """Take a bar's close as mark; a late bar, or a late revision of one, is not the market's present."""
        if closed_ns >= self._marked_ns.get(bar.instrument_id, 0):
            self._marked_ns[bar.instrument_id] = closed_ns
            self._core.books.marks[bar.instrument_id] = Decimal(repr(bar.close))

    async def _deployment(self, deployed: Deployed, bars: list[Bar]) -> None:
        started = boottime_ns()
        unit, orders, turns = Unit(), [], []
        for bar in bars:
            is_late = await self.follower.before(deployed, bar)
            self._late_keep()
            if is_late is None:
                continue
            decision, decided = self._decide(deployed, bar, is_late)
            if decided is None or decided.outcome != "signal":
                self._writer.decision(decision)
                continue
            made = self._signal(deployed, decision, bar, turns)
            if made is not None:
                unit.decisions.append(decision)
                unit.signals.append(self._tracker.signals[made.signal_id or 0])
                orders.append(made)
        if orders:
            await self._sender.send(orders, unit, started)
        for turn in turns:
            self._core.spawn(self._turner.run(turn), "reversal")

    def _decide(self, deployed: Deployed, bar: Bar, is_late: bool) -> tuple[DeskDecision, Decided | None]:
        """Step an instrument and decide on it; returns the decision's row and what was decided."""
        place = deployed.places[bar.instrument_id]
        closed_ns = bar.open_ns + deployed.timeframe_ns
        view = self._view(bar.instrument_id, deployed.key, closed_ns)
        row = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        decided = deployed.pipeline.step(place.index, row, view, decide=not is_late)
        place.newest_ns = bar.open_ns
        deployed.decided += 1
        decision = DeskDecision(
            id=decision_id(deployed.key, bar.instrument_id, bar.open_ns, bar.revision),
            deployment_id=deployed.row.id,
            deployment=deployed.key,
            instrument_id=bar.instrument_id,
            symbol=place.market.symbol,
            bar_open_ns=bar.open_ns,
            bar_revision=bar.revision,
            market_ns=closed_ns,
            outcome=decided.outcome,
            reason=decided.reason,
            direction=decided.direction,
            strength=decided.strength,
            features=features_kept(decided.features, view),
            members=deployed.members,
        )
        return decision, decided

    def _late_keep(self) -> None:
        """Record what was read from storage and stepped: late, never decided."""
        filled, self.follower.filled = self.follower.filled, []
        for one in filled:
            market = self._core.books.markets[one.instrument_id]
            names = one.deployed.pipeline.feature_names
            for bar, values in zip(one.bars, one.features.tolist(), strict=True):
                opened = int(bar["open_ns"])
                features = features_kept(dict(zip(names, values, strict=True)), PositionView())
                revision = int(bar["revision"])
                self._writer.decision(
                    DeskDecision(
                        decision_id(one.deployed.key, one.instrument_id, opened, revision),
                        one.deployed.row.id, one.deployed.key, one.instrument_id, market.symbol, opened, revision,
                        opened + one.deployed.timeframe_ns, "late", "late", 0, 0.0, features, one.deployed.members,
                    )
                )  # fmt: skip

    def _view(self, instrument_id: int, owner: str, now_ns: int) -> PositionView:
        position = self._core.books.ledger.position(instrument_id, owner)
        if not position.quantity or self._core.books.is_flat(instrument_id, position.quantity):
            return PositionView()
        opened_ns = self._core.books.opened_ns.get((instrument_id, owner), now_ns)
        age_s = max(now_ns - opened_ns, 0) / 1e9
        return PositionView(float(position.quantity), float(position.average_price), age_s)

    def _signal(self, deployed: Deployed, decision: DeskDecision, bar: Bar, turns: list[Turn]) -> DeskOrder | None:
        """Make the order of a signal, or record why there is none."""
        signal = DeskSignal(self._core.ids.take(), decision, self._core.account.id, deployed.pipeline.plan.horizon_s)
        self._tracker.signals[signal.id] = signal
        self._core.note(
            "signal", decision_id=str(decision.id), deployment=deployed.key, symbol=decision.symbol,
            direction=decision.direction, strength=decision.strength, reason=decision.reason,
            bar_open_ns=decision.bar_open_ns, market_ns=decision.market_ns,
            closing_frame_wall_ns=bar.closing_frame_wall_ns, feed_wall_ns=bar.feed_wall_ns,
        )  # fmt: skip
        held = self._core.books.held(decision.instrument_id, deployed.key)
        is_held = bool(held) and not self._core.books.is_flat(decision.instrument_id, held)
        refused = self._under_way(deployed, decision)
        if refused is None:
            made = self._exit(deployed, signal) if is_held else self._entry(deployed, signal, bar.close)
            if isinstance(made, DeskOrder):
                signal.state = "accepted"
                self._core.books.order_add(made)
                if is_held and decision.direction:
                    turns.append(Turn(deployed, signal, made, bar.close))
                return made
            refused = made
        self.refuse(signal, refused, with_decision=True)
        return None

    def _under_way(self, deployed: Deployed, decision: DeskDecision) -> RefusalRow | None:
        """An earlier order of this sub-ledger is not through yet: deciding again now could do it twice."""
        others = self._core.books.orders_of(decision.instrument_id, deployed.key)
        if not any(order.leg in (ENTRY, EXIT) for order in others):
            return None
        why = "an earlier order of this deployment here has not ended yet"
        return of_words(Blocker.UNDER_WAY, why, **self._of(deployed, decision))

    def _of(self, deployed: Deployed, decision: DeskDecision) -> dict[str, Any]:
        """Whom and what a refusal is about."""
        return {
            "account_id": self._core.account.id,
            "instrument_id": decision.instrument_id,
            "owner": deployed.key,
            "decision_id": decision.id,
            "market_ns": decision.market_ns,
        }

    def _exit(self, deployed: Deployed, signal: DeskSignal) -> DeskOrder | RefusalRow:
        decision = signal.decision
        market = self._core.books.markets[decision.instrument_id]
        side, quantity = closing_quantity(self._core, decision.instrument_id, deployed.key)
        refused = self._guard.ask(
            market, deployed.key, side, quantity, self._guard.touch(market, side),
            adds_risk=False, decision_id=decision.id,
        )  # fmt: skip
        if refused is not None:
            return refused
        return order_make(self._core, self._wish(deployed, signal, EXIT, side, quantity, reduce_only=True))

    def _entry(self, deployed: Deployed, signal: DeskSignal, price: float) -> DeskOrder | RefusalRow:
        decision = signal.decision
        market = self._core.books.markets[decision.instrument_id]
        of = self._of(deployed, decision)
        if decision.instrument_id not in deployed.members:
            return of_words(Blocker.UNIVERSE, "the instrument has left the universe: no new risk", **of)
        if deployed.is_shadow:
            return of_words(Blocker.STAGE, "stage shadow: decided and recorded, never sent", **of)
        side = "buy" if decision.direction > 0 else "sell"
        quantity = self._sized(deployed, decision, market.lot, price)
        if quantity <= 0:
            return of_words(Blocker.SIZE, "the target is below one lot, or equity, price or stop is not known", **of)
        adds_risk = self._core.books.adds_risk(market, side, quantity, reduce_only=False)
        refused = self._guard.ask(
            market, deployed.key, side, quantity, self._guard.touch(market, side),
            adds_risk=adds_risk, decision_id=decision.id,
        )  # fmt: skip
        if refused is not None:
            return refused
        return order_make(self._core, self._wish(deployed, signal, ENTRY, side, quantity, reduce_only=False))

    def _sized(self, deployed: Deployed, decision: DeskDecision, lot: Decimal, price: float) -> Decimal:
        distance = float(deployed.stop_distance or Decimal(repr(deployed.pipeline.plan.stop_distance)))
        rate = float(self._core.books.rates().get(self._core.books.markets[decision.instrument_id].quote, Decimal(0)))
        equity = self._accounts.equity()
        target = size_target(equity, price * rate, decision.strength, distance, deployed.sizing)
        return quantity_exact(target, lot)

    def _wish(
        self, deployed: Deployed, signal: DeskSignal, leg: str, side: str, quantity: Decimal, *, reduce_only: bool
    ) -> Wish:
        decision = signal.decision
        return Wish(
            market=self._core.books.markets[decision.instrument_id],
            owner=deployed.key,
            leg=leg,
            side=side,
            quantity=quantity,
            decided_ns=decision.market_ns,
            time_in_force="IOC",
            reduce_only=reduce_only,
            decision_id=decision.id,
            signal_id=signal.id,
        )

    def refuse(self, signal: DeskSignal, why: RefusalRow, *, with_decision: bool) -> None:
        """Record a signal that comes to nothing, with every check."""
        signal.state, signal.refused_by, signal.detail = "refused", why.check_name, why.detail
        self._tracker.signals.pop(signal.id, None)
        if with_decision:
            self._writer.decision(signal.decision)
        self._writer.signal(signal, is_new=True)
        self._writer.refusal(why)
        log.info("signal refused", by=why.check_name, why=why.detail, decision_id=str(signal.decision.id))


def features_kept(features: dict[str, float], view: PositionView) -> dict[str, Any]:
    """Features as they are kept: readable numbers (None for NaN), and their exact bits; the position seen, too."""
    seen = {**features, "position": view.quantity, "average_price": view.average_price, "age_s": view.age_s}
    shown: dict[str, Any] = {name: value if value - value == 0.0 else None for name, value in seen.items()}
    shown["_bits"] = {name: value.hex() for name, value in seen.items()}
    return shown
