"""Moves the market: takes events from the source when their time has come and hands them on.

Each event goes, synchronously and in this order, to the board, the engine and the public side, so an
order is matched before the print that matched it is published, and whoever reads the board between
two events sees one moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

from apps.simulator.markets.base import (
    MINUTE_NS,
    BookEvent,
    EventSink,
    FundingEvent,
    Key,
    MarketEvent,
    MarketSource,
    MarkEvent,
    MinuteEnd,
    PrintEvent,
)
from apps.simulator.markets.board import MarketBoard
from apps.simulator.markets.clock import FAR_NS, MarketClock

log = logging.getLogger("simulator.market")

SLICE_S = 0.004  # how long events are handled before sockets and requests have their turn
SATURATED_S = 1.0  # so late, in wall seconds, that it is said aloud
SAY_AGAIN_S = 10.0
ASLEEP_MINUTES = 5  # a synthetic market this far behind lets the missed minutes pass as bars


class Outlet(Protocol):
    """Where frames leave; the driver waits for it so that no queue grows without bound."""

    async def drained(self) -> None:
        """Return when the frames queued now may be followed by more."""
        ...

    async def flushed(self) -> None:
        """Return when every frame queued now has been written."""
        ...


class Driver:
    """One market's motor. `sinks` are fed in their order; `outlet` gives back-pressure."""

    def __init__(
        self,
        source: MarketSource,
        clock: MarketClock,
        board: MarketBoard,
        sinks: Sequence[EventSink],
        outlet: Outlet | None = None,
    ) -> None:
        self.source, self.clock, self.board, self.outlet = source, clock, board, outlet
        self.saturated = False
        self.events_handled = 0
        everyone = (board, *sinks)
        self._sinks = tuple(sinks)
        self._handlers: dict[type, tuple[Callable[[Any], None], ...]] = {
            PrintEvent: tuple(sink.on_print for sink in everyone),
            BookEvent: tuple(sink.on_book for sink in everyone),
            MarkEvent: tuple(sink.on_mark for sink in everyone),
            FundingEvent: tuple(sink.on_funding for sink in everyone),
            MinuteEnd: tuple(sink.on_minute_end for sink in everyone),
        }
        self._changed = asyncio.Event()
        self._stood = asyncio.Condition()
        self._said_s = -SAY_AGAIN_S
        self._open_ns = clock.market_ns() // MINUTE_NS * MINUTE_NS
        self._events: Iterator[MarketEvent] = iter(())
        self._next: MarketEvent | None = None
        clock.changed = self._changed.set

    def prepare(self) -> None:
        """Fill the board: history, the opening, and what of the running minute is already past.

        The engine and the public side get the books and marks that stand, not the prints that were.
        """
        for state in self.board.states.values():
            self.board.history_load(state.spec.key, self.source.history(state.spec.key, self._open_ns))
            state.open_ns = self._open_ns
            state.funding = self.source.fundings(state.spec.key, self._open_ns)
        standing: dict[tuple[type, Key], MarketEvent] = {}
        for event in self.source.opening():
            if isinstance(event, BookEvent | MarkEvent):
                standing[type(event), event.key] = event
        for event in standing.values():
            self._board_only(event)
        self._events = iter(()) if self.clock.ended else self.source.minute(self._open_ns)
        self._advance()
        now_ns = self.clock.market_ns()
        while self._next is not None and self._next.market_ns <= now_ns and not isinstance(self._next, MinuteEnd):
            self._board_only(self._next)
            if isinstance(self._next, BookEvent | MarkEvent):
                standing[type(self._next), self._next.key] = self._next
            self._advance()
        for event in standing.values():
            for handler in self._handlers[type(event)][1:]:
                handler(event)

    async def run(self) -> None:
        """Move the market until cancelled."""
        while True:
            self._changed.clear()
            self.clock.horizon_ns = max(self.clock.horizon_ns, min(self._next_ns(), self.clock.limit_ns()))
            await self._move()
            if self.clock.running and self._limit_reached():
                await self._reach()
            if not self.clock.running:
                await self._stand()
            wait_s = min(self.clock.wall_wait_s(self._next_ns()), 1.0)
            if wait_s <= 0:
                await asyncio.sleep(0)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    async def stood(self) -> None:
        """Return when the market stands: paused, at the time it was to run until, or at its end."""
        async with self._stood:
            await self._stood.wait_for(lambda: not self.clock.running)

    async def until_reached(self, until_ns: int) -> None:
        """Run the market until `until_ns`; return when all frames up to it are written."""
        self.clock.run_until(until_ns)
        await self.stood()

    async def _move(self) -> None:
        began_s = time.perf_counter()
        while self._next is not None and self._next.market_ns <= self.clock.target_ns() and self.clock.running:
            self._skip_if_asleep()
            self._handle_due(began_s + SLICE_S)
            self._watch_lag()
            if self.outlet is not None:
                await self.outlet.drained()
            await asyncio.sleep(0)
            began_s = time.perf_counter()

    def _handle_due(self, stop_s: float) -> None:
        target_ns = self.clock.target_ns()
        while self._next is not None and self._next.market_ns <= target_ns:
            event = self._next
            self._advance()
            self.clock.horizon_ns = event.market_ns
            self.events_handled += 1
            if not self._withheld(event):
                for handler in self._handlers[type(event)]:
                    handler(event)
            if time.perf_counter() >= stop_s:
                break
        self.clock.horizon_ns = min(self._next_ns(), self.clock.limit_ns())

    def _withheld(self, event: MarketEvent) -> bool:
        return (
            bool(self.clock.halts)
            and not isinstance(event, MinuteEnd | FundingEvent)
            and self.clock.halted(event.symbol)
        )

    def _advance(self) -> None:
        """Take the next event; after the end of a minute the next minute begins, up to the market's end."""
        self._next = next(self._events, None)
        while self._next is None and self._open_ns + MINUTE_NS < (self.clock.end_ns or FAR_NS):
            self._open_ns += MINUTE_NS
            self._events = self.source.minute(self._open_ns)
            self._next = next(self._events, None)

    def _board_only(self, event: MarketEvent) -> None:
        self._handlers[type(event)][0](event)

    def _next_ns(self) -> int:
        return self._next.market_ns if self._next is not None else self.clock.end_ns or FAR_NS

    def _limit_reached(self) -> bool:
        limit_ns = self.clock.limit_ns()
        exhausted = self._next is None or self._next.market_ns > limit_ns
        return exhausted and self.clock.target_ns() >= limit_ns

    async def _reach(self) -> None:
        if self.outlet is not None:
            await self.outlet.flushed()
        if self.clock.running and self._limit_reached():  # nobody moved the limit while the last frames went out
            self.clock.stop_reached()

    async def _stand(self) -> None:
        async with self._stood:
            self._stood.notify_all()

    def _skip_if_asleep(self) -> None:
        """After the machine slept, a market at wall speed lets the missed minutes pass as bars."""
        missed = (self.clock.target_ns() - self._open_ns) // MINUTE_NS
        if self.clock.mode != "synthetic" or self.clock.lag_s() < ASLEEP_MINUTES * 60 or missed < ASLEEP_MINUTES:
            return
        now_open_ns = self._open_ns + missed * MINUTE_NS
        for key, state in self.board.states.items():
            rows = self.source.history(key, now_open_ns)
            self.board.minutes_add(key, rows[rows["open_ns"] >= state.open_ns])
        log.warning("the market was asleep: %d minutes passed as bars", missed)
        self._open_ns = now_open_ns
        self._events = self.source.minute(now_open_ns)
        self._advance()

    def _watch_lag(self) -> None:
        lag_s = self.clock.lag_s()
        self.saturated = lag_s > SATURATED_S
        now_s = time.monotonic()
        if self.saturated and now_s - self._said_s > SAY_AGAIN_S:
            self._said_s = now_s
            log.warning(
                "saturated: frames leave %.1f s late; lower the speed, or have fewer instruments or subscribers", lag_s
            )
