"""The engine's three ports. Nothing else differs between a backtest, a paper session and a live one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from trader.core.types.sides import Side


@dataclass(frozen=True, slots=True)
class ClosedBar:
    """A closed bar of one instrument (by index), stamped with its open time in market nanoseconds."""

    instrument: int
    open_ns: int
    row: tuple[float, float, float, float, float]
    revision: int = 0


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What the engine asks a gateway to do. `trigger_price` makes it a stop that rests at the venue."""

    client_id: str
    instrument: int
    side: Side
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class GatewayFill:
    """An execution as a gateway reports it; the core books it once per `fill_id`."""

    fill_id: str
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

    def bars(self) -> Iterator[ClosedBar] | AsyncIterator[ClosedBar]: ...


class Clock(Protocol):
    """The market's time, never the wall's: data stamps, bar closes and limits go by it."""

    def now_ns(self) -> int: ...


class Gateway(Protocol):
    """Where orders go: a matching kernel, or a broker. Submitting returns before anything is filled."""

    def submit(self, order: OrderRequest) -> None: ...

    def cancel(self, client_id: str) -> None: ...

    def fills(self) -> Iterator[GatewayFill]: ...
