"""I/O with the venue: sockets that tell when they are lost, and answers over REST.

- Note `last_frame_ns` of every frame, a pong included: staleness is judged by it. Do not reset it when you dial.
- Ping every two seconds, whatever the venue asks for.
- Let no exception leave the frame handler: most client libraries end their receive loop with it, unseen.
- Turn the library's errors into ours here: `VenueBusy`, `VenueUnreachable`, `VenueRefused`.
"""

from collections.abc import Callable
from typing import Any

from apps.market.providers.base import Connection

FrameHandler = Callable[[str, Connection, dict[str, Any]], None]


class TemplateClient:
    """The connections of one address."""

    def __init__(self, rest_url: str, socket_url: str, on_frame: FrameHandler, on_lost: Callable[[str, str], None]):
        self._rest_url, self._socket_url = rest_url, socket_url
        self._on_frame, self._on_lost = on_frame, on_lost
        self.connections: dict[str, Connection] = {}

    async def dial(self, name: str) -> Connection:
        """Open a connection; count its generation up. Raises `VenueUnreachable`."""
        raise NotImplementedError("open the socket, ping it every 2 s, and hand each frame to on_frame")

    async def send(self, name: str, request: dict[str, Any]) -> None:
        """Send a request, within a time-out of your own. Raises `VenueUnreachable`."""
        raise NotImplementedError("write the request to the open socket")

    async def ask(self, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Ask a public question over REST."""
        raise NotImplementedError("ask, and turn the library's errors into ours")

    async def close(self) -> None:
        """End all connections."""
        raise NotImplementedError("close sockets and sessions")
