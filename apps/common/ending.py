"""How tasks are ended so that no cancellation is lost.

On Python 3.11 `asyncio.wait_for` swallows a cancellation that comes as the awaited thing ends: a loop that was asked
to end then runs on for ever. Our own code sets its limits with `asyncio.timeout` (the linter refuses the other), but
libraries still use it.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

TRIES = 10
WAIT_S = 0.2


async def tasks_end(tasks: Iterable["asyncio.Task[Any]"]) -> set["asyncio.Task[Any]"]:
    """End tasks and wait for it; return those that still ran 2 s later.

    One that lost its cancellation in some library is asked again. What they raise is of no interest any more.
    """
    tasks = set(tasks)
    left = {task for task in tasks if not task.done()}
    for _ in range(TRIES):
        if not left:
            break
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=WAIT_S)
    for task in tasks - left:
        if not task.cancelled():
            task.exception()  # seen: asyncio complains of errors that nobody looked at
    return left
