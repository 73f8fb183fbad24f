"""The kill switch at one account: what can add risk is cancelled, stops stay, positions are closed if asked.

It sweeps until the venue itself says zero. It needs neither database nor bus: what it does is journalled locally
and booked later. With the lease gone it touches only what it knows by id.
"""

import asyncio
from dataclasses import dataclass

import psycopg
import structlog

from apps.execution.brokers.base import VenueOrder
from apps.execution.desk.ask import Asker
from apps.execution.desk.cancel import Canceller
from apps.execution.desk.core import DeskCore
from apps.execution.desk.fills import Fills
from apps.execution.desk.flatten import Flattener
from apps.execution.desk.model import MANUAL, STOP, DeskOrder
from apps.execution.desk.store import DatabaseGone
from apps.execution.desk.writer import Writer
from apps.execution.events import SWEEPS, SweepProgress
from trader.core.types import VenueError

log = structlog.get_logger(__name__)
CANCELS_A_SECOND = {"linear": 10.0, "spot": 20.0}
PASS_S = 0.1
PASS_MAX_S = 2.0
SWEEP = """
    INSERT INTO execution_killsweep AS row (account_id, scope, generation, flatten, found, "left", positions_left,
        "foreign", seconds_left, started_at, updated_at, finished_at)
    VALUES (%(account_id)s, %(scope)s, %(generation)s, %(flatten)s, %(found)s, %(left)s, %(positions_left)s,
        %(foreign)s, %(seconds_left)s, clock_timestamp(), clock_timestamp(),
        CASE WHEN %(finished)s THEN clock_timestamp() END)
    ON CONFLICT (account_id, scope, generation) DO UPDATE SET flatten = row.flatten OR excluded.flatten,
        found = greatest(row.found, excluded.found), "left" = excluded."left",
        positions_left = excluded.positions_left, "foreign" = excluded."foreign",
        seconds_left = excluded.seconds_left, updated_at = excluded.updated_at, finished_at = excluded.finished_at
"""


@dataclass
class Sweep:
    """One engagement at this account, and how far it is."""

    scope: str
    generation: int
    flatten: bool
    found: int = 0
    left: int = 0
    positions_left: int = 0
    foreign: int = 0
    seconds_left: float | None = None
    finished: bool = False

    def figures(self) -> tuple[int, int, int, float | None, bool]:
        return self.left, self.positions_left, self.foreign, self.seconds_left, self.finished


