"""How far a sweep of the kill switch is: told to the pages at once, written when there is a database."""

from dataclasses import dataclass

import psycopg
import structlog

from apps.execution.desk.core import DeskCore
from apps.execution.desk.store import DatabaseGone
from apps.execution.desk.writer import Writer
from apps.execution.events import SWEEPS, SweepProgress
from apps.execution.origins import Blocker

log = structlog.get_logger(__name__)
SWEEP = """
    INSERT INTO execution_killsweep AS row (account_id, scope, generation, flatten, found, "left", positions_left,
        "foreign", seconds_left, why, started_at, updated_at, finished_at)
    VALUES (%(account_id)s, %(scope)s, %(generation)s, %(flatten)s, %(found)s, %(left)s, %(positions_left)s,
        %(foreign)s, %(seconds_left)s, %(why)s, clock_timestamp(), clock_timestamp(),
        CASE WHEN %(finished)s THEN clock_timestamp() END)
    ON CONFLICT (account_id, scope, generation) DO UPDATE SET flatten = row.flatten OR excluded.flatten,
        why = excluded.why,
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
    why: str = ""
    finished: bool = False
    looked_at: float = 0.0

    def figures(self) -> tuple[int, int, int, float | None, str, bool]:
        return self.left, self.positions_left, self.foreign, self.seconds_left, self.why, self.finished


class Progress:
    """Tells and keeps sweeps' progress; of each scope the newest."""

    def __init__(self, core: DeskCore, writer: Writer) -> None:
        self._core = core
        self._writer = writer
        self._unsaved: dict[str, Sweep] = {}

    async def tell(self, sweep: Sweep) -> None:
        """Tell the pages, and write the row."""
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
        if Blocker.DATABASE not in self._core.blocks:
            await self.save()

    async def save(self) -> None:
        """Write the rows that are not written yet; while the database is gone they wait, and the sweep does not."""
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
                        "why": sweep.why,
                        "finished": sweep.finished,
                    },
                )
                if self._unsaved.get(scope) is sweep:
                    self._unsaved.pop(scope)
            except (DatabaseGone, psycopg.Error) as error:
                log.warning("sweep's progress not written yet", error=str(error)[:200])
                return
