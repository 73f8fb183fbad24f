"""The way of a request: address limit, ledger, faults, signature, key's limit, handler, envelope."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from apps.simulator.exchange.auth import request_check
from apps.simulator.exchange.context import CONTEXT, ExchangeContext
from apps.simulator.exchange.errors import (
    BAD_REQUEST,
    PATH_UNKNOWN,
    SYSTEM_ERROR,
    TOO_MANY,
    VenueRefusal,
    bad_request,
)
from apps.simulator.exchange.faults import Fault
from apps.simulator.exchange.private_rest import PRIVATE
from apps.simulator.exchange.rest_orders import BatchAnswer

log = logging.getLogger("simulator.exchange")

ESSENTIALS = (
    "category", "symbol", "side", "orderType", "qty", "price", "timeInForce", "reduceOnly", "closeOnTrigger",
    "triggerPrice", "triggerDirection", "orderFilter", "orderLinkId", "orderId", "marketUnit", "settleCoin",
    "baseCoin", "buyLeverage", "cursor", "limit", "execType", "accountType", "startTime", "endTime", "interval",
)  # fmt: skip
HELD_MS = 60_000.0
ROW: web.RequestKey[dict[str, Any]] = web.RequestKey("ledger_row", dict)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def private_routes(app: web.Application) -> None:
    """Add every private address; what the real venue has and this one has not is told so by the gateway."""
    for path, (method, _) in PRIVATE.items():
        app.router.add_route(method, path, answer_private)


@web.middleware
async def gateway(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request in, note it and its outcome, and do to it what the faults say."""
    context = request.app[CONTEXT]
    is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
    body = await request.read() if request.method == "POST" else b""
    row = context.ledger.add(
        "request",
        context.market_ns(),
        method="SOCKET" if is_socket else request.method,
        path=request.path,
        body=essentials(request, body),
        api_key=request.headers.get("X-BAPI-API-KEY", ""),
        signed_ms=request.headers.get("X-BAPI-TIMESTAMP", ""),
        outcome="opened" if is_socket else None,
    )
    request[ROW] = row
    if not context.limits.address_allows(request.remote or ""):
        row["outcome"] = "http 403"
        context.ledger.changed(row)
        return _forbidden()
    if is_socket:
        return await handler(request)
    context.faults.crash("request", request.path)
    response = await _faulty_before(context, request)
    if response is None:
        response = await _answered(context, request, handler)
    row["outcome"] = row["outcome"] or f"http {response.status}"
    context.ledger.changed(row)
    return await _faulty_after(context, request, response)


def essentials(request: web.Request, body: bytes) -> dict[str, Any]:
    """Return what the ledger keeps of a request: the fields by which an order can be told."""
    source: Mapping[str, Any] = request.query
    if body:
        try:
            decoded = orjson.loads(body)
        except orjson.JSONDecodeError:
            return {"unreadable": True}
        source = decoded if isinstance(decoded, dict) else {}
    kept = {name: source[name] for name in ESSENTIALS if name in source}
    members = source.get("request")
    if isinstance(members, list):
        some = [m for m in members if isinstance(m, dict)]
        kept["request"] = [{name: m[name] for name in ESSENTIALS if name in m} for m in some]
    return kept


async def answer_private(request: web.Request) -> web.Response:
    """Answer a signed request."""
    context, row = request.app[CONTEXT], request[ROW]
    headers: dict[str, str] = {}
    try:
        query = request.raw_path.partition("?")[2]
        body = (await request.read()).decode() if request.method == "POST" else ""
        wall_ms = context.wall_ns() // 1_000_000
        entry = request_check(context.keys, request.headers, body if request.method == "POST" else query, wall_ms)
        params = _json_object(body) if request.method == "POST" else request.query
        standing = context.limits.take(entry.key, request.path, str(params.get("category") or ""), _cost(params))
        if standing is not None:
            headers = standing.headers()
            if standing.exceeded:
                raise VenueRefusal(TOO_MANY, "Too many visits. Exceeded the API Rate Limit.")
        account = context.engine.account_of(entry)
        result = PRIVATE[request.path][1](context, account, params)
        row["outcome"] = "ok"
        words = {"list": result.words} if isinstance(result, BatchAnswer) else {}
        return envelope(context, result, extra=words, headers=headers)
    except VenueRefusal as error:
        row["outcome"] = f"{error.code} {error.message}"
        return envelope(context, {}, error.code, error.message, headers=headers)


