"""The send gate: what it lets out, what it stops, and that nothing is on the wire when it stops it."""

import asyncio
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from apps.common.clocks import boottime_ns
from apps.execution.brokers.gate import SendGate, Sending, gated_request_class, sending, signed_now
from trader.core.types import GateRefused


@dataclass
class Verdict:
    state: str = "clear"
    why: str = ""
    is_old: bool = False


@dataclass
class Judge:
    lease: bool = True
    verdicts: list[Verdict] = field(default_factory=lambda: [Verdict()])
    asked: int = 0

    def lease_allows(self) -> bool:
        return self.lease

    def kill_verdict(self, scopes: tuple[str, ...]) -> Verdict:
        self.asked += 1
        return self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]


class Wire:
    """A server that counts what reaches it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __aenter__(self) -> "Wire":
        app = web.Application()
        app.router.add_post("/v5/order/create", self._take)
        app.router.add_get("/v5/market/time", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return web.json_response({"retCode": 0})


async def send(judge: Judge, announced: Sending | None, *, signed: bool = True) -> tuple[Wire, Exception | None]:
    """Send one order through a gated session; return the wire and what stopped it."""
    async with Wire() as wire:
        async with aiohttp.ClientSession(request_class=gated_request_class(SendGate(judge, max_age_s=0.3))) as session:
            token = sending.set(announced)
            if announced is not None and signed:
                signed_now()
            try:
                async with session.post(f"{wire.url}/v5/order/create", data=b"order") as answer:
                    await answer.read()
            except GateRefused as error:
                return wire, error
            finally:
                sending.reset(token)
        return wire, None


async def test_a_clear_switch_and_a_sure_lease_let_an_order_out_and_note_when() -> None:
    announced = Sending(adds_risk=True)
    wire, refused = await send(Judge(), announced)
    assert refused is None
    assert wire.bodies == [b"order"]
    assert announced.wire_ns >= announced.signed_ns > 0


@pytest.mark.parametrize(
    ("judge", "word"),
    [
        (Judge(lease=False), "lease"),
        (Judge(verdicts=[Verdict("engaged", "by a person")]), "engaged"),
        (Judge(verdicts=[Verdict("unclear", "the bus cannot be read")]), "cannot be read"),
    ],
)
async def test_what_adds_risk_is_stopped_before_its_first_byte(judge: Judge, word: str) -> None:
    wire, refused = await send(judge, Sending(adds_risk=True))
    assert refused is not None
    assert word in str(refused)
    assert wire.bodies == []


async def test_what_adds_no_risk_passes_an_engaged_switch_and_a_lost_lease() -> None:
    wire, refused = await send(Judge(lease=False, verdicts=[Verdict("engaged", "x")]), Sending(adds_risk=False))
    assert refused is None
    assert wire.bodies == [b"order"]


async def test_an_old_signature_is_stopped_even_where_nothing_else_speaks_against_it() -> None:
    announced = Sending(adds_risk=False, signed_ns=boottime_ns() - 1_000_000_000)
    wire, refused = await send(Judge(), announced, signed=False)
    assert "signature" in str(refused)
    assert wire.bodies == []


async def test_an_order_that_nobody_announced_is_stopped() -> None:
    wire, refused = await send(Judge(), None)
    assert "announced" in str(refused)
    assert wire.bodies == []


async def test_readings_that_are_merely_old_are_waited_for() -> None:
    judge = Judge(verdicts=[Verdict("unclear", "old", is_old=True)] * 3 + [Verdict()])
    wire, refused = await send(judge, Sending(adds_risk=True))
    assert refused is None
    assert len(wire.bodies) == 1
    assert judge.asked >= 4


async def test_old_readings_are_not_waited_for_longer_than_the_signature_lives() -> None:
    judge = Judge(verdicts=[Verdict("unclear", "old", is_old=True)])
    started = asyncio.get_running_loop().time()
    wire, refused = await send(judge, Sending(adds_risk=True))
    assert refused is not None
    assert wire.bodies == []
    assert asyncio.get_running_loop().time() - started < 1.0


async def test_a_question_passes_without_being_announced() -> None:
    async with Wire() as wire:
        request_class = gated_request_class(SendGate(Judge(lease=False)))
        async with (
            aiohttp.ClientSession(request_class=request_class) as session,
            session.get(f"{wire.url}/v5/market/time") as answer,
        ):
            assert answer.status == 200
        assert len(wire.bodies) == 1
