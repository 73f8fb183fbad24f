"""The connection to Bybit: ccxt.pro with its limiter off, in a session of ours whose requests pass the send gate.

Only what ccxt does well is used: signing, error mapping, the private socket's life. Orders and executions are
read raw from its handlers, because its caches merge states.
"""

import asyncio
import json
import time
from typing import Any

import aiohttp
import ccxt.pro
from ccxt.base import errors as ccxt_errors

from apps.execution.brokers.base import CredentialsRefused, NotFound, SignatureRefused
from apps.execution.brokers.gate import SendGate, gated_request_class, signed_now
from apps.execution.brokers.throttle import BeforeQuery
from trader.core.types import GateRefused, OutcomeUnknown, VenueBusy, VenueError, VenueRejected

# codes that leave the outcome open: a time-out or fault inside the venue; a duplicate id says the order is there
UNKNOWN_CODES = frozenset({"10000", "10016", "170001", "170007", "170032", "170146", "110072", "170141"})
NOT_FOUND_CODES = frozenset({"110001", "170213"})
PING_S = 2.0


class RawBybit(ccxt.pro.bybit):
    """ccxt's Bybit, handing on every raw order and execution of the private socket."""

    frames: asyncio.Queue[tuple[str, dict[str, Any]]]
    frame_at: float = 0.0

    def sign(self, *args: Any, **kwargs: Any) -> Any:
        """Sign, and remember when: the gate judges the age of this signature."""
        signed_now()
        return super().sign(*args, **kwargs)

    def handle_message(self, client: Any, message: Any) -> None:
        self.frame_at = time.monotonic()
        super().handle_message(client, message)

    def handle_order(self, client: Any, message: Any) -> None:
        self.frames.put_nowait(("order", message))
        client.resolve(True, "orders")

    def handle_subscription_status(self, client: Any, message: Any) -> Any:
        # only now can nothing be missed any more: what happened before is asked for by REST
        self.frames.put_nowait(("connected", {}))
        return super().handle_subscription_status(client, message)

    def handle_my_trades(self, client: Any, message: Any) -> None:
        self.frames.put_nowait(("execution", message))
        client.resolve(True, "myTrades")


class BybitClient:
    """Signed requests and the private socket of one account."""

    def __init__(
        self,
        configuration: dict[str, Any],
        gate: SendGate,
        recv_window_ms: int,
        timeout_s: float,
        *,
        before_query: BeforeQuery | None = None,
    ) -> None:
        self._before_query = before_query
        self._configuration = configuration
        self._gate = gate
        self._recv_window_ms = recv_window_ms
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self.exchange: RawBybit | None = None

    async def open(self) -> None:
        """Build the session and the client; no request is sent yet."""
        # keepalive far above our own pings: an idle desk must not pay a handshake on its next order
        connector = aiohttp.TCPConnector(limit=16, keepalive_timeout=75, ttl_dns_cache=300)
        self._session = aiohttp.ClientSession(connector=connector, request_class=gated_request_class(self._gate))
        configuration = dict(self._configuration)
        options = {**configuration.pop("options", {}), "recvWindow": self._recv_window_ms, "maxRetriesOnFailure": 0}
        exchange = RawBybit(
            {
                **configuration,
                "session": self._session,
                "enableRateLimit": False,
                "timeout": int(self._timeout_s * 1000),
                "options": options,
            }
        )
        exchange.streaming = {**exchange.streaming, "keepAlive": int(PING_S * 1000)}
        exchange.frames = asyncio.Queue()
        exchange.newUpdates = True
        self.exchange = exchange

    async def close(self) -> None:
        """Close socket and session; safe to call twice."""
        if self.exchange is not None:
            await self.exchange.close()
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send one request by ccxt's implicit method name and return the whole envelope, or raise a `VenueError`.

        A question takes its rate token here; orders and cancels have taken theirs before their commit.
        """
        if self._before_query is not None and "_get_" in method:
            await self._before_query()
        try:
            return await getattr(self.exchange, method)(body)
        except GateRefused:
            raise
        except ccxt_errors.BaseError as error:
            raise translate(error) from error

    def clock_correct(self, offset_ms: int) -> None:
        """Sign with the venue's clock, so that cancels pass while ours is off (new risk is blocked meanwhile)."""
        assert self.exchange is not None
        self.exchange.options["timeDifference"] = offset_ms

    async def listen(self) -> None:
        """Hold the private socket open and subscribed; returns never, raises when the connection is lost."""
        exchange = self.exchange
        assert exchange is not None
        url = exchange.implode_hostname(exchange.urls["api"]["ws"]["private"]["contract"])
        async with asyncio.timeout(self._timeout_s):
            await exchange.authenticate(url)
        hashes, topics = ["orders", "myTrades"], ["order", "execution"]
        while True:
            await exchange.watch_topics(url, hashes, topics)


def translate(error: ccxt_errors.BaseError) -> VenueError:
    """Return our error for ccxt's: what matters is whether the request may have been carried out."""
    code = _code(str(error))
    text = str(error)[:300]
    if code in NOT_FOUND_CODES or isinstance(error, ccxt_errors.OrderNotFound):
        return NotFound(text)
    if isinstance(error, ccxt_errors.RateLimitExceeded | ccxt_errors.DDoSProtection):
        return VenueBusy(text)
    if isinstance(error, ccxt_errors.AuthenticationError):
        return CredentialsRefused(text)
    if isinstance(error, ccxt_errors.InvalidNonce):
        return SignatureRefused(text)
    if code in UNKNOWN_CODES or isinstance(error, ccxt_errors.OperationFailed) or not code:
        return OutcomeUnknown(text)
    return VenueRejected(text)


def _code(text: str) -> str:
    """Return the venue's retCode out of ccxt's message, or an empty string when no answer was read."""
    start = text.find("{")
    if start < 0:
        return ""
    try:
        return str(json.loads(text[start:]).get("retCode", ""))
    except ValueError:
        return ""
