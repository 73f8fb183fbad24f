"""The market clock: how far the market may go, apart from the wall clock.

At speed 1 it keeps pace with wall time; a replay runs faster; it can stand, run until a time as fast
as frames can be sent, and end. It never passes an event that has not been handled (`horizon_ns`),
so nobody sees a market time whose prints are still to come.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from apps.simulator.markets.base import MINUTE_NS

FAR_NS = 1 << 62


def boot_ns() -> int:
    """Return a clock that no time server steps and that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class MarketClock:
    """Maps wall time to market time.

    `speed` is market seconds per wall second, `math.inf` for as fast as frames can be sent.
    `running`: the market moves; `ended`: it has reached `end_ns` and stands for good.
    """

    def __init__(
        self,
        start_ns: int,
        *,
        mode: str,
        speed: float = 1.0,
        from_ns: int | None = None,
        end_ns: int | None = None,
        paused: bool = False,
        steady_ns: Callable[[], int] = boot_ns,
    ) -> None:
        self.mode = mode
        self.from_ns = start_ns if from_ns is None else from_ns
        self.end_ns = end_ns
        self.speed = speed
        self.ended = end_ns is not None and start_ns >= end_ns
        self.running = not paused and not self.ended
        self.horizon_ns = start_ns
        self.halts: set[str] = set()
        self.changed: Callable[[], None] = lambda: None
        self._steady_ns = steady_ns
        self._anchor_market_ns = start_ns
        self._anchor_steady_ns = steady_ns()
        self._until_ns: int | None = None
        self._now_ns = start_ns

    @staticmethod
    def wall_ns() -> int:
        """Return wall time, UTC nanoseconds."""
        return time.time_ns()

    def market_ns(self) -> int:
        """Return market time; it never goes back and never passes an event not yet handled."""
        self._now_ns = max(self._now_ns, min(self.target_ns(), self.horizon_ns))
        return self._now_ns

    def target_ns(self) -> int:
        """Return how far the market may go now."""
        if not self.running:
            return self._anchor_market_ns
        if self._until_ns is not None or math.isinf(self.speed):
            return self.limit_ns()
        elapsed = self._steady_ns() - self._anchor_steady_ns
        return min(self._anchor_market_ns + int(elapsed * self.speed), self.limit_ns())

    def limit_ns(self) -> int:
        """Return where the market stops by itself: the asked time or its end."""
        return min(self._until_ns or FAR_NS, self.end_ns or FAR_NS)

    def wall_wait_s(self, market_ns: int) -> float:
        """Return wall seconds until `market_ns` is due; infinite while the market stands."""
        if not self.running:
            return math.inf
        return max(0.0, (market_ns - self.target_ns()) / self.speed / 1e9)

    @property
    def forwarding(self) -> bool:
        """Return whether the market runs to an asked time, as fast as frames can be sent."""
        return self.running and (self._until_ns is not None or math.isinf(self.speed))

    def lag_s(self) -> float:
        """Return how far, in wall seconds, events are handled behind their time (0 in a fast-forward)."""
        if not self.running or self.forwarding:
            return 0.0
        return max(0.0, (self.target_ns() - self.horizon_ns) / self.speed / 1e9)

    def pause(self) -> None:
        """Stand still."""
        self._anchor()
        self.running, self._until_ns = False, None
        self.changed()

    def resume(self) -> None:
        """Go on at the clock's speed; at the end of the market nothing is left to go on with."""
        self._anchor()
        self._until_ns = None
        self.running = not self.ended
        self.changed()

    def speed_set(self, speed: float) -> None:
        """Change the speed from now on."""
        if not speed > 0:
            raise ValueError(f"speed must be above 0 (it is {speed})")
        self._anchor()
        self.speed = speed
        self.changed()

    def run_until(self, until_ns: int) -> None:
        """Run as fast as frames can be sent, and stand at `until_ns`."""
        self._anchor()
        self._until_ns = max(until_ns, self._anchor_market_ns)
        self.running = not self.ended
        self.changed()

    def step(self, minutes: int = 1) -> None:
        """Run to the end of the present minute, or of the one `minutes - 1` further on."""
        if minutes < 1:
            raise ValueError(f"step must be at least 1 minute (it is {minutes})")
        self.run_until((self.market_ns() // MINUTE_NS + minutes) * MINUTE_NS)

    def halt(self, symbol: str | None = None) -> None:
        """Stop trading in one symbol (both kinds), or in all with None; time goes on."""
        self.halts.add(symbol or "*")
        self.changed()

    def unhalt(self, symbol: str | None = None) -> None:
        """End a halt; None ends all."""
        if symbol is None:
            self.halts.clear()
        self.halts.discard(symbol or "*")
        self.changed()

    def halted(self, symbol: str) -> bool:
        """Return whether trading in `symbol` is halted."""
        return bool(self.halts) and ("*" in self.halts or symbol in self.halts)

    def stop_reached(self) -> None:
        """Stand at the limit: the driver calls this when everything up to it has been sent."""
        limit = self.limit_ns()
        self.horizon_ns = max(self.horizon_ns, limit)
        self._now_ns = max(self._now_ns, limit)
        self._anchor_market_ns = limit
        self.ended = self.end_ns is not None and limit >= self.end_ns
        self.running, self._until_ns = False, None

    def as_dict(self) -> dict[str, object]:
        """Return what `GET /clock` shows."""
        return {
            "market_ns": self.market_ns(),
            "wall_ns": self.wall_ns(),
            "speed": "max" if math.isinf(self.speed) else self.speed,
            "running": self.running,
            "ended": self.ended,
            "from_ns": self.from_ns,
            "to_ns": self.end_ns,
            "until_ns": self._until_ns,
            "mode": self.mode,
            "halted": sorted(self.halts),
            "lag_s": round(self.lag_s(), 3),
        }

    def _anchor(self) -> None:
        self._anchor_market_ns = self.market_ns()
        self._anchor_steady_ns = self._steady_ns()
