"""What the parts of one simulated exchange share; built once by `simulate`, handed to every handler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from apps.simulator.exchange.auth import Keys
    from apps.simulator.exchange.engine import Engine
    from apps.simulator.exchange.faults import Faults
    from apps.simulator.exchange.ledger import Ledger
    from apps.simulator.exchange.limits import Limits
    from apps.simulator.exchange.private_socket import PrivateHub
    from apps.simulator.markets.base import InstrumentSpec, Key
    from apps.simulator.markets.board import MarketBoard
    from apps.simulator.markets.clock import MarketClock
    from apps.simulator.markets.driver import Driver


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """What the command line says about the exchange half.

    `state_dir` is its own folder (made with mode 700). `limits_on` False switches every rate limit off.
    `key` and `secret` make one account with 100,000 USDT; without them DIR/keys.json is read.
    """

    state_dir: Path
    key: str = ""
    secret: str = ""
    limits_on: bool = True
    record_all_frames: bool = False


@dataclass(slots=True)
class ExchangeContext:
    """One exchange: its market (clock, board, specs), its books (engine), what it remembers and how it misbehaves.

    `server.exchange_build(...)` makes it. Public handlers use `specs`, `board`, `clock`, `wall_ns()`,
    `faults` and `ledger`; `driver` is set by `simulate` when the market begins to move.
    """

    options: ExchangeOptions
    clock: MarketClock
    board: MarketBoard
    specs: Mapping[Key, InstrumentSpec]
    ledger: Ledger
    faults: Faults
    limits: Limits
    keys: Keys
    engine: Engine
    private: PrivateHub
    driver: Driver | None = None
    control_token: str = field(default="", repr=False)

    def wall_ns(self) -> int:
        """Return the venue's wall clock, which a fault may have put off: what `time` shows and signatures meet."""
        return self.clock.wall_ns() + self.faults.clock_off_ns()

    def market_ns(self) -> int:
        """Return the market clock: what stamps orders, fills and prints."""
        return self.clock.market_ns()


# where a handler finds the context: `request.app[CONTEXT]`
CONTEXT: web.AppKey[ExchangeContext] = web.AppKey("exchange_context", object)  # type: ignore[arg-type]
