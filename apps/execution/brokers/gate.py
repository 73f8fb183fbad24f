"""The send gate: the last place before a venue's socket, after the connection has been acquired.

It judges the age of the signature, and, of what adds risk, the lease and the kill switch. Nothing after it
can pause between the judgement and the write but the process itself; what gets out after such a pause
carries an old signature, and the venue's receive window refuses it.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp

from apps.common.clocks import boottime_ns
from trader.core.types import GateRefused

ORDER_PATHS = ("/order/create", "/order/amend", "/order/create-batch", "/order/amend-batch", "/position/trading-stop")


@dataclass(slots=True)
class Sending:
    """What the gate must know of the request that is on its way: set by the desk around each order it sends."""

    adds_risk: bool
    scopes: tuple[str, ...] = ()
    signed_ns: int = 0
    wire_ns: int = 0
    passed: Callable[[], None] | None = field(default=None, repr=False)


sending: ContextVar[Sending | None] = ContextVar("sending", default=None)


def signed_now() -> None:
    """Note the moment of the signature for the request under way; called by the client that signs."""
    under_way = sending.get()
    if under_way is not None:
        under_way.signed_ns = boottime_ns()


class Verdict(Protocol):
    """What the kill switch reads: `clear`, `engaged` or `unclear`, why, and whether only age stands against it."""

    @property
    def state(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def is_old(self) -> bool: ...


class Judge(Protocol):
    """What the desk tells the gate: quick, synchronous, from memory only."""

    def lease_allows(self) -> bool: ...
    def kill_verdict(self, scopes: tuple[str, ...]) -> Verdict: ...


class SendGate:
    """Admits or refuses each request. Without an announced `Sending`, nothing that could be an order passes."""

    def __init__(self, judge: Judge, max_age_s: float = 0.6, wait_s: float = 0.3) -> None:
        self._judge = judge
        self._max_age_ns = int(max_age_s * 1e9)
        self._wait_s = wait_s

    async def admit(self, method: str, path: str, transport: asyncio.WriteTransport | None) -> None:
        """Return when the request may be written, else raise `GateRefused` with the reason."""
        if method == "GET":
            return
        under_way = sending.get()
        if under_way is None:
            if path.endswith(ORDER_PATHS):
                raise GateRefused("an order reached the gate that nobody announced")
            return
        if under_way.adds_risk:
            await self._wait_for_fresh(under_way)
        if transport is None or transport.is_closing():
            raise GateRefused("the connection closed before the order was written")
        if transport.get_write_buffer_size() > 0:
            raise GateRefused("earlier bytes still wait on this connection")
        self._judge_now(under_way)
        under_way.wire_ns = boottime_ns()
        if under_way.passed is not None:
            under_way.passed()

    async def _wait_for_fresh(self, under_way: Sending) -> None:
        """Wait for new readings where they are merely old, while the signature's age allows."""
        until = boottime_ns() + int(self._wait_s * 1e9)
        while self._judge.kill_verdict(under_way.scopes).is_old:
            if boottime_ns() >= min(until, under_way.signed_ns + self._max_age_ns):
                return
            await asyncio.sleep(0.005)

    def _judge_now(self, under_way: Sending) -> None:
        age_ns = boottime_ns() - under_way.signed_ns
        if age_ns > self._max_age_ns:
            raise GateRefused(f"the signature is {age_ns / 1e6:.0f} ms old, over {self._max_age_ns / 1e6:.0f} ms")
        if not under_way.adds_risk:
            return
        if not self._judge.lease_allows():
            raise GateRefused("the lease is in doubt: too near its expiry, or past it")
        verdict = self._judge.kill_verdict(under_way.scopes)
        if verdict.state != "clear":
            raise GateRefused(f"kill switch {verdict.state}: {verdict.why}")


def gated_request_class(gate: SendGate) -> type[aiohttp.ClientRequest]:
    """Return a request class for `aiohttp.ClientSession(request_class=…)` whose `send` passes the gate first."""

    class GatedRequest(aiohttp.ClientRequest):
        async def send(self, conn: Any) -> aiohttp.ClientResponse:
            await gate.admit(self.method, self.url.path, conn.transport)
            return await super().send(conn)

    return GatedRequest
