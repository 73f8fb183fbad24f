"""What the parts of a hub share: the bus, the browsers, and who of them is behind."""

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from apps.common.ending import tasks_end
from apps.common.hub.feeds import Client
from apps.common.hub.frames import refused_frame
from apps.common.redis_clients import command_client

logger = logging.getLogger(__name__)


class Room:
    """The shared part of one hub."""

    def __init__(self, redis_url: str) -> None:
        self.redis = command_client(redis_url)
        self.clients: set[Client] = set()
        self.slow: set[Client] = set()  # those that still have something to get
        self.slow_due = asyncio.Event()
        self.counts: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine beside; what fails is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_complain)

    def is_slow(self, client: Client) -> None:
        """Note that a browser still has something to get."""
        if client in self.clients:
            self.slow.add(client)
            self.slow_due.set()

    def refuse(self, client: Client, topic: str, why: str) -> None:
        """Tell a browser why it does not get something."""
        client.writer.write(refused_frame(topic, why))

    async def close(self) -> None:
        """End what runs and the connection."""
        await tasks_end(self._tasks)
        await self.redis.aclose()


def _complain(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("a task of the hub failed", exc_info=task.exception())
