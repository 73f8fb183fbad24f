"""Ways to a browser's socket that say how much is unsent, which ASGI alone does not.

Daphne's `send` buffers without limit and never tells, and costs some 80 µs a frame. Where Daphne serves, frames
made once go straight to the socket, and what the socket does not take at once goes through Twisted's buffer.
Elsewhere (uvicorn) `send` waits for the socket, and a small queue stands before it.
"""

import asyncio
import functools
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from apps.common.hub.frames import Frame

Send = Callable[[dict[str, Any]], Awaitable[None]]
# What the kernel holds is stale by the time a slow browser reads it: keep it small.
KERNEL_BUFFER_BYTES = 131_072


class Writer(Protocol):
    """What the hub needs of a socket."""

    def unsent(self) -> int:
        """Return the bytes that wait on our side."""
        ...

    def write(self, frame: Frame) -> None:
        """Hand a frame over; never waits."""
        ...

    def close(self, code: int) -> None:
        """Close the socket with a code."""
        ...

    def abort(self) -> None:
        """Drop the connection without farewell: the other side does not read."""
        ...


def writer_of(send: Send) -> Writer:
    """Return the best writer for this ASGI `send`."""
    protocol = _daphne_protocol(send)
    return AsgiWriter(send) if protocol is None else DaphneWriter(protocol)


class DaphneWriter:
    """Writes prepared frames to the socket that Daphne holds."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = protocol.transport
        self.socket = getattr(self.transport, "socket", None)
        if self.socket is not None and self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)

    def unsent(self) -> int:
        """Return the bytes in Twisted's buffer."""
        transport = self.transport
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen

    def write(self, frame: Frame) -> None:
        """Send now what the socket takes; leave the rest to Twisted."""
        if self.protocol.state != self.protocol.STATE_OPEN or not self.transport.connected:
            return
        wire = frame.wire
        sent = 0
        if not self.unsent():
            try:
                sent = self.socket.send(wire)
            except OSError:  # full, or broken: Twisted finds out which
                sent = 0
        if sent < len(wire):
            self.transport.write(wire[sent:])

    def close(self, code: int) -> None:
        """Close as the protocol wants it."""
        self.protocol.sendClose(code=code)

    def abort(self) -> None:
        """Drop the connection."""
        self.transport.abortConnection()


class AsgiWriter:
    """Sends through ASGI, one frame at a time, from a queue that the hub keeps short."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    def unsent(self) -> int:
        """Return the bytes of frames that `send` has not finished."""
        return self._bytes

    def write(self, frame: Frame) -> None:
        """Queue the frame and send what is queued."""
        self._frames.append(frame)
        self._bytes += len(frame.text)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())

    def close(self, code: int) -> None:
        """Close after what is queued."""
        self._ending = asyncio.create_task(self._close(code))

    def abort(self) -> None:
        """Forget the queue and close."""
        self._frames.clear()
        if self._task is not None:
            self._task.cancel()
        self.close(1013)

    async def _drain(self) -> None:
        while self._frames:
            frame = self._frames[0]
            try:
                await self.send({"type": "websocket.send", "text": frame.text.decode()})
            except Exception:  # the socket is gone: its consumer hears of it by itself
                self._frames.clear()
                self._bytes = 0
                return
            self._frames.popleft()
            self._bytes -= len(frame.text)

    async def _close(self, code: int) -> None:
        if self._task is not None:
            await asyncio.wait([self._task], timeout=1.0)
        try:
            await self.send({"type": "websocket.close", "code": code})
        except Exception:  # closed already
            pass


def _daphne_protocol(send: Any) -> Any:
    """Return Daphne's protocol behind `send`, through the wrappers of Channels' middlewares; None elsewhere."""
    for _ in range(8):
        if isinstance(send, functools.partial):
            server = getattr(send.func, "__self__", None)
            found = send.args[0] if type(server).__module__ == "daphne.server" and send.args else None
            return found if hasattr(getattr(found, "transport", None), "_tempDataLen") else None
        send = getattr(getattr(send, "__self__", None), "real_send", None)
        if send is None:
            return None
    return None
