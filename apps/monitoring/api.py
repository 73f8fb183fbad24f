"""The API about how it all is: processes, residents, versions."""

import time
from functools import lru_cache
from typing import Any

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from apps.common.api import Moment, Out, answers
from apps.monitoring.selectors import residents_now
from apps.risk.selectors import kill_states
from apps.users.selectors import bearer
from trader.config import config
from trader.runtime.layout import Layout, json_read
from trader.runtime.status import is_running, versions

router = Router(tags=["status"])
KEPT_S = 1.0
_looked: tuple[float, tuple[bool, list[dict[str, Any]]] | None] = (0.0, None)


class ProcessOut(Out):
    """A process as the supervisor last wrote it."""

    name: str
    pid: int | None
    since: str | None
    restarts: int
    state: str


class ResidentOut(Out):
    """A resident: who holds its lease, for how long still, and what it reports."""

    kind: str
    key: str
    holder: str
    fence: int
    lease_left_s: float
    lag_s: float | None
    state: str
    since: Moment


class StatusOut(Out):
    """What runs."""

    running: bool = Field(description="Whether a supervisor of this folder runs; processes are empty without one.")
    processes: list[ProcessOut]
    residents: list[ResidentOut]
    kill: dict[str, str] = Field(description="Each scope's state: clear, engaged or unclear.")
    versions: dict[str, str]


@router.get("/status", auth=bearer.READ, response=answers(StatusOut), summary="What runs")
def status(request: HttpRequest) -> dict[str, Any]:
    """Return processes, residents with their leases, the kill switch's state and versions."""
    running, processes = _processes()
    return {
        "running": running,
        "processes": processes,
        "residents": [_resident(row) for row in residents_now() if row.is_held],
        "kill": {scope: state.state for scope, state in sorted(kill_states().items())},
        "versions": _versions(tuple(row["name"] for row in processes)),
    }


def _processes() -> tuple[bool, list[dict[str, Any]]]:
    """Return what the supervisor wrote. Looked up once a second at most: the question touches its lock."""
    global _looked
    at, found = _looked
    if found is None or time.monotonic() - at > KEPT_S:
        layout = Layout(config.runtime.state_dir)
        running = is_running(layout) is not None
        written = (json_read(layout.stack_file) or {}) if running else {}
        found = running, written.get("processes", [])
        _looked = time.monotonic(), found
    return found


def _resident(row: Any) -> dict[str, Any]:
    names = ("kind", "key", "holder", "fence", "lag_s", "state", "since")
    return {"lease_left_s": round(row.left_s, 2), **{name: getattr(row, name) for name in names}}


@lru_cache(maxsize=2)
def _versions(names: tuple[str, ...]) -> dict[str, str]:
    return versions(config, [{"name": name} for name in names])
