"""Snapshots of log topics, read in threads and shared by those who ask at the same time."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from django.db import close_old_connections

from apps.common.hub.frames import Frame, snapshot_frame
from apps.common.hub.registry import hub_topic

THREADS = 2
SHARED_S = 0.25  # deltas since then are in the ring, so a snapshot this old is as good as a new one
TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


class SnapshotTaken(NamedTuple):
    """A snapshot, ready to send, and the number it was taken at."""

    number: int
    frame: Frame


class Snapshots:
    """Reads snapshots; those of one topic for one role are the same for everyone."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="hub-snapshots")
        self._shared: dict[tuple[str, str], tuple[float, asyncio.Future[SnapshotTaken]]] = {}

    async def take(self, topic: str, user: Any, empty_at: int) -> SnapshotTaken:
        """Return a snapshot of the topic; one without a snapshot function is empty, at number `empty_at`."""
        if hub_topic(topic).snapshot is None:
            return SnapshotTaken(empty_at, snapshot_frame(topic, empty_at, [], None))
        key = (topic, getattr(user, "role", ""))
        found = self._shared.get(key)
        if found is None or time.monotonic() - found[0] > SHARED_S or _failed(found[1]):
            loop = asyncio.get_running_loop()
            found = (time.monotonic(), loop.run_in_executor(self._executor, _take, topic, user))
            self._shared[key] = found
        async with asyncio.timeout(TIMEOUT_S):
            return await asyncio.shield(found[1])

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _failed(future: "asyncio.Future[SnapshotTaken]") -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


def _take(topic: str, user: Any) -> SnapshotTaken:
    registered = hub_topic(topic)
    read, render = registered.snapshot_function(), registered.render_function()
    close_old_connections()
    try:
        number, values = read(user, topic)
        html = None if render is None else "".join(render(value) for value in values)
        return SnapshotTaken(number, snapshot_frame(topic, number, values, html))
    finally:
        close_old_connections()
