"""`/v5/trade`: orders by socket are not offered; whoever tries is told so in the words of that socket."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from apps.simulator.exchange.errors import BAD_REQUEST

WORDS = "the order socket is not offered by this simulated exchange: send orders by REST"


async def handle(request: web.Request) -> web.WebSocketResponse:
    """Answer every operation with the refusal that clients raise as a bad request."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    connection_id = uuid.uuid4().hex[:20]
    async for message in socket:
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            continue
        asked = _asked(message.data)
        answer = {"retCode": BAD_REQUEST, "retMsg": WORDS, "op": asked.get("op", ""), "connId": connection_id}
        if "reqId" in asked:
            answer["reqId"] = asked["reqId"]
        await socket.send_str(orjson.dumps(answer).decode())
    return socket


def _asked(text: str | bytes) -> dict[str, Any]:
    try:
        asked = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return asked if isinstance(asked, dict) else {}
