"""Rate limits as Bybit has them: per key and kind of request in a second, per address in five seconds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

ADDRESS_REQUESTS = 600
ADDRESS_WINDOW_NS = 5 * 1_000_000_000
SECOND_NS = 1_000_000_000
QUERIES = 50
TRADES = {"linear": 10, "spot": 20}
TRADE_PATHS = frozenset(
    {
        "/v5/order/create",
        "/v5/order/amend",
        "/v5/order/cancel",
        "/v5/order/cancel-all",
        "/v5/order/create-batch",
        "/v5/order/amend-batch",
        "/v5/order/cancel-batch",
    }
)


@dataclass(slots=True)
class Standing:
    """How one key stands with one limit; becomes the X-Bapi-Limit headers."""

    limit: int
    left: int
    reset_ms: int
    exceeded: bool = False

    def headers(self) -> dict[str, str]:
        """Return what the answer carries."""
        return {
            "X-Bapi-Limit": str(self.limit),
            "X-Bapi-Limit-Status": str(self.left),
            "X-Bapi-Limit-Reset-Timestamp": str(self.reset_ms),
        }


class Limits:
    """Counts requests by wall time. Switched off, it lets everything pass and sends no headers."""

    def __init__(self, *, on: bool = True, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.on, self.now_ns = on, now_ns
        self._addresses: dict[str, deque[int]] = {}
        self._windows: dict[tuple[str, str, str], deque[int]] = {}

    def address_allows(self, address: str) -> bool:
        """Count a request of an address; False past 600 in 5 s (403 until it has been quiet enough)."""
        if not self.on:
            return True
        now = self.now_ns()
        seen = self._addresses.setdefault(address, deque())
        while seen and seen[0] <= now - ADDRESS_WINDOW_NS:
            seen.popleft()
        if len(seen) >= ADDRESS_REQUESTS:
            return False
        seen.append(now)
        return True

    def take(self, api_key: str, path: str, category: str, cost: int = 1) -> Standing | None:
        """Count a signed request (a batch counts `cost` orders) and say how its key stands."""
        if not self.on:
            return None
        if path in TRADE_PATHS:
            bucket, limit = path, TRADES.get(category, TRADES["linear"])
        else:
            bucket, limit, category = path, QUERIES, ""
        now = self.now_ns()
        window = self._windows.setdefault((api_key, bucket, category), deque())
        while window and window[0] <= now - SECOND_NS:
            window.popleft()
        oldest = window[0] if window else now
        reset_ms = (time.time_ns() + max(0, oldest + SECOND_NS - now)) // 1_000_000
        if len(window) + cost > limit and window:
            return Standing(limit, 0, reset_ms, exceeded=True)
        window.extend([now] * cost)
        return Standing(limit, max(0, limit - len(window)), reset_ms)
