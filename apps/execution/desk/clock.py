"""The venue's clock: measured often, at once when a signature was refused for its time, and signed with."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from apps.common.clocks import boottime_ns
from apps.execution.brokers.base import SignatureRefused
from apps.execution.desk.core import DeskCore
from trader.core.types import VenueError

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")


class VenueClock:
    """Keeps signatures in the venue's time. New risk is blocked while the clocks differ; cancels and exits pass."""

    def __init__(self, core: DeskCore) -> None:
        self._core = core
        self._lock = asyncio.Lock()
        self._measured_ns = 0

    async def measure(self) -> bool:
        """Measure, and sign with the venue's clock from now on; False where the venue does not say."""
        core = self._core

        async def fetch() -> int:
            return await core.broker.wall_ms() * 1_000_000

        asked_ns = boottime_ns()
        try:
            await core.clocks.measure(core.account.venue_code, fetch)
        except VenueError as error:
            log.warning("venue's clock not measured", error=str(error)[:200])
            return False
        core.broker.clock_correct(-round(core.clocks.offset_ms(core.account.venue_code) or 0.0))
        self._measured_ns = asked_ns
        core.wake.set()
        return True

    async def signed(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask the venue; where it refuses the signature's time, measure its clock and ask once more at once.

        For what adds no risk: cancels, stops, exits, questions. The venue has not looked at the first request.
        """
        started_ns = boottime_ns()
        try:
            return await ask()
        except SignatureRefused as error:
            if not await self.mended(started_ns, str(error)):
                raise
        return await ask()

    async def mended(self, since_ns: int, why: str) -> bool:
        """After a refusal of a request begun at `since_ns` (BOOTTIME): whether the clock is measured anew since."""
        async with self._lock:
            if self._measured_ns > since_ns:
                return True
            log.warning("the venue refuses the time of a signature: measuring its clock", why=why[:200])
            return await self.measure()
