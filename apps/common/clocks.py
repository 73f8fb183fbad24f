"""Clocks: the one that leases trust, and how far a venue's wall clock is from ours."""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

# MONOTONIC stands still in suspend on Linux, so a laptop that wakes would trust a dead lease.
# macOS has no BOOTTIME; its MONOTONIC counts sleep.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
MAX_OFFSET_MS = 500.0
SAMPLES_KEPT = 8
# between two true readings: the venue's clock counts in milliseconds, and quartz drifts some 100 ppm in two minutes
SLACK_MS = 20.0
VALID_S = 120.0


def boottime_ns() -> int:
    """Return nanoseconds since the machine started, suspend included. Never set back."""
    return time.clock_gettime_ns(_BOOTTIME)


def wall_ns() -> int:
    """Return real time in UTC nanoseconds since 1970."""
    return time.time_ns()


@dataclass(frozen=True)
class ClockSample:
    """One reading of a venue's clock."""

    offset_ms: float  # venue minus ours
    round_trip_ms: float
    boottime_ns: int

    def agrees(self, other: "ClockSample") -> bool:
        """Whether one offset can have made both: each is sure to half its round trip."""
        unsure_ms = (self.round_trip_ms + other.round_trip_ms) / 2 + SLACK_MS
        return abs(self.offset_ms - other.offset_ms) <= unsure_ms


class ClockWatch:
    """Measures venues' wall clocks against ours; more than 500 ms off, or unknown, blocks new risk.

    Cancels and reducing orders do not ask it.
    """

    def __init__(self, max_offset_ms: float = MAX_OFFSET_MS, valid_s: float = VALID_S) -> None:
        self.max_offset_ms = max_offset_ms
        self.valid_s = valid_s
        self._samples: dict[str, deque[ClockSample]] = {}

    def record(self, venue: str, venue_ns: int, sent_ns: int, received_ns: int) -> ClockSample:
        """Add a reading: the venue said `venue_ns` to a request sent and answered at our wall times.

        Earlier readings that cannot be true beside it are forgotten: a clock was set, and the newest says how it is.
        """
        round_trip_ns = max(received_ns - sent_ns, 0)
        offset_ns = venue_ns - (sent_ns + round_trip_ns // 2)
        sample = ClockSample(offset_ns / 1e6, round_trip_ns / 1e6, boottime_ns())
        agreeing = [one for one in self._samples.get(venue, ()) if one.agrees(sample)]
        self._samples[venue] = deque([*agreeing, sample], maxlen=SAMPLES_KEPT)
        return sample

    async def measure(self, venue: str, fetch: Callable[[], Awaitable[int]]) -> ClockSample:
        """Ask the venue for its time in UTC nanoseconds and record it. Errors pass through."""
        sent = wall_ns()
        venue_ns = await fetch()
        return self.record(venue, venue_ns, sent, wall_ns())

    def offset_ms(self, venue: str) -> float | None:
        """Return the venue's clock minus ours, from the quickest valid answer since a clock was set; None: unknown."""
        oldest = boottime_ns() - int(self.valid_s * 1e9)
        valid = [sample for sample in self._samples.get(venue, ()) if sample.boottime_ns >= oldest]
        return min(valid, key=lambda sample: sample.round_trip_ms).offset_ms if valid else None

    def why_blocked(self, venue: str) -> str:
        """Say in words why new risk is blocked by the clock; empty when it is not."""
        offset = self.offset_ms(venue)
        if offset is None:
            return f"the clock of {venue} has not been measured for {self.valid_s:.0f} s"
        if abs(offset) > self.max_offset_ms:
            side = "ahead of" if offset > 0 else "behind"
            return f"the clock of {venue} is {abs(offset):.0f} ms {side} ours; the limit is {self.max_offset_ms:.0f} ms"
        return ""

    def adds_risk_allowed(self, venue: str) -> bool:
        """Say whether the venue's clock is known and near enough for new risk."""
        return not self.why_blocked(venue)
