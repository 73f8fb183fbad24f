"""What a desk tells of itself: its state and lag, the account's figures, a snapshot of equity each market minute."""

import asyncio
import time
from dataclasses import dataclass, field
from decimal import Decimal
from math import isnan

from apps.common.redis_clients import BUS_ERRORS
from apps.execution.desk.breakers import Breakers
from apps.execution.desk.core import DeskCore
from apps.execution.desk.decide import Decider
from apps.execution.desk.figures import Accounts
from apps.execution.desk.guard import Guard
from apps.execution.desk.model import MANUAL, UNATTRIBUTED_OWNER
from apps.execution.desk.stops import Stops
from apps.execution.desk.track import Tracker
from apps.execution.desk.watch import Watch
from apps.execution.desk.writer import Writer
from apps.execution.events import AccountState, DeskHealth
from apps.execution.origins import Blocker
from apps.risk.events import RiskHealth

MINUTE_NS = 60_000_000_000
BEAT_S = 1.0
QUICK_S = 0.01
ACCOUNT_S = 0.25


@dataclass
class Health:
    """Publishes when something changed, at least once a second, at most every 10 ms."""

    core: DeskCore
    accounts: Accounts
    guard: Guard
    watch: Watch
    decider: Decider
    tracker: Tracker
    stops: Stops
    breakers: Breakers
    writer: Writer
    state: str = "starting"
    why: str = ""
    done_ns: int = 0
    _minute: int = 0
    _told: tuple[object, ...] = field(default=())
    _account_at: float = 0.0

    def set(self, state: str, why: str = "") -> None:
        """Say where the desk is in its life."""
        self.state, self.why = state, why
        shown, why = self._shown_state()
        self.core.lease.report(state=shown, why=why)
        self.core.wake.set()

    async def run(self) -> None:
        """Beat for ever."""
        core = self.core
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    await core.wake.wait()
            except TimeoutError:
                pass
            core.wake.clear()
            self.watch.judge()
            self._advance()
            self._snapshot()
            await self._tell()
            await asyncio.sleep(QUICK_S)

    def _advance(self) -> None:
        """Move `done_ns` on: every member stepped to there, nothing decided or in flight, stops in place."""
        if self.decider.is_busy or self.tracker.in_flight() or self.stops.is_busy():
            return
        reached = [
            deployed.newest_of_all() + deployed.timeframe_ns
            for deployed in self.decider.deployments.values()
            if deployed.members and deployed.newest_of_all()
        ]
        if reached:
            self.done_ns = max(self.done_ns, min(reached))

    def lag_s(self) -> float:
        """How far the features are behind the newest closed bar that was given, in market seconds; 0 when idle."""
        return max((one.behind_ns() for one in self.decider.deployments.values()), default=0) / 1e9

    def _snapshot(self) -> None:
        """Keep the equity of each finished market minute, once."""
        core = self.core
        minute = core.market_ns // MINUTE_NS
        if minute <= self._minute or not core.market_ns:
            return
        figures = self.accounts.figures()
        if figures is None:
            return
        self._minute = minute
        self.breakers.look(list(self.decider.deployments))
        self.writer.equity(
            (
                minute * MINUTE_NS, core.now_ns(), figures.equity, figures.cash, figures.realised,
                figures.unrealised, figures.fees, figures.funding, figures.gross, figures.net,
                self.accounts.margin(),
            )
        )  # fmt: skip

    def _shown_state(self) -> tuple[str, str]:
        """The state to show: what blocks new risk comes before `trading`."""
        core = self.core
        if self.state != "trading":
            return self.state, self.why
        verdict = core.kill.verdict(core.scopes(MANUAL))
        if verdict.state == "engaged":
            return "killed", verdict.why
        if self.watch.is_ended:
            return "ended", "the market has ended"
        blocked = core.why_no_risk(UNATTRIBUTED_OWNER, -1)
        return ("blocked", blocked[1]) if blocked else ("trading", "")

    async def _tell(self) -> None:
        core = self.core
        state, why = self._shown_state()
        now = time.monotonic()
        lag_s = self.lag_s()
        holes = self.decider.follower.holes
        core.lease.report(
            state=state,
            lag_s=round(lag_s, 3),
            why=why,
            detail="; ".join(holes.words()),
            deployments={**holes.waiting(), **core.code_blocks, **core.owner_blocks},
        )
        wire = core.decision_to_wire_ms
        messages = [
            (
                f"health.desk.{core.account.id}",
                DeskHealth(
                    account=core.account.id,
                    state=state,
                    why=why or "; ".join(holes.words()),
                    lag_s=lag_s,
                    done_ns=self.done_ns,
                    decision_to_wire_ms=sorted(wire)[len(wire) * 99 // 100] if wire else None,
                    market_ns=core.market_ns,
                    wall_ns=core.now_ns(),
                    foreign_orders=len(core.books.foreign),
                    kill=core.kill.verdict(core.scopes(MANUAL)).state,
                ),
            )
        ]
        if now - self._account_at >= ACCOUNT_S:
            self._account_at = now
            messages.append((f"account.{core.account.id}", self._account()))
            messages.append((f"health.risk.{core.account.id}", self._risk()))
        try:
            async with asyncio.timeout(1.0):
                await core.bus.publish_many(messages)
        except (*BUS_ERRORS, TimeoutError):
            pass  # a state is told again; that the bus is gone, the kill switch's readings say

    def _risk(self) -> RiskHealth:
        """Whether new risk may leave, and the figures beside their limits, of the account's net book."""
        core = self.core
        verdict = core.kill.verdict(core.scopes(MANUAL))
        halts = [
            *core.owner_blocks.values(),
            *core.code_blocks.values(),
            *([core.blocks[Blocker.HALT]] if Blocker.HALT in core.blocks else []),
        ]
        return RiskHealth(
            account_id=core.account.id,
            kill=verdict.state,
            kill_why=verdict.why,
            kill_age_ms=verdict.age_ms,
            halts=halts,
            figures=self.guard.figures(),
            market_ns=core.market_ns,
            wall_ns=core.now_ns(),
        )

    def _account(self) -> AccountState:
        core = self.core
        figures = self.accounts.figures()
        day = self.accounts.day
        margin = self.accounts.margin()
        return AccountState(
            account_id=core.account.id,
            equity=_number(figures.equity if figures else None),
            cash=_number(figures.cash if figures else None),
            realised_today=self.accounts.realised_today(),
            unrealised=_number(figures.unrealised if figures else None),
            fees=_number(figures.fees if figures else None),
            funding=_number(figures.funding if figures else None),
            gross=_number(figures.gross if figures else None),
            net=_number(figures.net if figures else None),
            drawdown=self.accounts.drawdown(),
            orders_minute=core.books.sends_last_minute(core.market_ns),
            day_start_equity=0.0 if isnan(day.equity) else day.equity,
            market_ns=core.market_ns,
            limits=self.guard.account_limits(),
            margin=None if margin is None else float(margin),
        )


def _number(value: Decimal | None) -> float:
    return float(value) if value is not None else 0.0
