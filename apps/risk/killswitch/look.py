"""One look at all three places from synchronous code: for pages and commands that hold no reader."""

import asyncio
import threading

from apps.risk.killswitch.records import ScopeState, combine
from apps.risk.killswitch.switch import readings_take


def kill_states() -> dict[str, ScopeState]:
    """Return what the three records say now of every scope, `all` always among them.

    Takes as long as the slowest place's own timeout at most; works with the database or the bus stopped.
    """
    found: list[dict[str, ScopeState]] = []

    async def look() -> None:
        found.append(combine(await readings_take()))

    # a thread of its own: the caller may stand inside a running event loop
    thread = threading.Thread(target=lambda: asyncio.run(look()), name="kill look")
    thread.start()
    thread.join()
    return found[0]
