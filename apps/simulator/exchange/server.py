"""Builds the exchange and its two servers: REST and sockets on one port, the control address on another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from aiohttp import web

from apps.simulator.exchange import order_socket
from apps.simulator.exchange.auth import Keys, token_make
from apps.simulator.exchange.context import CONTEXT, ExchangeContext, ExchangeOptions
from apps.simulator.exchange.control import control_routes
from apps.simulator.exchange.engine import Engine
from apps.simulator.exchange.faults import Faults
from apps.simulator.exchange.ledger import Ledger
from apps.simulator.exchange.limits import Limits
from apps.simulator.exchange.private_socket import PrivateHub
from apps.simulator.exchange.requests import gateway, private_routes
from apps.simulator.exchange.store import Store
from apps.simulator.markets.board import MarketBoard
from apps.simulator.markets.clock import MarketClock

FLUSH_S = 0.25
BODY_MAX = 1 << 20
Mount = Callable[[web.Application, ExchangeContext], None]


def exchange_build(options: ExchangeOptions, clock: MarketClock, board: MarketBoard) -> ExchangeContext:
    """Open the state folder, take up what it holds, and make the exchange on this market.

    Raises StoreError (folder in use, or of another version) and KeyFileError.
    """
    store = Store(options.state_dir)
    keys = Keys(options.state_dir, options.key, options.secret)
    faults = Faults()
    ledger = Ledger(store, all_frames=options.record_all_frames)
    engine = Engine(store, ledger, clock, board, faults)
    for entry in keys.all():
        engine.account_of(entry)
    private = PrivateHub(keys, engine, clock, faults, ledger)
    engine.changes.publish = private.publish
    return ExchangeContext(
        options=options,
        clock=clock,
        board=board,
        specs={key: state.spec for key, state in board.states.items()},
        ledger=ledger,
        faults=faults,
        limits=Limits(on=options.limits_on),
        keys=keys,
        engine=engine,
        private=private,
        control_token=token_make(options.state_dir / "control.token"),
    )


def rest_app(context: ExchangeContext, mounts: Iterable[Mount] = ()) -> web.Application:
    """Return the application of the exchange's own port; `mounts` add the public side."""
    app = web.Application(middlewares=[gateway], client_max_size=BODY_MAX)
    app[CONTEXT] = context
    private_routes(app)
    app.router.add_get("/v5/private", context.private.handle)
    app.router.add_get("/v5/trade", order_socket.handle)
    for mount in mounts:
        mount(app, context)
    app.cleanup_ctx.append(_flushing)
    app.on_shutdown.append(_sockets_close)
    return app


def control_app(context: ExchangeContext) -> web.Application:
    """Return the application of the control address; bind it to loopback only."""
    app = web.Application(client_max_size=BODY_MAX)
    app[CONTEXT] = context
    control_routes(app)
    return app


async def _flushing(app: web.Application) -> AsyncIterator[None]:
    """Write ledger rows that no order took along, every quarter of a second."""
    ledger = app[CONTEXT].ledger

    async def flush() -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            ledger.flush()

    task = asyncio.create_task(flush())
    yield
    task.cancel()


async def _sockets_close(app: web.Application) -> None:
    await app[CONTEXT].private.close()
