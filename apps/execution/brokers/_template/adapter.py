"""A broker to fill in: see the README beside it. Every method of the protocol is here and says what it lacks."""

from collections.abc import Sequence
from typing import Any, NoReturn

from apps.execution.brokers.base import (
    CancelResult,
    Market,
    OrderRef,
    OrderRequest,
    PrivateEvent,
    VenueBalance,
    VenueFill,
    VenueFunding,
    VenueOrder,
    VenuePosition,
)
from apps.execution.brokers.gate import SendGate

HEX = frozenset("0123456789abcdef")


class TemplateBroker:
    """The shape of a `Broker`; nothing in it can trade, and the registry does not know it."""

    provider = "template"
    cancel_batch = {"spot": 1, "linear": 1}

    def __init__(
        self, configuration: dict[str, Any], markets: Sequence[Market], prefix: str, gate: SendGate, **options: Any
    ) -> None:
        self.configuration, self.prefix, self.gate, self.options = configuration, prefix, gate, options
        self.markets = {(market.kind, market.venue_symbol): market for market in markets}

    def market_add(self, market: Market) -> None:
        """Make an instrument known, or renew its terms."""
        self.markets[(market.kind, market.venue_symbol)] = market

    def encode(self, client_id: str) -> str:
        """Return the venue's form of a client id; here they are the same."""
        return client_id

    def decode(self, venue_client_id: str) -> str | None:
        """Return our client id, or None where it cannot be ours."""
        return venue_client_id if len(venue_client_id) == 32 and HEX.issuperset(venue_client_id) else None

    def is_ours(self, venue_client_id: str) -> bool:
        """Return whether the order is of this install."""
        return (self.decode(venue_client_id) or "").startswith(self.prefix)

    async def connect(self) -> None:
        """Open the session, with requests through `gated_request_class(self.gate)`, and the private socket."""
        self._missing("connect")

    async def close(self) -> None:
        """Close all; safe to call twice."""
        self._missing("close")

    def stream_age_s(self) -> float:
        """Return how long the private socket has been without any frame."""
        self._missing("stream_age_s")

    async def next_event(self) -> PrivateEvent:
        """Wait for the next order, execution, funding, or change of the socket itself."""
        self._missing("next_event")

    async def create(self, order: OrderRequest) -> str:
        """Send one order, return the venue's id."""
        self._missing("create")

    async def cancel(self, order: OrderRef) -> None:
        """Ask to cancel one order; raise `NotFound` where it is not open any more."""
        self._missing("cancel")

    async def cancel_many(self, orders: Sequence[OrderRef]) -> list[CancelResult]:
        """Cancel one batch of one category, stops too."""
        self._missing("cancel_many")

    async def cancel_all(self, kind: str, markets: Sequence[Market]) -> None:
        """Cancel every plain order of a category; stops stay."""
        self._missing("cancel_all")

    async def open_orders(self, kind: str) -> list[VenueOrder]:
        """Return every open order of a category, stops and foreign ones included."""
        self._missing("open_orders")

    async def order_find(self, client_id: str, market: Market) -> VenueOrder | None:
        """Ask open orders, then history; None means that both said "not found"."""
        self._missing("order_find")

    async def fills(
        self, kind: str, since_ns: int | None, client_id: str | None = None, *, until_ns: int | None = None
    ) -> list[VenueFill]:
        """Return executions, oldest first, of the whole span, whatever the venue tells at once."""
        self._missing("fills")

    async def fundings(self, since_ns: int | None, *, until_ns: int | None = None) -> list[VenueFunding]:
        """Return funding payments, oldest first, of the whole span."""
        self._missing("fundings")

    async def positions(self) -> list[VenuePosition]:
        """Return the contract positions that are not flat."""
        self._missing("positions")

    async def balances(self) -> list[VenueBalance]:
        """Return what the account holds of each currency."""
        self._missing("balances")

    async def wall_ms(self) -> int:
        """Return the venue's wall clock."""
        self._missing("wall_ms")

    def clock_correct(self, offset_ms: int) -> None:
        """Sign with the venue's clock from now on."""
        self._missing("clock_correct")

    def _missing(self, name: str) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__}.{name} is not filled in: see brokers/_template/README.md")
