"""What the parts of one desk share: the account, its books, the ways out, and why new risk is blocked."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from apps.common.bus import Bus
from apps.common.clocks import ClockWatch, wall_ns
from apps.common.errors import CommonError
from apps.common.governor import Governor
from apps.common.leases import Lease
from apps.common.residents import ResidentContext
from apps.execution.brokers.base import Broker
from apps.execution.brokers.gate import sending
from apps.execution.desk.books import Books
from apps.execution.desk.ids import Ids
from apps.execution.desk.journal import Journal
from apps.execution.desk.model import DeskOrder
from apps.execution.desk.store import Store
from apps.execution.origins import Blocker
from apps.risk.selectors import KillReader, Verdict, scope_account, scope_deployment

log = structlog.get_logger(__name__)
NOT_DEPLOYMENTS = ("manual", "unattributed")


@dataclass(frozen=True)
class AccountInfo:
    """The account as its rows say at the start of a session."""

    id: int
    name: str
    currency: str
    is_live: bool
    venue_id: int
    venue_code: str
    adapter: str
    epoch_id: int
    epoch_number: int
    epoch_kind: str
    install: str
    state_dir: Path
    address: str


@dataclass
class DeskCore:
    """Shared by the modules of a desk; all on one loop. `blocks` says in words what blocks new risk now."""

    account: AccountInfo
    context: ResidentContext
    books: Books
    store: Store
    journal: Journal
    governor: Governor
    clocks: ClockWatch
    kill: KillReader
    broker: Broker = field(init=False)
    blocks: dict[str, str] = field(default_factory=dict)
    owner_blocks: dict[str, str] = field(default_factory=dict)
    code_blocks: dict[str, str] = field(default_factory=dict)
    no_stop: dict[str, str] = field(default_factory=dict)  # deployments that do without stops, with their reason
    lineage: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stale_instruments: set[int] = field(default_factory=set)
    market_ns: int = 0
    session_id: int = 0
    ids: Ids = field(default_factory=Ids)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    failure: BaseException | None = None
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    decision_to_wire_ms: list[float] = field(default_factory=list)
    ask_soon: Callable[[DeskOrder], None] = field(init=False)

    def __post_init__(self) -> None:
        self.store.on_gone = lambda why: self.block(Blocker.DATABASE, f"the database does not answer: {why}")

    @property
    def lease(self) -> Lease:
        return self.context.lease

    @property
    def bus(self) -> Bus:
        return self.context.bus

    def block(self, name: str, why: str) -> None:
        """Block new risk for a reason; the same reason again only renews its words."""
        if name not in self.blocks:
            log.warning("new risk blocked", by=name, why=why)
        self.blocks[name] = why

    def unblock(self, name: str) -> None:
        """Take a reason back."""
        if self.blocks.pop(name, None) is not None:
            log.info("no longer blocked", by=name)

    def scopes(self, owner: str) -> tuple[str, ...]:
        """Kill switch scopes that hold for an owner's orders."""
        account = scope_account(self.account.id)
        if owner in NOT_DEPLOYMENTS:
            return (account,)
        # what was stopped for a predecessor stops its successors too
        return (account, *(scope_deployment(key) for key in self.lineage.get(owner, (owner,))))

    def why_no_risk(self, owner: str, instrument_id: int) -> tuple[str, str] | None:
        """Return (check, words) of the first thing that forbids new risk now, None when nothing does."""
        if Blocker.DATABASE in self.blocks:
            # the cause of what follows from it: without it no lease is renewed, and a reading of the switch is missing
            return Blocker.DATABASE, self.blocks[Blocker.DATABASE]
        if not self.lease.adds_risk_allowed():
            return Blocker.LEASE, "the lease is too near its expiry, or past it"
        verdict = self.kill.verdict(self.scopes(owner))
        if verdict.state != "clear" and not verdict.is_old:
            return Blocker.KILL_SWITCH, verdict.why
        for name, why in self.blocks.items():
            return name.split(" ")[0], why  # of a block that names a position, its kind
        if owner in self.owner_blocks:
            return Blocker.HALT, self.owner_blocks[owner]
        if owner in self.code_blocks:
            return Blocker.CODE, self.code_blocks[owner]
        if instrument_id in self.stale_instruments:
            return Blocker.FEED, "the instrument's prices are stale"
        clock = self.clocks.why_blocked(self.account.venue_code)
        return (Blocker.CLOCK, clock) if clock else None

    # The gate's judge

    def lease_allows(self) -> bool:
        """Whether the lease still lets new risk out."""
        return self.lease.adds_risk_allowed()

    def kill_verdict(self, scopes: tuple[str, ...]) -> Verdict:
        """What the kill switch says now."""
        return self.kill.verdict(scopes)

    def spawn(self, coroutine: Any, name: str) -> asyncio.Task[Any]:
        """Run something beside; an error in it ends the desk, which starts again and reconciles.

        What is announced to the gate is about the caller's request alone: a cancel from here must not be judged by it.
        """
        context = copy_context()
        context.run(sending.set, None)
        task = asyncio.create_task(coroutine, name=name, context=context)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def fail(self, error: BaseException) -> None:
        """End this run of the desk: the host starts it again."""
        if self.failure is None:
            self.failure = error
            self.failed.set()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a part of the desk failed", part=task.get_name(), exc_info=task.exception())
            self.fail(task.exception())  # type: ignore[arg-type]

    async def penalise(self) -> None:
        """The venue said "too fast": hold everybody of this key back for a second."""
        try:
            await self.governor.penalise(self.broker.provider, self.account.address, self.now_ns() + 1_000_000_000)
        except CommonError as error:
            log.warning("governor not told", error=str(error))

    def note(self, event: str, **values: Any) -> None:
        """Log a step on an order's way without holding it up: the line is written when the loop is next free."""
        asyncio.get_running_loop().call_soon(partial(log.info, event, **values))

    def venue_ns(self) -> int:
        """The market's present as far as it is known: a real market goes on while nobody listens."""
        return max(self.market_ns, wall_ns()) if self.account.epoch_number == 0 else self.market_ns

    def now_ns(self) -> int:
        """Wall time."""
        return wall_ns()
