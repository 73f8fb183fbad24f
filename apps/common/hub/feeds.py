"""What the hub remembers of a topic and of a browser."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from apps.common.hub.frames import Frame, parts_frame
from apps.common.hub.writers import Writer

RING = 512  # deltas kept to bring a browser up to date without a snapshot


@dataclass(eq=False)
class Client:
    """A browser's socket. What it has not got is remembered as sets of topics, never as a queue of messages."""

    user: Any
    writer: Writer
    states: frozenset[str] = frozenset()
    logs: dict[str, int] = field(default_factory=dict)  # topic -> newest number sent
    dirty: frozenset[str] = frozenset()  # state topics changed since the last frame
    behind: set[str] = field(default_factory=set)  # log topics that need a snapshot
    retry_at: float = 0.0  # when a failed snapshot is tried again, monotonic
    stuck_since: float | None = None

    @property
    def topics(self) -> set[str]:
        """Return the names of the topics it has, in a set of the caller's own."""
        return {*self.states, *self.logs, *self.behind}


@dataclass(eq=False)
class StateFeed:
    """The newest value of a state topic, as JSON, encoded once."""

    name: str
    clients: set[Client] = field(default_factory=set)
    body: bytes | None = None


@dataclass(eq=False)
class LogFeed:
    """The newest deltas of a log topic, encoded once."""

    name: str
    clients: set[Client] = field(default_factory=set)
    last: int | None = None  # None until the stream's end is known
    ring: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=RING))
    unsent_from: int = 0  # first number of the ring that waits for the next frame; 0 when none does
    filling: bool = False
    look_again: bool = False  # something was heard during a look at the stream: its answer may lack that
    parked: str = ""  # why messages cannot be read; empty when they can

    def add(self, number: int, part: bytes) -> None:
        """Append a delta that follows the last."""
        self.ring.append((number, part))
        self.last = number
        self.unsent_from = self.unsent_from or number

    def restart(self, number: int) -> None:
        """Go on behind a hole that could not be filled."""
        self.ring.clear()
        self.unsent_from = 0
        self.last = number

    def after(self, number: int) -> list[bytes] | None:
        """Return the deltas that follow a number; None when the ring does not reach back so far."""
        if self.last is None or number > self.last:
            return []
        if number == self.last:
            return []
        if not self.ring or self.ring[0][0] > number + 1:
            return None
        return [part for found, part in self.ring if found > number]


def frame_after(feeds: list[LogFeed], places: tuple[tuple[str, int], ...]) -> Frame | None:
    """Return the frame of all deltas behind these places; an empty one where there are none, None past the ring."""
    parts: list[bytes] = []
    for feed, (_, number) in zip(feeds, places, strict=True):
        found = feed.after(number)
        if found is None:
            return None
        parts += found
    return parts_frame(parts) if parts else Frame(b"")
