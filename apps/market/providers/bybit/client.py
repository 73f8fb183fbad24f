"""I/O with Bybit v5 through ccxt.pro: sockets that are watched and opened again, and public answers over REST.

ccxt.pro gives the transport, the addresses and the pings. What it does with frames is left out: it keeps a book
without checking `u`, so that a dropped delta corrupts it silently, and it drops the `confirm` of a kline. Every
frame goes raw to `on_frame` instead.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import ccxt.pro as ccxtpro
import structlog
from ccxt.async_support.base.ws.client import Client

from apps.common.clocks import boottime_ns, wall_ns
from apps.market.errors import VenueRefused, VenueUnreachable
from apps.market.providers.base import Connection
from trader.core.types.errors import VenueBusy

log = structlog.get_logger(__name__)
FIRST_DELAY_S, LONGEST_DELAY_S, HEALTHY_S = 0.2, 15.0, 30.0
SEND_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 1.0
MILLISECOND_NS = 1_000_000

FrameHandler = Callable[[str, Connection, dict[str, Any]], None]


class BybitClient(ccxtpro.bybit):
    """One client for all public connections of a feed, and for its REST questions."""

    def __init__(self, configuration: dict[str, Any], on_frame: FrameHandler, on_lost: Callable[[str, str], None]):
        super().__init__(configuration)
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._kinds: dict[str, str] = {}
        self.connections: dict[str, Connection] = {}

    def connection(self, kind: str) -> Connection:
        """Return what is known of the connection for instruments of this kind."""
        if kind not in self.connections:
            self.connections[kind] = Connection(name=kind)
        return self.connections[kind]

    async def dial(self, kind: str) -> Connection:
        """Open the public socket of a kind. Raises `VenueUnreachable`."""
        url = self.implode_hostname(self.urls["api"]["ws"]["public"][kind])
        self._kinds[url] = kind
        self.open()
        self.ws_dial_backoff = {}  # ccxt counts failures too; the delay is ours alone
        client = self.client(url)
        try:
            await client.connect(self.session, 0)
        except Exception as error:
            self.clients.pop(url, None)
            raise VenueUnreachable(f"{url}: {error}") from error
        connection = self.connection(kind)
        connection.generation += 1
        connection.is_open = True
        connection.opened_ns = boottime_ns()
        # a new socket that stays as silent as the lost one must not look well: silence counts on until a frame comes
        connection.last_frame_ns = connection.last_frame_ns or connection.opened_ns
        return connection

    async def send(self, kind: str, request: dict[str, Any]) -> None:
        """Send a request on the public socket of a kind. Raises `VenueUnreachable`."""
        client = self._client_of(kind)
        if client is None:
            raise VenueUnreachable(f"{kind}: no open connection")
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await client.send(request)
        except Exception as error:
            raise VenueUnreachable(f"{kind}: {error}") from error

    async def hang_up(self, kind: str, why: str) -> None:
        """Close the public socket of a kind; the loss is told like any other."""
        client = self._client_of(kind)
        if client is None:
            return
        self.clients.pop(client.url, None)
        self._lost(client, why)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await client.close()
        except Exception as error:  # a silent peer never answers the close frame: the transport goes with the task
            log.info("feed.close_unanswered", kind=kind, error=repr(error))

    def handle_message(self, client: Client, message: Any) -> None:
        """Take one frame. An exception here would end ccxt's receive loop unseen, so none leaves."""
        kind = self._kinds.get(client.url)
        if kind is None or not isinstance(message, dict):
            return
        connection = self.connection(kind)
        connection.last_frame_ns, connection.last_frame_wall_ns = boottime_ns(), wall_ns()
        connection.frames += 1
        try:
            self._on_frame(kind, connection, message)
        except Exception:
            log.exception("feed.frame_failed", kind=kind, topic=message.get("topic"))

    def on_error(self, client: Client, error: BaseException) -> None:
        """Hear of a connection that broke."""
        super().on_error(client, error)
        self._lost(client, str(error))

    def on_close(self, client: Client, code: Any) -> None:
        """Hear of a connection that the venue closed."""
        super().on_close(client, code)
        self._lost(client, f"closed by the venue ({code})")

    async def ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Ask a public REST question by ccxt's name of it, e.g. `public_get_v5_market_kline`.

        Raises `VenueBusy` (too many questions), `VenueUnreachable` (no answer) or `VenueRefused` (an error).
        """
        try:
            return await getattr(self, method)(parameters)
        except (ccxtpro.RateLimitExceeded, ccxtpro.DDoSProtection) as error:
            raise VenueBusy(f"{method}: {error}") from error
        except ccxtpro.NetworkError as error:
            raise VenueUnreachable(f"{method}: {error}") from error
        except ccxtpro.BaseError as error:
            raise VenueRefused(f"{method} {parameters}: {error}") from error

    def _lost(self, client: Client, why: str) -> None:
        kind = self._kinds.get(client.url)
        if kind is None:
            return
        connection = self.connection(kind)
        if connection.is_open:
            connection.is_open = False
            self._on_lost(kind, why)

    def _client_of(self, kind: str) -> Client | None:
        url = next((address for address, name in self._kinds.items() if name == kind), "")
        return self.clients.get(url) if self.clients else None


class Redial:
    """Delays between attempts: doubling, with jitter, so that many clients do not come back at one moment."""

    def __init__(self) -> None:
        self._delay_s = FIRST_DELAY_S

    def next_delay_s(self) -> float:
        """Return the next delay, drawn around a doubling middle."""
        delay, self._delay_s = self._delay_s, min(self._delay_s * 2, LONGEST_DELAY_S)
        return delay * random.uniform(0.5, 1.5)

    def worked(self, lasted_s: float) -> None:
        """Begin anew after a connection that lasted."""
        if lasted_s >= HEALTHY_S:
            self._delay_s = FIRST_DELAY_S
