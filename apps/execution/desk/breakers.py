"""Breakers on the market clock: a loss of the day past its limit halts the account, or the deployment that made it."""

import structlog

from apps.execution.desk.core import DeskCore
from apps.execution.desk.figures import Accounts
from apps.execution.desk.guard import Guard
from apps.execution.desk.writer import Writer
from apps.execution.origins import Blocker
from apps.risk.services import HaltRow
from trader.core.risk import BreakerInputs, BreakerLimits, breakers

log = structlog.get_logger(__name__)


class Breakers:
    """Looks once a market minute; a halt stands until a person ends it."""

    def __init__(self, core: DeskCore, accounts: Accounts, guard: Guard, writer: Writer) -> None:
        self._core = core
        self._accounts = accounts
        self._guard = guard
        self._writer = writer

    def look(self, owners: list[str]) -> None:
        """Ask the core's breakers for the account and for each deployment."""
        limits = self._guard.limits
        day = self._accounts.day
        equity = self._accounts.equity()
        if limits is None or day.number < 0:
            return
        for owner in ("", *owners):
            own = limits.owner(owner, -1) if owner else limits.net(-1)
            if own.daily_loss is None or self._is_halted(owner):
                continue
            inputs = BreakerInputs(
                day_start_equity=day.equity,
                day_profit=self._accounts.profit_of_day(owner or None),
                peak_equity=day.peak,
                equity=equity,
            )
            for trip in breakers(inputs, BreakerLimits(daily_loss=own.daily_loss, venue_errors=None)):
                self._halt(owner, HaltRow.of_trip(
                    trip, account_id=self._core.account.id, market_ns=self._core.market_ns, deployment_key=owner
                ))  # fmt: skip

    def _is_halted(self, owner: str) -> bool:
        return owner in self._core.owner_blocks if owner else Blocker.HALT in self._core.blocks

    def _halt(self, owner: str, halt: HaltRow) -> None:
        log.error("halted", owner=owner or "account", cause=halt.cause, detail=halt.detail)
        if owner:
            self._core.owner_blocks[owner] = halt.detail
        else:
            self._core.block(Blocker.HALT, halt.detail)
        self._writer.halt(halt)
