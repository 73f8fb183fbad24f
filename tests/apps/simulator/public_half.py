"""The public half on a port of its own, driven by any source, without the exchange half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from apps.simulator.markets.base import MarketSource
from apps.simulator.markets.board import MarketBoard
from apps.simulator.markets.clock import MarketClock
from apps.simulator.markets.driver import Driver
from apps.simulator.public.assembly import PublicSide
from apps.simulator.public.broadcast import FrameWatch


class PublicHalf:
    """A running market: `rest` and `socket` addresses, and the parts for a test to look at."""

    def __init__(self, source: MarketSource, clock: MarketClock, watch: FrameWatch | None = None) -> None:
        self.clock = clock
        self.board = MarketBoard(source.instruments(), clock.market_ns() // 60_000_000_000 * 60_000_000_000)
        self.public = PublicSide(self.board, clock, clock.wall_ns, watch)
        self.driver = Driver(source, clock, self.board, [self.public.broadcaster], self.public.broadcaster)
        self.rest = self.socket = ""

    def urls(self) -> dict:
        """Return what a ccxt constructor wants as `urls`."""
        rest, socket = self.rest, self.socket
        return {
            "api": {
                **dict.fromkeys(("spot", "futures", "v2", "public", "private"), rest),
                "ws": {
                    "public": {kind: f"{socket}/v5/public/{kind}" for kind in ("spot", "linear", "inverse", "option")},
                },
            }
        }


@asynccontextmanager
async def running(half: PublicHalf, port: int = 0) -> AsyncIterator[PublicHalf]:
    """Serve on this port, or a free one, and move the market until the block ends."""
    app = web.Application()
    half.public.mount(app)
    half.driver.prepare()
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    port = runner.addresses[0][1]
    half.rest, half.socket = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
    tasks = [asyncio.create_task(half.driver.run()), asyncio.create_task(half.public.broadcaster.repeat_touches())]
    try:
        yield half
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await runner.cleanup()
