"""How the feed's questions over REST share the venue's limits with everybody else."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from apps.common.bus import Bus
from apps.common.governor import Governor, Priority
from apps.market.selectors import FeedPlan

Throttle = Callable[[str], Awaitable[None]]
TIMEOUT_S = 30.0
PUBLIC_KEY = "public"


def throttle_make(bus: Bus, plan: FeedPlan) -> Throttle:
    """Return a function that waits for a token of a bucket; back-fill comes after everything else."""
    governor = Governor(bus)
    address = urlsplit(plan.rest_url).netloc or plan.adapter

    async def take(bucket: str) -> None:
        await governor.take(
            plan.adapter, address, PUBLIC_KEY, bucket, cost=1, priority=Priority.BACKFILL, timeout_s=TIMEOUT_S
        )

    return take
