"""A replay of recorded bars: feed, clock and gateway in one, for a session.

Assumptions about fills: a market order fills whole at the next bar's open; a stop fills at its
trigger, or at the open of a bar that opens past it; every fill pays the taker fee, on spot buys in
base. No spread, no partial fills: the simulated exchange has those. It says what a strategy would
do, not what it would earn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from trader.core.engine.pipeline import Pipeline
from trader.core.engine.ports import ClosedBar, GatewayFill, OrderRequest, Terms
from trader.core.engine.session import Session, SessionResult
from trader.core.risk import Limits, Sizing
from trader.core.types.bars import HIGH, LOW, OPEN, bar_matrix
from trader.core.types.errors import DataError
from trader.core.types.sides import Side


def replay(
    pipeline: Pipeline,
    terms: Sequence[Terms],
    bars: Mapping[int, np.ndarray[Any, Any]],
    *,
    cash: Decimal,
    sizing: Sizing | None = None,
    limits: Limits | None = None,
    trade_from_ns: int = 0,
) -> SessionResult:
    """Run a pipeline over structured bars (`open_ns` and the columns) by instrument index.

    Bars before `trade_from_ns` warm up. Raises DataError where an instrument's bars do not ascend.
    """
    market = ReplayMarket(terms, bars, pipeline.strategy.timeframe.ns)
    session = Session(pipeline, tuple(terms), market, market, cash=cash, sizing=sizing, limits=limits)
    return session.run(market, trade_from_ns)


class ReplayMarket:
    """Recorded bars as a market: all three ports, in the order (time, instrument)."""

    def __init__(self, terms: Sequence[Terms], bars: Mapping[int, np.ndarray[Any, Any]], timeframe_ns: int) -> None:
        self._terms = terms
        self._events = _in_order(bars)
        self._timeframe_ns = timeframe_ns
        self._now_ns = 0
        self._orders: dict[str, OrderRequest] = {}
        self._on_fill: Callable[[GatewayFill, bool], None] | None = None

    def now_ns(self) -> int:
        return self._now_ns

    def listen(self, on_fill: Callable[[GatewayFill, bool], None]) -> None:
        self._on_fill = on_fill

    def submit(self, order: OrderRequest) -> None:
        self._orders[order.client_id] = order

    def cancel(self, client_id: str) -> None:
        self._orders.pop(client_id, None)

    def bars(self) -> Iterator[ClosedBar]:
        """Every bar, after the orders that were waiting for it have met it."""
        for open_ns, instrument, row in self._events:
            self._now_ns = open_ns
            self._meet_open(instrument, row)
            self._meet_range(instrument, row)
            self._now_ns = open_ns + self._timeframe_ns
            yield ClosedBar(instrument, open_ns, row)

    def _meet_open(self, instrument: int, row: tuple[float, ...]) -> None:
        """Market orders fill at the open, those too that a fill there brings about."""
        opened = Decimal(repr(row[OPEN]))
        while waiting := [o for o in self._orders.values() if o.instrument == instrument and o.trigger_price is None]:
            self._fill(waiting[0], opened)

    def _meet_range(self, instrument: int, row: tuple[float, ...]) -> None:
        opened, high, low = (Decimal(repr(row[at])) for at in (OPEN, HIGH, LOW))
        for order in [o for o in self._orders.values() if o.instrument == instrument]:
            trigger = order.trigger_price
            if trigger is None or order.client_id not in self._orders:
                continue
            if order.side is Side.SELL and low <= trigger:
                self._fill(order, min(opened, trigger))
            elif order.side is Side.BUY and high >= trigger:
                self._fill(order, max(opened, trigger))

    def _fill(self, order: OrderRequest, price: Decimal) -> None:
        del self._orders[order.client_id]
        terms = self._terms[order.instrument]
        in_base = terms.contract.kind == "spot" and order.side is Side.BUY
        fee = order.quantity * terms.taker_fee * (1 if in_base else price * terms.contract.multiplier)
        currency = terms.contract.base if in_base else terms.contract.quote
        fill = GatewayFill(
            order.client_id, order.instrument, order.side, order.quantity, price, fee, currency, self._now_ns
        )
        if self._on_fill is not None:
            self._on_fill(fill, True)


def _in_order(
    bars: Mapping[int, np.ndarray[Any, Any]],
) -> list[tuple[int, int, tuple[float, float, float, float, float]]]:
    events: list[tuple[int, int, tuple[float, float, float, float, float]]] = []
    for instrument, rows in sorted(bars.items()):
        times = rows["open_ns"]
        if len(times) > 1 and not bool(np.all(np.diff(times) > 0)):
            raise DataError(f"bars of instrument {instrument} do not ascend in time, each time once")
        columns = bar_matrix(rows).tolist()
        events += [(int(at), instrument, tuple(row)) for at, row in zip(times, columns, strict=True)]
    return sorted(events, key=lambda event: event[:2])
