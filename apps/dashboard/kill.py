"""The kill switch as the shell shows it: what the three records say together, and how far the sweeps are.

Works with the database stopped: what only the database knows is then left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db import DatabaseError, InterfaceError

from apps.dashboard import formatting as f
from apps.execution import selectors as execution
from apps.risk import selectors as risk

ENGAGED, UNCLEAR = "engaged", "unclear"


@dataclass(frozen=True)
class KillItem:
    """One engaged scope: what it stops, who did it, and the sweep in words."""

    scope: str
    what: str
    by: str
    reason: str
    at: int | None
    sweep: str
    is_done: bool
    can_flatten: bool


@dataclass(frozen=True)
class KillView:
    """What the banner shows. `unclear` says why no new risk leaves although nobody engaged anything."""

    items: list[KillItem] = field(default_factory=list)
    unclear: str = ""
    written: str = ""

    @property
    def engaged_all(self) -> bool:
        """Say whether everything is stopped."""
        return any(item.scope == "all" for item in self.items)

    @property
    def polling(self) -> bool:
        """Say whether something in the banner is still on its way."""
        return bool(self.unclear) or any(not item.is_done for item in self.items)


def kill_view(written: str = "") -> KillView:
    """Return what all records say now."""
    states = risk.kill_states()
    engaged = {scope: state for scope, state in states.items() if state.state == ENGAGED}
    unclear = "; ".join(sorted({state.why for state in states.values() if state.state == UNCLEAR}))
    sweeps = _sweeps({scope: getattr(state.record, "generation", 0) for scope, state in engaged.items()})
    items = [
        _item(scope, state.record, sweeps[scope] if sweeps is not None else None)
        for scope, state in sorted(engaged.items())
    ]
    return KillView(items, unclear, written)


def _item(scope: str, record: object, sweeps: execution.ScopeSweeps | None) -> KillItem:
    # A desk that is down takes the way to close positions from nobody: those that have begun decide on it.
    may_flatten = sweeps is None or (bool(sweeps.rows) and sweeps.rows_ended)
    return KillItem(
        scope=scope,
        what=risk.scope_words(scope),
        by=getattr(record, "by", ""),
        reason=getattr(record, "reason", ""),
        at=getattr(record, "at_ns", None) or None,
        sweep=_sweep_words(sweeps),
        is_done=sweeps is None or sweeps.is_done,
        can_flatten=may_flatten and not getattr(record, "flatten", False),
    )


def _sweep_words(sweeps: execution.ScopeSweeps | None) -> str:
    if sweeps is None:
        return "How many orders still rest is not known while the database is gone: the desk sweeps all the same."
    if not sweeps.accounts:
        return execution.NONE_TO_SWEEP
    parts = (_begun_words(sweeps), _waiting_words(sweeps), _unswept_words(sweeps))
    return " ".join(part for part in parts if part)


def _begun_words(sweeps: execution.ScopeSweeps) -> str:
    """Say how far the accounts are that have begun."""
    rows = sweeps.rows
    if not rows:
        return ""
    found, left = sum(s.found for s in rows), sum(s.left for s in rows)
    foreign, positions = sum(s.foreign for s in rows), sum(s.positions_left for s in rows)
    seconds = max((s.seconds_left for s in rows if s.seconds_left is not None), default=None)
    if left:
        wait = f" (about {f.number(seconds, 0)} s)" if seconds else ""
        text = f"{left} of {max(found, left)} risk-adding orders still to be cancelled{wait}; protective stops stay."
    elif sweeps.rows_ended:
        where = "the venue" if len(rows) == sweeps.accounts else f"{len(rows)} of {sweeps.accounts} accounts"
        text = f"0 risk-adding orders rest at {where}; protective stops stay."
    else:
        text = "Asking the venue what still rests."
    if any(sweep.flatten for sweep in rows):
        text += f" {positions} positions still to be closed." if positions else ""
        text += " Every position is closed." if not positions and sweeps.is_done and not sweeps.unswept else ""
    if foreign:
        text += f" {foreign} orders of others are left alone."
    kept = sorted({sweep.why for sweep in rows if sweep.why and sweep.finished_at is None})
    return text + (f" What keeps it: {'; '.join(kept)}." if kept else "")


def _waiting_words(sweeps: execution.ScopeSweeps) -> str:
    """Say which accounts have not begun: what rests at them nobody has looked at."""
    if not sweeps.waiting:
        return ""
    have = "has" if len(sweeps.waiting) == 1 else "have"
    names = ", ".join(sweeps.waiting.values())
    return f"{len(sweeps.waiting)} of {sweeps.accounts} accounts {have} not begun: {names}. {execution.NOT_SWEPT}"


def _unswept_words(sweeps: execution.ScopeSweeps) -> str:
    """Say which accounts no desk will sweep though something is open in them."""
    return f"{'. '.join(sweeps.unswept.values())}. {execution.LOOK_THERE}" if sweeps.unswept else ""


def _sweeps(engaged: Mapping[str, int]) -> dict[str, execution.ScopeSweeps] | None:
    """Return the sweeps by scope, or None while the database cannot say."""
    try:
        return execution.sweeps_of(engaged)
    except (DatabaseError, InterfaceError):
        return None
