"""A thin replay of recorded bars: the same pipeline, sizing, accounting and stops, with simple fills.

Assumptions about fills: a market order fills whole at the next bar's open; a stop fills at its
trigger, or at the open of a bar that opens past it; every fill pays the taker fee, on spot buys in
base. No spread, no partial fills: the simulated exchange has those. It says what a strategy would
do, not what it would earn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from trader.core.engine.pipeline import Decided, Pipeline
from trader.core.portfolio import Contract, Fill, Ledger
from trader.core.risk import Sizing, is_flat, lots_down, quantity_exact, size_target, stop_plan
from trader.core.strategy.protocol import PositionView
from trader.core.types.bars import CLOSE, HIGH, LOW, OPEN, bar_matrix
from trader.core.types.errors import DataError
from trader.core.types.sides import Side

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ReplayTerms:
    """An instrument's contract, its steps and minimums, and the fee of a taker (share of the notional)."""

    contract: Contract
    tick: Decimal
    lot: Decimal
    min_quantity: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    taker_fee: Decimal = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class ReplayFill:
    instrument: int
    market_ns: int
    leg: str
    side: Side
    quantity: Decimal
    price: Decimal
    realised: Decimal


@dataclass
class ReplayResult:
    """What happened: a decision per bar with its time and instrument, fills, and equity at each close."""

    decisions: list[tuple[int, int, Decided]] = field(default_factory=list)
    fills: list[ReplayFill] = field(default_factory=list)
    equity: list[tuple[int, Decimal]] = field(default_factory=list)
    round_trips: int = 0


@dataclass
class _Book:
    """What the replay keeps of one instrument between bars."""

    wanted: Decided | None = None
    entry: Decimal = Decimal(0)
    opened_ns: int = 0
    mark: Decimal = Decimal(0)


