"""The public half, put together for one exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec
from aiohttp import web

from apps.simulator.markets.board import MarketBoard
from apps.simulator.markets.clock import MarketClock
from apps.simulator.public.broadcast import Broadcaster, FrameWatch
from apps.simulator.public.rest import PublicRest
from apps.simulator.public.sockets import PublicSockets


class FrameFaults(Protocol):
    """What the exchange's faults say of public frames."""

    def frame_fate(self, topic: str) -> int:
        """Return how many times to write this frame: 0 dropped, 1 normal, 2 doubled."""
        ...

    def frames_held(self, topic: str, frame: bytes, write: Callable[[bytes], None]) -> bool:
        """Return whether the frame is held back; it is written later, out of its order."""
        ...

    def silent(self, which: str) -> bool:
        """Return whether sockets of that name write nothing at all."""
        ...


class FrameLedger(Protocol):
    """What the exchange's ledger keeps of public frames."""

    all_frames: bool

    def add(self, kind: str, market_ns: int, wall_ns: int | None = None, **fields: Any) -> Any:
        """Record a row; `wall_ns` is before the frame's write to any socket."""
        ...


class ExchangeWatch(FrameWatch):
    """Lets the exchange's faults act on public frames, and its ledger record them.

    Faults name a frame by its topic. Recorded are confirmations of klines and each minute's last print, with
    topic and category; all frames where asked.
    """

    def __init__(self, faults: FrameFaults, ledger: FrameLedger, wall_ns: Callable[[], int]) -> None:
        self._faults, self._ledger, self._wall_ns = faults, ledger, wall_ns
        self._last_print: dict[tuple[str, str], tuple[int, bytes, int]] = {}

    def frame(
        self, kind: str, topic: str, frame: bytes, market_ns: int, note: str, write: Callable[[bytes], None]
    ) -> Iterable[bytes]:
        """Return the frames to write now in place of this one."""
        wall_ns = self._wall_ns()
        if self._ledger.all_frames or note == "confirm":
            self._record(kind, topic, frame, market_ns, wall_ns)
        elif note == "print":
            self._last_print[kind, topic] = (market_ns, frame, wall_ns)
        if self._faults.frames_held(topic, frame, write):
            return ()
        return (frame,) * self._faults.frame_fate(topic)

    def silent(self) -> bool:
        """Return whether public sockets write nothing."""
        return self._faults.silent("public")

    def minute_ended(self) -> None:
        """Record each topic's last print of the minute, before its confirmation goes out."""
        for (kind, topic), (market_ns, frame, wall_ns) in self._last_print.items():
            self._record(kind, topic, frame, market_ns, wall_ns)
        self._last_print.clear()

    def _record(self, kind: str, topic: str, frame: bytes, market_ns: int, wall_ns: int) -> None:
        self._ledger.add("frame", market_ns, wall_ns, topic=topic, category=kind, body=msgspec.Raw(frame))


class PublicSide:
    """REST, sockets and the broadcaster of one exchange; the broadcaster is the driver's sink and outlet."""

    def __init__(
        self,
        board: MarketBoard,
        clock: MarketClock,
        wall_ns: Callable[[], int],
        watch: FrameWatch | None = None,
        limited: bool = True,
    ) -> None:
        self.broadcaster = Broadcaster(board, clock, watch)
        self._rest = PublicRest(board, clock, wall_ns)
        self._sockets = PublicSockets(self.broadcaster, limited)

    def mount(self, app: web.Application, context: object = None) -> None:
        """Add the public routes to the exchange's application."""
        app.add_routes(self._rest.routes())
        app.add_routes(self._sockets.routes())
