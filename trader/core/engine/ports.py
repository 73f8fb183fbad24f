"""The engine's three ports. Nothing else differs between a backtest, a paper session and a live one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from trader.core.portfolio import Contract
from trader.core.types.sides import Side


@dataclass(frozen=True, slots=True)
class Terms:
    """An instrument's contract, its steps and minimums, and the fee of a taker (share of the notional)."""

    contract: Contract
    tick: Decimal
    lot: Decimal
    min_quantity: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    taker_fee: Decimal = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class ClosedBar:
    """A closed bar of one instrument (by index), stamped with its open time in market nanoseconds."""

    instrument: int
    open_ns: int
    row: tuple[float, float, float, float, float]
    revision: int = 0


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What the engine asks a gateway to do: a market order, or with `trigger_price` a stop that rests there."""

    client_id: str
    instrument: int
    leg: str
    side: Side
    quantity: Decimal
    trigger_price: Decimal | None = None
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class GatewayFill:
    """An execution as a gateway reports it, each once."""

    client_id: str
    instrument: int
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    market_ns: int


class Feed(Protocol):
    """Closed bars in the order (time, venue, symbol): from recorded rows, or from the bus."""

    def bars(self) -> Iterator[ClosedBar]: ...


class Clock(Protocol):
    """The market's time, never the wall's: data stamps, bar closes and limits go by it."""

    def now_ns(self) -> int: ...


class Gateway(Protocol):
    """Where orders go: a matching kernel, or a broker. What comes of them is told to the listener."""

    def listen(self, on_fill: Callable[[GatewayFill, bool], None]) -> None:
        """Tell every fill, and whether it ends its order, as it happens."""

    def submit(self, order: OrderRequest) -> None:
        """Take an order; it is never filled before this returns."""

    def cancel(self, client_id: str) -> None:
        """Take back what is left of an order; nothing happens for one that has ended."""