class Replay:
    """One run over bars of several instruments, in the order (time, index)."""

    def __init__(
        self, pipeline: Pipeline, terms: Sequence[ReplayTerms], cash: Decimal, sizing: Sizing | None = None
    ) -> None:
        self.pipeline = pipeline
        self.terms = tuple(terms)
        self.sizing = sizing or Sizing()
        self.ledger = Ledger(terms[0].contract.quote, {index: each.contract for index, each in enumerate(terms)})
        self.ledger.book_cash(self.ledger.currency, cash)
        self.result = ReplayResult()
        self._books = [_Book() for _ in terms]

    def run(self, bars: Mapping[int, np.ndarray[Any, Any]], trade_from_ns: int = 0) -> ReplayResult:
        """Replay structured bars (`open_ns` and the columns) by instrument index; warm up before `trade_from_ns`.

        Raises DataError where an instrument's bars do not ascend in time.
        """
        for market_ns, instrument, row in _in_order(bars):
            self._bar(instrument, market_ns, row, trade=market_ns >= trade_from_ns)
        return self.result

    def _bar(self, instrument: int, open_ns: int, row: list[float], *, trade: bool) -> None:
        book = self._books[instrument]
        if not trade:
            self.pipeline.warm(instrument, np.array([row]))
            return
        self._fill_wanted(instrument, open_ns, row)
        self._fill_stop(instrument, open_ns, row)
        book.mark = Decimal(repr(row[CLOSE]))
        close_ns = open_ns + self.pipeline.strategy.timeframe.ns
        decided = self.pipeline.step(instrument, row, self._view(instrument, close_ns))
        self.result.decisions.append((close_ns, instrument, decided))
        book.wanted = decided if decided.outcome == "signal" else None
        self.result.equity.append((close_ns, self._equity()))

    def _view(self, instrument: int, now_ns: int) -> PositionView:
        position = self.ledger.position(instrument, self.pipeline.strategy.name)
        if self._flat(instrument, position.quantity):
            return PositionView()
        age_s = (now_ns - self._books[instrument].opened_ns) // SECOND_NS
        return PositionView(float(position.quantity), float(position.average_price), float(age_s))

    def _fill_wanted(self, instrument: int, open_ns: int, row: list[float]) -> None:
        book, terms = self._books[instrument], self.terms[instrument]
        wanted, book.wanted = book.wanted, None
        if wanted is None:
            return
        position = self.ledger.position(instrument, self.pipeline.strategy.name).quantity
        target = Decimal(0)
        if wanted.direction:
            price, stop = row[OPEN], self.pipeline.plan.stop_distance
            size = size_target(float(self._equity()), price, wanted.strength, stop, self.sizing)
            target = quantity_exact(size, terms.lot) * wanted.direction
        change = target - position
        quantity = lots_down(abs(change), terms.lot)
        price_exact = Decimal(repr(row[OPEN]))
        if is_flat(quantity, price_exact, lot=terms.lot, min_quantity=terms.min_quantity,
                   min_notional=terms.min_notional):  # fmt: skip
            return
        side = Side.BUY if change > 0 else Side.SELL
        self._book(instrument, open_ns, "entry" if wanted.direction else "exit", side, quantity, price_exact)
        if wanted.direction:
            book.entry, book.opened_ns = price_exact, open_ns

    def _fill_stop(self, instrument: int, open_ns: int, row: list[float]) -> None:
        terms = self.terms[instrument]
        position = self.ledger.position(instrument, self.pipeline.strategy.name).quantity
        if self._flat(instrument, position):
            return
        distance = Decimal(repr(self.pipeline.plan.stop_distance))
        stop = stop_plan(position, self._books[instrument].entry, distance, tick=terms.tick, lot=terms.lot)
        if stop is None:
            return
        opened, trigger = Decimal(repr(row[OPEN])), stop.trigger_price
        if stop.side is Side.SELL and row[LOW] <= float(trigger):
            self._book(instrument, open_ns, "stop", stop.side, stop.quantity, min(opened, trigger))
        elif stop.side is Side.BUY and row[HIGH] >= float(trigger):
            self._book(instrument, open_ns, "stop", stop.side, stop.quantity, max(opened, trigger))

    def _book(self, instrument: int, market_ns: int, leg: str, side: Side, quantity: Decimal, price: Decimal) -> None:
        terms = self.terms[instrument]
        in_base = terms.contract.kind == "spot" and side is Side.BUY
        fee = quantity * terms.taker_fee * (1 if in_base else price)
        currency = terms.contract.base if in_base else terms.contract.quote
        owner = self.pipeline.strategy.name
        was_open = not self._flat(instrument, self.ledger.position(instrument, owner).quantity)
        self._books[instrument].mark = price
        booked = self.ledger.book_fill(instrument, owner, Fill(side, quantity, price, fee, currency))
        self.result.fills.append(ReplayFill(instrument, market_ns, leg, side, quantity, price, booked.realised))
        if was_open and self._flat(instrument, booked.position.quantity):
            self.result.round_trips += 1

    def _flat(self, instrument: int, quantity: Decimal) -> bool:
        terms, mark = self.terms[instrument], self._books[instrument].mark
        return is_flat(quantity, mark, lot=terms.lot, min_quantity=terms.min_quantity, min_notional=terms.min_notional)

    def _equity(self) -> Decimal:
        marks = {index: book.mark for index, book in enumerate(self._books) if book.mark > 0}
        return self.ledger.equity(marks)


def _in_order(bars: Mapping[int, np.ndarray[Any, Any]]) -> list[tuple[int, int, list[float]]]:
    events: list[tuple[int, int, list[float]]] = []
    for instrument, rows in sorted(bars.items()):
        times = rows["open_ns"]
        if len(times) > 1 and not bool(np.all(np.diff(times) > 0)):
            raise DataError(f"bars of instrument {instrument} do not ascend in time, each time once")
        columns = bar_matrix(rows).tolist()
        events += [(int(at), instrument, row) for at, row in zip(times, columns, strict=True)]
    return sorted(events, key=lambda event: event[:2])
