"""The control address: ledger, state, clock, faults, market. Loopback, its own port, `Authorization: Bearer`."""

from __future__ import annotations

import hmac
from typing import Any

import orjson
from aiohttp import web

from apps.simulator.exchange import rows
from apps.simulator.exchange.context import CONTEXT, ExchangeContext
from apps.simulator.exchange.faults import FaultError
from apps.simulator.exchange.ledger import KINDS

CHUNK = 1 << 16
VERBS = ("pause", "resume", "until", "step", "halt", "unhalt", "speed")


class ControlError(ValueError):
    """A control request that is wrong; the text names the field."""


def control_routes(app: web.Application) -> None:
    """Add the control addresses."""
    app.middlewares.append(_guard)
    app.router.add_get("/ledger", ledger)
    app.router.add_get("/state", state)
    app.router.add_get("/clock", clock)
    app.router.add_get("/faults", faults_list)
    app.router.add_post("/faults", faults_add)
    app.router.add_delete("/faults", faults_clear)
    app.router.add_post("/market", market)
    app.router.add_post("/ledger", ledger_set)


@web.middleware
async def _guard(request: web.Request, handler: Any) -> web.StreamResponse:
    """Only the holder of the token; what is wrong with a request is said in its answer."""
    given = request.headers.get("Authorization", "")
    expected = f"Bearer {request.app[CONTEXT].control_token}"
    if not hmac.compare_digest(given.encode(), expected.encode()):
        return _json({"error": "Authorization: Bearer with the token of DIR/control.token is needed"}, 401)
    try:
        return await handler(request)
    except (ControlError, FaultError, ValueError) as error:
        return _json({"error": str(error)}, 400)


async def ledger(request: web.Request) -> web.StreamResponse:
    """GET /ledger?kind=…&since=SEQ: JSON lines in order of `seq`; header X-Ledger-Seq is the newest seq there is."""
    book = request.app[CONTEXT].ledger
    kind, since = request.query.get("kind", ""), request.query.get("since", "0")
    if kind and kind not in KINDS:
        raise ControlError(f"kind must be one of {', '.join(KINDS)} (it is {kind})")
    if not since.isdigit():
        raise ControlError(f"since must be a seq (it is {since})")
    response = web.StreamResponse(headers={"X-Ledger-Seq": str(book.seq)})
    response.content_type = "application/x-ndjson"
    await response.prepare(request)
    waiting = bytearray()
    for line in book.read(int(since), kind):
        waiting += line
        if len(waiting) >= CHUNK:
            await response.write(bytes(waiting))
            waiting.clear()
    await response.write(bytes(waiting))
    await response.write_eof()
    return response


async def ledger_set(request: web.Request) -> web.Response:
    """POST /ledger {"all_frames": true}: record every public and private frame from now on."""
    body = await _object(request, {"all_frames"})
    request.app[CONTEXT].ledger.all_frames = bool(body.get("all_frames"))
    return _json({"all_frames": request.app[CONTEXT].ledger.all_frames})


async def state(request: web.Request) -> web.Response:
    """GET /state: accounts by key, with wallets, positions and open orders."""
    context = request.app[CONTEXT]
    return _json({"market_ns": context.market_ns(), "accounts": [_account(context, uid) for uid in _uids(context)]})


async def clock(request: web.Request) -> web.Response:
    """GET /clock: the market clock beside the wall clock."""
    return _json(_clock(request.app[CONTEXT]))


async def faults_list(request: web.Request) -> web.Response:
    """GET /faults: what is on, and how often each was used."""
    return _json({"faults": request.app[CONTEXT].faults.listed()})


async def faults_add(request: web.Request) -> web.Response:
    """POST /faults: switch one on."""
    number = request.app[CONTEXT].faults.add(await request.read())
    return _json({"id": number})


async def faults_clear(request: web.Request) -> web.Response:
    """DELETE /faults: end all."""
    request.app[CONTEXT].faults.clear()
    return _json({"faults": []})


async def market(request: web.Request) -> web.Response:
    """POST /market: one of pause, resume, until, step, halt, unhalt, speed; answers with the clock.

    With `"wait": true` the answer comes when the market stands and every frame up to there has left.
    """
    context = request.app[CONTEXT]
    body = await _object(request, {*VERBS, "wait"})
    wait = body.pop("wait", False)
    if len(body) != 1:
        raise ControlError(f"say one of {', '.join(VERBS)}")
    [(verb, value)] = body.items()
    _move(context, verb, value)
    if wait and context.driver is not None:
        await context.driver.stood()
    return _json(_clock(context))


def _move(context: ExchangeContext, verb: str, value: Any) -> None:
    market_clock = context.clock
    if verb == "until":
        market_clock.run_until(_whole(verb, value))
    elif verb == "step":
        market_clock.step(_whole(verb, value))
    elif verb == "speed":
        market_clock.speed_set(float("inf") if value == "max" else float(value))
    elif verb in ("halt", "unhalt"):
        symbol = value if isinstance(value, str) else None
        (market_clock.halt if verb == "halt" else market_clock.unhalt)(symbol)
    elif verb == "pause":
        market_clock.pause()
    else:
        market_clock.resume()


def _clock(context: ExchangeContext) -> dict[str, Any]:
    saturated = context.driver is not None and context.driver.saturated
    return {**context.clock.as_dict(), "saturated": saturated}


def _whole(verb: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ControlError(f"{verb} must be a whole number (it is {value!r})")
    return value


async def _object(request: web.Request, allowed: set[str]) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError:
        raise ControlError("the body is not JSON") from None
    if not isinstance(body, dict) or set(body) - allowed:
        raise ControlError(f"the body must be an object with {', '.join(sorted(allowed))}")
    return body


def _uids(context: ExchangeContext) -> list[int]:
    return sorted(context.engine.accounts)


def _account(context: ExchangeContext, uid: int) -> dict[str, Any]:
    engine = context.engine
    account, funds = engine.accounts[uid], engine.funds
    return {
        "api_key": account.api_key,
        "uid": uid,
        "wallets": {coin: rows.plain(amount) for coin, amount in account.wallets.items()},
        "wallet": rows.wallet_row(account, funds),
        "positions": [
            rows.position_row(account, funds.spec(("linear", symbol)), funds)
            for symbol, position in account.positions.items()
            if position.quantity
        ],
        "orders": [
            {"category": order.kind, **rows.order_row(order, funds.spec(order.key))} for order in engine.active.of(uid)
        ],
    }


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
