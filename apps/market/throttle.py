"""How questions of feeds and back-fills over REST share the venue's limits with everybody else."""

from urllib.parse import urlsplit

from apps.common.bus import Bus
from apps.common.clocks import wall_ns
from apps.common.governor import Governor, Limit, Priority, register_limits

TIMEOUT_S = 30.0
PUBLIC_KEY = "public"
BUSY_NS = 2_000_000_000

BYBIT = {
    "address": Limit(600, 5.0),
    "order": Limit(10, 1.0),
    "order.spot": Limit(20, 1.0),
    "cancel": Limit(10, 1.0),
    "cancel.spot": Limit(20, 1.0),
    "query": Limit(50, 1.0),
    "default": Limit(20, 1.0),
}
"""What the venue allows: 600 requests in 5 s of an address; by key, orders and cancels 10 a second (spot 20)."""


def limits_register() -> None:
    """Tell the governor what our venues allow; called once, when Django is ready."""
    register_limits("bybit", BYBIT)


class VenueThrottle:
    """Waits for a token before a question; back-fill comes after everything else."""

    def __init__(self, bus: Bus, adapter: str, rest_url: str) -> None:
        self._governor = Governor(bus)
        self._provider = adapter
        self._address = urlsplit(rest_url).netloc or adapter

    async def take(self, bucket: str) -> None:
        """Wait for a place. Raises `GovernorRefused` when none is free in 30 s, or the bus is gone."""
        await self._governor.take(
            self._provider, self._address, PUBLIC_KEY, bucket, priority=Priority.BACKFILL, timeout_s=TIMEOUT_S
        )

    async def busy(self) -> None:
        """Hold everybody on this address back for a moment: the venue said that we are too fast."""
        await self._governor.penalise(self._provider, self._address, wall_ns() + BUSY_NS)