class Sweeper:
    """Sweeps for every engaged record that concerns this account, one at a time, newest engagement of each scope."""

    def __init__(
        self, core: DeskCore, writer: Writer, fills: Fills, canceller: Canceller, flattener: Flattener, asker: Asker
    ) -> None:
        self._core = core
        self._writer = writer
        self._fills = fills
        self._canceller = canceller
        self._flattener = flattener
        self._asker = asker
        self._wake = asyncio.Event()
        self._done: dict[str, tuple[int, bool]] = {}
        self._unsaved: dict[str, Sweep] = {}
        self.deployments: set[str] = set()
        self.is_sweeping = False

    def changed(self) -> None:
        """The kill switch's readings have changed."""
        self._wake.set()

    def scopes(self) -> set[str]:
        """Scopes that concern this account: its own, and those of every owner of a position, order or deployment."""
        owners = set(self.deployments) | {owner for _, owner, _ in self._core.books.open_positions()}
        owners |= {order.owner for order in self._core.books.open.values()}
        return {scope for owner in {MANUAL, *owners} for scope in self._core.scopes(owner)}

    async def run(self) -> None:
        """Sweep whenever an engagement is new; look at least once a second."""
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            for record in self._core.kill.engaged(self.scopes()):
                if self._core.lease.superseded:
                    return
                if self._done.get(record.scope) != (record.generation, record.flatten):
                    await self._sweep(Sweep(record.scope, record.generation, record.flatten))
            await self._save_unsaved()

    async def _sweep(self, sweep: Sweep) -> None:
        log.warning("kill switch sweeps", scope=sweep.scope, generation=sweep.generation, flatten=sweep.flatten)
        self.is_sweeping = True
        pause = PASS_S
        told = None
        try:
            while not sweep.finished and not self._core.lease.superseded and self._still_engaged(sweep):
                await self._pass(sweep)
                if sweep.figures() != told:
                    told = sweep.figures()
                    await self._tell(sweep)
                    pause = PASS_S
                if not sweep.finished:
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, PASS_MAX_S)
        finally:
            self.is_sweeping = False
        if sweep.finished:
            self._done[sweep.scope] = (sweep.generation, sweep.flatten)
            log.warning("kill switch: the venue says zero", scope=sweep.scope, found=sweep.found)

    def _still_engaged(self, sweep: Sweep) -> bool:
        """A release ends the sweep, and so does a newer engagement of the scope, which starts its own."""
        return any(
            record.scope == sweep.scope and record.generation == sweep.generation and record.flatten == sweep.flatten
            for record in self._core.kill.engaged(self.scopes())
        )

    async def _pass(self, sweep: Sweep) -> None:
        """Cancel what is known at once, then ask the venue what is left, and cancel that."""
        known = [order for order in self._core.books.resting_risk() if self._concerns(sweep, order.owner)]
        sweep.found = max(sweep.found, len(known))
        try:
            at_venue = await self._at_venue()
        except VenueError as error:
            log.error("venue does not list its orders; cancelling by id what is known", error=str(error)[:200])
            await self._canceller.cancel(known, why=f"kill switch {sweep.scope}", origin="kill")
            sweep.left = max(len(known), 1)
            return
        left = await self._cancel(sweep, at_venue, known)
        sweep.left = left
        sweep.positions_left = await self._flattener.flatten(sweep.scope) if sweep.flatten else 0
        unknown = [order for order in known if order.is_open]
        sweep.finished = not left and not unknown and not sweep.positions_left

    async def _at_venue(self) -> list[VenueOrder]:
        kinds = sorted({market.kind for market in self._core.books.markets.values()})
        lists = await asyncio.gather(*(self._core.broker.open_orders(kind) for kind in kinds))
        found = [order for orders in lists for order in orders]
        for report in found:
            self._fills.report(report)
        return found

    async def _cancel(self, sweep: Sweep, at_venue: list[VenueOrder], known: list[DeskOrder]) -> int:
        """Cancel the risk-adding orders that rest at the venue; returns how many did."""
        ours, foreign = [], []
        for report in at_venue:
            (ours if self._core.broker.is_ours(report.client_id) else foreign).append(report)
        sweep.foreign = len(foreign)
        resting = {report.client_id for report in ours}
        wanted = [
            order
            for report in ours
            if (order := self._core.books.orders.get(report.client_id)) is not None
            and order.adds_risk
            and self._concerns(sweep, order.owner)
        ]
        rowless = [report for report in ours if report.client_id not in self._core.books.orders]
        sweep.found = max(sweep.found, len(wanted) + len(rowless))
        rates = [CANCELS_A_SECOND[order.market.kind] for order in wanted]
        sweep.seconds_left = round(sum(1 / rate for rate in rates), 1) if wanted else None
        if wanted and self._all_at_once(sweep, foreign, wanted):
            await self._cancel_all(sweep, wanted)
        elif wanted:
            await self._canceller.cancel(wanted, why=f"kill switch {sweep.scope}", origin="kill")
        for order in known:
            if order.is_open and order.client_id not in resting and not self._young(order):
                self._core.ask_soon(order)
        return len(wanted)

    def _all_at_once(self, sweep: Sweep, foreign: list[VenueOrder], wanted: list[DeskOrder]) -> bool:
        """Whether cancel-all may be used: a whole account, a sure lease, nothing foreign, and more than one."""
        is_whole = not sweep.scope.startswith("deployment:")
        return is_whole and not foreign and len(wanted) > 1 and not self._core.lease.expired()

    async def _cancel_all(self, sweep: Sweep, wanted: list[DeskOrder]) -> None:
        sweep.seconds_left = None
        for kind in sorted({order.market.kind for order in wanted}):
            of_kind = [order for order in wanted if order.market.kind == kind]
            await self._canceller.cancel_all(kind, [one for one in of_kind if not one.is_stop], f"kill {sweep.scope}")
            await self._canceller.cancel([one for one in of_kind if one.is_stop], f"kill {sweep.scope}", "kill")

    def _concerns(self, sweep: Sweep, owner: str) -> bool:
        return not sweep.scope.startswith("deployment:") or sweep.scope in self._core.scopes(owner)

    def _young(self, order: DeskOrder) -> bool:
        """Its request may still be on the way; the gate stops what has not left."""
        return order.state == "created" and order.leg != STOP

    async def _tell(self, sweep: Sweep) -> None:
        event = SweepProgress(
            account_id=self._core.account.id,
            scope=sweep.scope,
            generation=sweep.generation,
            flatten=sweep.flatten,
            found=sweep.found,
            left=sweep.left,
            positions_left=sweep.positions_left,
            foreign=sweep.foreign,
            seconds_left=sweep.seconds_left,
            finished=sweep.finished,
            wall_ns=self._core.now_ns(),
        )
        self._writer.event(SWEEPS, event)
        self._unsaved[sweep.scope] = sweep
        if "database" not in self._core.blocks:
            await self._save_unsaved()

    async def _save_unsaved(self) -> None:
        """Write progress rows; while the database is gone they wait, and the sweep does not."""
        for scope, sweep in list(self._unsaved.items()):
            try:
                await self._core.store.query(
                    SWEEP,
                    {
                        "account_id": self._core.account.id,
                        "scope": scope,
                        "generation": sweep.generation,
                        "flatten": sweep.flatten,
                        "found": sweep.found,
                        "left": sweep.left,
                        "positions_left": sweep.positions_left,
                        "foreign": sweep.foreign,
                        "seconds_left": sweep.seconds_left,
                        "finished": sweep.finished,
                    },
                )
                self._unsaved.pop(scope, None)
            except (DatabaseGone, psycopg.Error) as error:
                log.warning("sweep's progress not written yet", error=str(error)[:200])
                return
