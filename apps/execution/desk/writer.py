"""Rows that follow what happened: states of orders and signals, fills with positions and cash, decisions.

Nothing on the order path waits for it. It writes what has gathered in one commit, keeps everything when the
database is gone, and goes on when it is back: a fill is booked once, by its id at the venue.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import structlog

from apps.execution import events
from apps.execution.desk.core import DeskCore
from apps.execution.desk.crashpoints import crash_point
from apps.execution.desk.model import DeskDecision, DeskOrder, DeskSignal
from apps.execution.desk.rows import Row
from apps.execution.desk.store import BookedBefore, DatabaseGone, Event, Unit
from apps.execution.origins import Blocker
from apps.portfolio import services as portfolio
from apps.risk import services as risk
from apps.strategies.events import SIGNALS
from trader.config import config

log = structlog.get_logger(__name__)
RETRY_S = 0.25
ZERO = Decimal(0)
BATCH = 256
Step = Callable[[Any], Awaitable[Any]]


@dataclass
class Pending:
    """What waits to be written."""

    orders: dict[int, DeskOrder] = field(default_factory=dict)
    signals: dict[int, DeskSignal] = field(default_factory=dict)
    new_signals: dict[int, DeskSignal] = field(default_factory=dict)
    decisions: list[DeskDecision] = field(default_factory=list)
    fills: list[Row] = field(default_factory=list)
    positions: set[tuple[int, str]] = field(default_factory=set)
    cash: set[str] = field(default_factory=set)
    movements: list[tuple[Any, ...]] = field(default_factory=list)
    refusals: list[risk.RefusalRow] = field(default_factory=list)
    halts: list[risk.HaltRow] = field(default_factory=list)
    equity: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def is_urgent(self) -> bool:
        """Whether anything but decisions and equity waits."""
        return bool(
            self.orders
            or self.signals
            or self.new_signals
            or self.fills
            or self.events
            or self.refusals
            or self.halts
            or self.movements
            or len(self.decisions) >= BATCH
        )

    def is_empty(self) -> bool:
        return not (self.is_urgent() or self.decisions or self.equity or self.positions or self.cash)


class Writer:
    """The one writer of rows that follow. `flush` waits until all that was pending is on disk."""

    def __init__(self, core: DeskCore) -> None:
        self._core = core
        self._pending = Pending()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._in_doubt = False  # an earlier write may have been committed before the connection broke

    def order(self, order: DeskOrder) -> None:
        """An order's row is behind."""
        self._pending.orders[order.id] = order
        self._urgent()

    def signal(self, signal: DeskSignal, *, is_new: bool = False) -> None:
        """A signal's row is behind, or missing."""
        (self._pending.new_signals if is_new else self._pending.signals)[signal.id] = signal
        self._urgent()

    def decision(self, decision: DeskDecision) -> None:
        """A decision's row is missing; it may wait for others."""
        self._pending.decisions.append(decision)
        self._idle.clear()
        if len(self._pending.decisions) >= BATCH:
            self._urgent()

    def fill(self, row: Row, event: events.FillBooked, key: tuple[int, str], currencies: set[str]) -> None:
        """An execution to be booked with its position and cash."""
        self._pending.fills.append(row)
        self._pending.events.append((events.FILLS, event))
        self._pending.positions.add(key)
        self._pending.cash |= currencies
        self._urgent()

    def movement(self, row: tuple[Any, ...], key: tuple[int, str] | None, currencies: set[str]) -> None:
        """Cash or a position that moved for another reason than a fill."""
        self._pending.movements.append(row)
        if key is not None:
            self._pending.positions.add(key)
        self._pending.cash |= currencies
        self._urgent()

    def refusal(self, refusal: risk.RefusalRow) -> None:
        """A refused order or signal, with all its checks."""
        self._pending.refusals.append(refusal)
        self._urgent()

    def halt(self, halt: risk.HaltRow) -> None:
        """A breaker's halt."""
        self._pending.halts.append(halt)
        self._urgent()

    def equity(self, row: tuple[Any, ...]) -> None:
        """A snapshot of the equity; it may wait for others."""
        self._pending.equity.append(row)
        self._idle.clear()

    def event(self, topic: str, message: Any) -> None:
        """A log message without a row of its own here."""
        self._pending.events.append((topic, message))
        self._urgent()

    def _urgent(self) -> None:
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            try:
                async with asyncio.timeout(config.execution.decisions_flush_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._drain()

    async def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until everything so far is written; False when the database did not take it in time."""
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _drain(self) -> None:
        while not self._pending.is_empty():
            taken, self._pending = self._pending, Pending()
            try:
                await self._write_once_booked(taken)
            except DatabaseGone as error:
                self._put_back(taken)
                self._in_doubt = True
                self._core.block(Blocker.DATABASE, str(error))
                await asyncio.sleep(RETRY_S)
                continue
            self._in_doubt = False
            self._core.unblock(Blocker.DATABASE)
        self._idle.set()

    async def _write_once_booked(self, taken: Pending) -> None:
        """Write; what a commit of ours in doubt did book is left out. A database gone in between is as always."""
        try:
            await self._write(taken)
        except BookedBefore:
            if not self._in_doubt:
                raise
            await self._forget_booked(taken)
            await self._write(taken)

    async def _write(self, taken: Pending) -> None:
        now = self._core.now_ns()
        new_signals = list(taken.new_signals.values())
        changed = [signal for signal in taken.signals.values() if signal.id not in taken.new_signals]
        unit = Unit(
            decisions=taken.decisions,
            signals=new_signals,
            signals_changed=changed,
            # sent by the journal while the database was gone: its row comes with, or before, its fills
            orders_adopted=[order for order in taken.orders.values() if order.is_journalled],
            orders_changed=list(taken.orders.values()),
            fills=taken.fills,
            events=[
                *taken.events,
                *((SIGNALS, signal.event(now)) for signal in (*new_signals, *changed)),
                *((events.ORDERS, order.event(now)) for order in taken.orders.values()),
                *((events.POSITIONS, self._position_event(key)) for key in sorted(taken.positions)),
            ],
        )
        if taken.fills:
            crash_point("before_booking", taken.fills[0]["venue_fill_id"])
        steps = self._steps(taken, unit)
        await self._core.store.write(unit, lane="book", before=steps)

    def _steps(self, taken: Pending, unit: Unit) -> list[Step]:
        """What other apps write in the same transaction."""
        account_id = self._core.account.id
        steps: list[Step] = []
        if taken.positions:
            rows = [self._position_row(key) for key in sorted(taken.positions)]
            steps.append(lambda connection: portfolio.positions_put(connection, account_id, rows))
        if taken.cash:
            ledger, fees = self._core.books.ledger, self._core.books.cash_fees
            cash = [(name, ledger.cash.get(name, ZERO), fees.get(name, ZERO)) for name in sorted(taken.cash)]
            steps.append(lambda connection: portfolio.cash_put(connection, account_id, cash))
        if taken.movements:
            steps.append(lambda connection: portfolio.movements_add(connection, account_id, taken.movements))
        if taken.equity:
            steps.append(lambda connection: portfolio.equity_put(connection, account_id, taken.equity))
        if taken.refusals:
            steps.append(lambda connection: risk.refusals_add(connection, taken.refusals))
            unit.events.extend(risk.refusal_events(taken.refusals))
        if taken.halts:
            steps.append(lambda connection: risk.halts_add(connection, taken.halts))
            unit.events.extend(risk.halt_events(taken.halts))
        return steps

    def _position_row(self, key: tuple[int, str]) -> tuple[Any, ...]:
        position = self._core.books.ledger.position(*key)
        opened = self._core.books.opened_ns.get(key)
        return (
            *key,
            position.quantity,
            position.average_price,
            position.realised,
            position.fees,
            position.funding,
            opened,
        )

    def _position_event(self, key: tuple[int, str]) -> events.PositionChanged:
        instrument_id, owner = key
        position = self._core.books.ledger.position(*key)
        return events.PositionChanged(
            account_id=self._core.account.id,
            instrument_id=instrument_id,
            symbol=self._core.books.markets[instrument_id].symbol,
            owner=owner,
            quantity=str(position.quantity),
            average_price=str(position.average_price),
            realised=str(position.realised),
            fees=str(position.fees),
            funding=str(position.funding),
            opened_ns=self._core.books.opened_ns.get(key),
            market_ns=self._core.market_ns,
            no_stop_reason=self._core.no_stop.get(owner, ""),
        )

    async def _forget_booked(self, taken: Pending) -> None:
        """Drop the fills that our own commit in doubt did book: same row id, same execution."""
        rows = await self._core.store.query(
            "SELECT id, venue_fill_id FROM execution_fill WHERE id = ANY(%(ids)s)",
            {"ids": [fill["id"] for fill in taken.fills]},
        )
        ours = {(row[0], row[1]) for row in rows}
        if not ours:
            raise BookedBefore(f"booked by another: {[fill['venue_fill_id'] for fill in taken.fills]}")
        booked = {fill["id"] for fill in taken.fills if (fill["id"], fill["venue_fill_id"]) in ours}
        taken.fills = [fill for fill in taken.fills if fill["id"] not in booked]
        taken.events = [
            (topic, message) for topic, message in taken.events if not (topic == events.FILLS and message.id in booked)
        ]

    def _put_back(self, taken: Pending) -> None:
        """Keep what was not written, before what came since."""
        since = self._pending
        for name in ("orders", "signals", "new_signals"):
            getattr(since, name).update({**getattr(taken, name), **getattr(since, name)})
        for name in ("decisions", "fills", "movements", "refusals", "halts", "equity", "events"):
            setattr(since, name, [*getattr(taken, name), *getattr(since, name)])
        since.positions |= taken.positions
        since.cash |= taken.cash