def envelope(
    context: ExchangeContext,
    result: Any,
    code: int = 0,
    message: str = "OK",
    extra: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    """Return Bybit's envelope around a result."""
    body = {
        "retCode": code,
        "retMsg": message,
        "result": result,
        "retExtInfo": extra or {},
        "time": context.wall_ns() // 1_000_000,
    }
    return web.Response(body=orjson.dumps(body), content_type="application/json", headers=headers)


async def _answered(context: ExchangeContext, request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed:
        return envelope(context, {}, PATH_UNKNOWN, f"{request.method} is not the method of {request.path}")
    except web.HTTPNotFound:
        message = f"{request.path} is not offered by this simulated exchange"
        return envelope(context, {}, PATH_UNKNOWN, message)
    except web.HTTPException:
        raise
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        request[ROW]["outcome"] = "internal error"
        return envelope(context, {}, SYSTEM_ERROR, "Server error.")


async def _faulty_before(context: ExchangeContext, request: web.Request) -> web.Response | None:
    """Return what a fault answers in place of the handler, None where none does."""
    faults, row = context.faults, request[ROW]

    def hit(kind: Any) -> Fault | None:
        return faults.for_request(kind, request.path, request.method)

    fault = hit("latency")
    if fault is not None:
        await asyncio.sleep(fault.ms / 1000)
    if hit("drop_before") is not None:
        row["outcome"] = "dropped before it was read"
        return _dropped(request)
    if hit("forbidden") is not None:
        return _forbidden()
    fault = hit("server_error")
    if fault is not None:
        return web.Response(status=fault.status, text="Internal Server Error")
    fault = hit("busy")
    if fault is None:
        return None
    if fault.status == 429:
        return web.Response(status=429, text="Too Many Requests")
    row["outcome"] = f"{fault.code or TOO_MANY} too many visits (a fault is on)"
    return envelope(context, {}, fault.code or TOO_MANY, "Too many visits. Exceeded the API Rate Limit.")


async def _faulty_after(
    context: ExchangeContext, request: web.Request, response: web.StreamResponse
) -> web.StreamResponse:
    """Withhold the answer of what has been carried out, where a fault says so."""
    faults, path = context.faults, request.path
    faults.crash("accepted", path)
    if faults.for_request("ack_lost", path, request.method) is not None:
        request[ROW]["answer"] = "lost"
        context.ledger.changed(request[ROW])
        return _dropped(request)
    fault = faults.for_request("timeout_after", path, request.method)
    if fault is not None:
        request[ROW]["answer"] = "withheld"
        context.ledger.changed(request[ROW])
        await asyncio.sleep((fault.ms or HELD_MS) / 1000)
        return _dropped(request)
    if faults.are_on:
        # once the answer's bytes have left: the next turn of the loop is too early, two milliseconds are not
        asyncio.get_running_loop().call_later(0.002, faults.crash, "answered", path)
    return response


def _dropped(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _forbidden() -> web.Response:
    return web.Response(status=403, text="access too frequent")


def _cost(params: Mapping[str, Any]) -> int:
    members = params.get("request")
    return max(1, len(members)) if isinstance(members, list) else 1


def _json_object(body: str) -> dict[str, Any]:
    try:
        decoded = orjson.loads(body or "{}")
    except orjson.JSONDecodeError:
        raise VenueRefusal(BAD_REQUEST, "the body is not JSON") from None
    if not isinstance(decoded, dict):
        raise bad_request("the body must be a JSON object")
    return decoded
