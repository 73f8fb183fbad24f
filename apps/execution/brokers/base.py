"""What a desk asks of a broker, and what it hears from one. Quantities and prices are exact decimals.

A broker is a folder: `client.py` does the I/O, `parsers.py` is pure, `adapter.py` joins them into a `Broker`.
"""

import enum
from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

import msgspec

from apps.execution.states import OrderState
from trader.core.types import VenueRejected


class NotFound(VenueRejected):
    """The venue does not know that order (any more)."""


class CredentialsRefused(VenueRejected):
    """The key or its signature was not accepted: no order can be sent until a person mends it."""


class SignatureRefused(VenueRejected):
    """The request came outside its receive window, or its time was off: the venue has not looked at what it asks."""


class Market(msgspec.Struct, frozen=True):
    """One instrument as a broker needs it: our id, the venue's symbol, its kind and its exact terms."""

    instrument_id: int
    symbol: str
    venue_symbol: str
    kind: str
    base: str
    quote: str
    settle: str
    tick: Decimal
    lot: Decimal
    min_quantity: Decimal
    min_notional: Decimal


class OrderRequest(msgspec.Struct, frozen=True):
    """One order to be sent. `trigger_price` makes it a stop that rests; `reduce_only` holds on contracts."""

    client_id: str
    market: Market
    side: str
    kind: str
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    time_in_force: str = "GTC"
    reduce_only: bool = False


class OrderRef(msgspec.Struct, frozen=True):
    """How an order is named to the venue when it is to be cancelled."""

    client_id: str
    venue_order_id: str
    market: Market
    is_stop: bool = False


class VenueOrder(msgspec.Struct, frozen=True):
    """An order as the venue tells it. `client_id` is what the venue holds, ours or not."""

    client_id: str
    venue_order_id: str
    kind: str
    venue_symbol: str
    side: str
    order_kind: str
    state: OrderState
    quantity: Decimal
    filled: Decimal
    average_price: Decimal | None
    price: Decimal | None
    trigger_price: Decimal | None
    reduce_only: bool
    is_stop: bool
    is_attached_stop: bool
    reason: str
    market_ns: int


class VenueFill(msgspec.Struct, frozen=True):
    """One execution. `quantity` is what was traded; the fee may be in the base currency (a spot buy)."""

    fill_id: str
    client_id: str
    venue_order_id: str
    kind: str
    venue_symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    is_maker: bool
    market_ns: int


class VenueFunding(msgspec.Struct, frozen=True):
    """A funding payment of a contract: what was paid is negative."""

    venue_id: str
    venue_symbol: str
    amount: Decimal
    currency: str
    market_ns: int


class VenuePosition(msgspec.Struct, frozen=True):
    """A contract position, signed: below zero is short.

    `initial_margin` is what the venue binds for it at `mark_price`, in the settle currency, without orders, and
    `unrealised` what it has gained at that mark. None is what the venue does not tell.
    """

    venue_symbol: str
    quantity: Decimal
    average_price: Decimal
    leverage: Decimal | None = None
    mark_price: Decimal | None = None
    initial_margin: Decimal | None = None
    unrealised: Decimal | None = None


class VenueBalance(msgspec.Struct, frozen=True):
    """What the account holds of one currency; `equity` counts what its open contracts have gained, where it is told."""

    currency: str
    total: Decimal
    equity: Decimal | None = None


class StreamState(enum.StrEnum):
    """What the private socket says about itself."""

    CONNECTED = "connected"
    LOST = "lost"
    UNREAD = "unread"  # it told something that could not be read: the venue has to be asked what that was


PrivateEvent = VenueOrder | VenueFill | VenueFunding | StreamState


class CancelResult(msgspec.Struct, frozen=True):
    """The venue's word on one cancel of a batch; `gone` where the order was not open any more."""

    client_id: str
    accepted: bool
    gone: bool
    detail: str = ""


class Broker(Protocol):
    """A venue's private side, as a desk uses it. Every call has its own timeout and is never repeated by itself."""

    provider: str
    cancel_batch: dict[str, int]

    def market_add(self, market: Market) -> None: ...
    def encode(self, client_id: str) -> str: ...
    def decode(self, venue_client_id: str) -> str | None: ...
    def is_ours(self, venue_client_id: str) -> bool: ...
    async def connect(self) -> None: ...
    async def close(self) -> None: ...
    def stream_age_s(self) -> float: ...
    async def next_event(self) -> PrivateEvent: ...
    async def create(self, order: OrderRequest) -> str: ...
    async def cancel(self, order: OrderRef) -> None: ...
    async def cancel_many(self, orders: Sequence[OrderRef]) -> list[CancelResult]: ...
    async def cancel_all(self, kind: str, markets: Sequence[Market]) -> None: ...
    async def open_orders(self, kind: str) -> list[VenueOrder]: ...
    async def order_find(self, client_id: str, market: Market) -> VenueOrder | None: ...
    async def fills(
        self, kind: str, since_ns: int | None, client_id: str | None = None, *, until_ns: int | None = None
    ) -> list[VenueFill]: ...
    async def fundings(self, since_ns: int | None, *, until_ns: int | None = None) -> list[VenueFunding]: ...
    async def positions(self) -> list[VenuePosition]: ...
    async def balances(self) -> list[VenueBalance]: ...
    async def wall_ms(self) -> int: ...
    def clock_correct(self, offset_ms: int) -> None: ...
