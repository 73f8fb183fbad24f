"""A resident that writes down, each few milliseconds, under which fence it thought it might add risk."""

import asyncio
import os

from apps.common.clocks import boottime_ns
from apps.common.residents import ResidentContext


def drill_keys() -> list[str]:
    """Return the key in QD_TEST_DRILL_KEY."""
    return [os.environ.get("QD_TEST_DRILL_KEY", "one")]


class Drill:
    """Acts every 5 ms while its lease lets it, into the bus list `drill:<key>`."""

    def __init__(self, key: str, context: ResidentContext) -> None:
        self.key, self.context = key, context

    async def run(self) -> None:
        """Act until stopped; the check is right before the write, as at a venue's socket."""
        self.context.lease.report(state="ready", lag_s=0.0)
        while not self.context.stop.is_set():
            if self.context.lease.adds_risk_allowed():
                act = f"{self.context.lease.fence} {boottime_ns()} {os.getpid()}"
                await self.context.bus.redis.rpush(f"drill:{self.key}", act)
            await asyncio.sleep(0.005)
