"""A broker to fill in: see the README beside it. Every method says what is missing until it is there."""

from collections.abc import Sequence
from typing import Any, NoReturn

from apps.execution.brokers.base import Market, OrderRef, OrderRequest
from apps.execution.brokers.gate import SendGate


class TemplateBroker:
    """The shape of a `Broker`; nothing in it can trade."""

    provider = "template"
    cancel_batch = {"spot": 1, "linear": 1}

    def __init__(
        self, configuration: dict[str, Any], markets: Sequence[Market], prefix: str, gate: SendGate, **options: Any
    ) -> None:
        self.configuration, self.markets, self.prefix, self.gate, self.options = (
            configuration,
            tuple(markets),
            prefix,
            gate,
            options,
        )

    def encode(self, client_id: str) -> str:
        """Return the venue's form of a client id; here they are the same."""
        return client_id

    def decode(self, venue_client_id: str) -> str | None:
        """Return our client id, or None where it cannot be ours."""
        return venue_client_id if len(venue_client_id) == 32 else None

    def is_ours(self, venue_client_id: str) -> bool:
        """Return whether the order is of this install."""
        return (self.decode(venue_client_id) or "").startswith(self.prefix)

    async def create(self, order: OrderRequest) -> str:
        """Send one order, return the venue's id."""
        self._missing("create")

    async def cancel(self, order: OrderRef) -> None:
        """Ask to cancel one order."""
        self._missing("cancel")

    def _missing(self, name: str) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__}.{name} is not filled in: see brokers/_template/README.md")
