"""The governor: a venue's rate limits, shared by all processes through the bus.

Each request takes its place in sliding windows: one of the address, one of the key and bucket. Cancels and
reducing orders have a reserve that nothing else may use. With the bus gone they go on with half of the limit
from a budget of this process; everything else is refused.
"""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from apps.common.bus import Bus
from apps.common.clocks import wall_ns
from apps.common.errors import GovernorRefused
from apps.common.redis_clients import BUS_ERRORS

ASK_TIMEOUT_S = 0.25  # a bus that takes longer counts as gone
WITHOUT_BUS_SHARE = 0.5
KEY = "qd:governor:"

# Members of a window are unique requests with their time. Nothing is taken unless every window has room.
TAKE = """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local wait = redis.call('PTTL', KEYS[1])
if wait < 0 then wait = 0 end
local cost = tonumber(ARGV[1])
for i = 2, #KEYS do
  local room, span = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - span)
  local over = redis.call('ZCARD', KEYS[i]) + cost - room
  if over > 0 then
    local leaving = redis.call('ZRANGE', KEYS[i], over - 1, over - 1, 'WITHSCORES')
    local free_in = leaving[2] and (tonumber(leaving[2]) + span - now + 1) or span
    if free_in > wait then wait = free_in end
  end
end
if wait > 0 then return wait end
for i = 2, #KEYS do
  for n = 1, cost do redis.call('ZADD', KEYS[i], now, ARGV[2] .. n) end
  redis.call('PEXPIRE', KEYS[i], tonumber(ARGV[2 * i]) + 1000)
end
return 0
"""

logger = logging.getLogger(__name__)


class Priority(IntEnum):
    """Who goes first. CANCEL and REDUCE may use a whole limit, the others leave a reserve."""

    CANCEL = 0
    REDUCE = 1
    ORDER = 2
    QUERY = 3
    BACKFILL = 4


SHARES = {Priority.CANCEL: 1.0, Priority.REDUCE: 1.0, Priority.ORDER: 0.8, Priority.QUERY: 0.7, Priority.BACKFILL: 0.4}


@dataclass(frozen=True)
class Limit:
    """At most `count` requests in any span of `span_s` seconds."""

    count: int
    span_s: float

    def room(self, priority: Priority) -> int:
        """Return how many a priority may use; one at least."""
        return max(int(self.count * SHARES[priority]), 1)


ADDRESS = "address"
DEFAULT = "default"
# For a provider that registered nothing: slow enough for any venue.
CAUTIOUS = {ADDRESS: Limit(50, 1.0), DEFAULT: Limit(5, 1.0)}
_limits: dict[str, dict[str, Limit]] = {}


def register_limits(provider: str, limits: Mapping[str, Limit]) -> None:
    """Register a provider's limits: `address` for all requests of an address, then by bucket, and `default`.

    A bucket `order.spot` falls back to `order`, then to `default`. Several apps may add buckets of one provider; where
    two disagree about a bucket, the stricter limit holds.
    """
    known = _limits.setdefault(provider, {})
    for bucket, limit in limits.items():
        known[bucket] = min(known.get(bucket, limit), limit, key=lambda one: one.count / one.span_s)


def limit_of(provider: str, bucket: str) -> tuple[str, Limit]:
    """Return the name and limit that a bucket falls under."""
    known = _limits.get(provider, CAUTIOUS)
    name = bucket
    while name not in known and "." in name:
        name = name.rpartition(".")[0]
    if name in known:
        return name, known[name]
    return bucket, known.get(DEFAULT, CAUTIOUS[DEFAULT])


class Governor:
    """Gives out the right to send a request. One per event loop; cheap."""

    def __init__(self, bus: Bus) -> None:
        self.redis = bus.redis
        self._take = self.redis.register_script(TAKE)
        self._local: dict[str, deque[float]] = {}
        self._penalties: dict[str, int] = {}  # wall ns

    async def take(
        self,
        provider: str,
        address: str,
        key: str,
        bucket: str,
        *,
        cost: int = 1,
        priority: Priority = Priority.ORDER,
        timeout_s: float = 5.0,
    ) -> None:
        """Wait for a place, at most `timeout_s`; raises `GovernorRefused`: do not send the request."""
        deadline = time.monotonic() + timeout_s
        windows = self._windows(provider, address, key, bucket)
        while True:
            wait_s = await self._ask(provider, address, windows, cost, priority)
            if wait_s <= 0:
                return
            left_s = deadline - time.monotonic()
            if wait_s > left_s:
                raise GovernorRefused(
                    f"{provider} {bucket}: the next place is free in {wait_s:.2f} s, and {left_s:.2f} s are left"
                )
            await asyncio.sleep(wait_s)

    async def penalise(self, provider: str, address: str, until_ns: int) -> None:
        """Hold everyone on this address back until a wall time: the venue said that we are too fast."""
        self._penalties[f"{provider}:{address}"] = until_ns
        left_ms = (until_ns - wall_ns()) // 1_000_000
        if left_ms <= 0:
            return
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await self.redis.set(_penalty_key(provider, address), "1", px=left_ms)
        except BUS_ERRORS as error:
            logger.warning("only this process knows that %s is penalised: %s", provider, error)

    def _windows(self, provider: str, address: str, key: str, bucket: str) -> dict[str, Limit]:
        name, limit = limit_of(provider, bucket)
        windows = {f"{KEY}{provider}:{key}:{name}": limit}
        for_address = _limits.get(provider, CAUTIOUS).get(ADDRESS)
        if for_address is not None:
            windows[f"{KEY}{provider}:{address}"] = for_address
        return windows

    async def _ask(
        self, provider: str, address: str, windows: dict[str, Limit], cost: int, priority: Priority
    ) -> float:
        """Return 0 when the place is taken, else the seconds until one may be free."""
        spans = [part for limit in windows.values() for part in (limit.room(priority), int(limit.span_s * 1000))]
        smallest = min(limit.room(priority) for limit in windows.values())
        if cost > smallest:
            raise GovernorRefused(f"{provider}: {cost} at once never fit into a limit of {smallest}: send fewer")
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                keys = [_penalty_key(provider, address), *windows]
                wait_ms = await self._take(keys=keys, args=[cost, uuid.uuid4().hex, *spans])
            return int(wait_ms) / 1000
        except BUS_ERRORS as error:
            if priority > Priority.REDUCE:
                raise GovernorRefused(f"{provider}: the bus is gone, so nobody knows the budget: {error}") from None
            return self._ask_locally(f"{provider}:{address}", windows, cost)

    def _ask_locally(self, place: str, windows: dict[str, Limit], cost: int) -> float:
        """Take from this process's own half of the limit: what cancels and reduces must not wait for the bus."""
        now = time.monotonic()
        wait_s = max((self._penalties.get(place, 0) - wall_ns()) / 1e9, 0.0)
        for name, limit in windows.items():
            taken = self._local.setdefault(name, deque())
            while taken and taken[0] <= now - limit.span_s:
                taken.popleft()
            over = len(taken) + cost - max(int(limit.count * WITHOUT_BUS_SHARE), 1)
            over = min(over, len(taken))  # a batch larger than half of the limit waits until all is free
            if over > 0:
                wait_s = max(wait_s, taken[over - 1] + limit.span_s - now)
        if wait_s > 0:
            return wait_s
        for name in windows:
            self._local[name].extend([now] * cost)
        return 0.0


def _penalty_key(provider: str, address: str) -> str:
    return f"{KEY}penalty:{provider}:{address}"
