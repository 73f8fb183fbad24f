"""One public socket: its topics, its bounded queue, and the task that writes it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque

from aiohttp import WSCloseCode, WSMsgType, web

log = logging.getLogger("simulator.public")

QUEUE_MOST = 20_000  # frames; a client further behind is cut off
QUEUE_HIGH = 1_000  # frames at which a market that can wait does wait


class Connection:
    """A client's socket. Frames are bytes encoded once for all; `send` never waits."""

    def __init__(self, socket: web.WebSocketResponse, kind: str) -> None:
        self.socket, self.kind = socket, kind
        self.id = uuid.uuid4().hex
        self.topics: set[str] = set()
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._calm = asyncio.Event()
        self._calm.set()
        self._writing = False
        self.closed = False

    @property
    def waiting(self) -> int:
        """Return how many frames wait to be written."""
        return len(self._queue) + self._writing

    def send(self, frame: bytes) -> None:
        """Queue a frame; a client that cannot keep up loses its connection, never single frames."""
        if self.closed:
            return
        if len(self._queue) >= QUEUE_MOST:
            log.warning("connection %s is %d frames behind and is closed", self.id, len(self._queue))
            self.abort()
            return
        self._queue.append(frame)
        self._wake.set()
        if len(self._queue) > QUEUE_HIGH:
            self._calm.clear()

    def abort(self) -> None:
        """Drop what waits and close."""
        self.closed = True
        self._queue.clear()
        self._calm.set()
        self._wake.set()

    async def calm(self) -> None:
        """Return when less than half of QUEUE_HIGH waits, or the connection is gone."""
        await self._calm.wait()

    async def write_all(self) -> None:
        """Write frames until the connection ends."""
        while not self.closed:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._write_queued()
            except (ConnectionError, RuntimeError):
                self.abort()
        await self.socket.close(code=WSCloseCode.GOING_AWAY)

    async def _write_queued(self) -> None:
        while self._queue:
            self._writing = True
            await self.socket.send_frame(self._queue.popleft(), WSMsgType.TEXT)
            self._writing = False
            if len(self._queue) < QUEUE_HIGH // 2:
                self._calm.set()
