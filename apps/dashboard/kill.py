"""The kill switch as the shell shows it: what the three records say together, and how far the sweeps are.

Works with the database stopped: what only the database knows is then left out.
"""

from dataclasses import dataclass, field

from django.db import DatabaseError, InterfaceError

from apps.dashboard import formatting as f
from apps.execution.models import KillSweep
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
    sweeps = _sweeps(list(engaged))
    items = [
        _item(scope, state.record, sweeps.get(scope, []) if sweeps is not None else None)
        for scope, state in sorted(engaged.items())
    ]
    return KillView(items, unclear, written)


def _item(scope: str, record: object, sweeps: list[KillSweep] | None) -> KillItem:
    generation = getattr(record, "generation", 0)
    current = None if sweeps is None else [sweep for sweep in sweeps if sweep.generation == generation]
    done = current is None or (bool(current) and all(sweep.finished_at is not None for sweep in current))
    return KillItem(
        scope=scope,
        what=risk.scope_words(scope),
        by=getattr(record, "by", ""),
        reason=getattr(record, "reason", ""),
        at=getattr(record, "at_ns", None) or None,
        sweep=_sweep_words(current),
        is_done=done,
        can_flatten=done and not getattr(record, "flatten", False),
    )


def _sweep_words(sweeps: list[KillSweep] | None) -> str:
    if sweeps is None:
        return "How many orders still rest is not known while the database is gone: the desk sweeps all the same."
    if not sweeps:
        return "Waiting for the desk to begin its sweep."
    found, left = sum(s.found for s in sweeps), sum(s.left for s in sweeps)
    foreign, positions = sum(s.foreign for s in sweeps), sum(s.positions_left for s in sweeps)
    seconds = max((s.seconds_left for s in sweeps if s.seconds_left is not None), default=None)
    if left:
        wait = f" (about {f.number(seconds, 0)} s)" if seconds else ""
        text = f"{left} of {max(found, left)} risk-adding orders still to be cancelled{wait}; protective stops stay."
    elif all(sweep.finished_at for sweep in sweeps):
        text = "0 risk-adding orders rest at the venue; protective stops stay."
    else:
        text = "Asking the venue what still rests."
    if any(sweep.flatten for sweep in sweeps):
        text += f" {positions} positions still to be closed." if positions else " Every position is closed."
    if foreign:
        text += f" {foreign} orders of others are left alone."
    kept = sorted({sweep.why for sweep in sweeps if sweep.why and sweep.finished_at is None})
    return text + (f" What keeps it: {'; '.join(kept)}." if kept else "")


def _sweeps(scopes: list[str]) -> dict[str, list[KillSweep]] | None:
    """Return the sweeps by scope, or None while the database cannot say."""
    if not scopes:
        return {}
    try:
        found: dict[str, list[KillSweep]] = {}
        for sweep in KillSweep.objects.filter(scope__in=scopes, account__is_active=True):
            found.setdefault(sweep.scope, []).append(sweep)
        return found
    except (DatabaseError, InterfaceError):
        return None
