"""Public sockets: `/v5/public/{spot,linear}`; subscribe, unsubscribe, ping."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from apps.simulator.markets.base import LINEAR, SPOT
from apps.simulator.public.broadcast import Broadcaster
from apps.simulator.public.connection import Connection

SPOT_ARGS_MOST = 10  # topics in one subscribe of spot, as at the venue
ARGS_LETTERS_MOST = 21_000


class PublicSockets:
    """The handler of all public sockets; kinds without markets (inverse, option) are answered too."""

    def __init__(self, broadcaster: Broadcaster, limited: bool = True) -> None:
        self._broadcaster, self._limited = broadcaster, limited

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get(f"/v5/public/{kind}", self._handler(kind)) for kind in (SPOT, LINEAR, "inverse", "option")]

    def _handler(self, kind: str) -> Any:
        async def handle(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
            await socket.prepare(request)
            await self._serve(Connection(socket, kind))
            return socket

        return handle

    async def _serve(self, connection: Connection) -> None:
        self._broadcaster.connect(connection)
        writer = asyncio.create_task(connection.write_all())
        try:
            async for message in connection.socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._handle(connection, message.data)
        finally:
            self._broadcaster.disconnect(connection)
            connection.abort()
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer

    def _handle(self, connection: Connection, text: str | bytes) -> None:
        try:
            message = orjson.loads(text)
            op, args = message.get("op"), message.get("args") or []
        except (ValueError, AttributeError):
            connection.send(_reply(connection, {}, "", False, "Params Error"))
            return
        if self._broadcaster.watch.silent():
            return
        if op == "ping":
            connection.send(_reply(connection, message, "ping", True, "pong"))
        elif op in ("subscribe", "unsubscribe"):
            self._topics(connection, message, op, args)
        else:
            connection.send(_reply(connection, message, str(op), False, f"error:unknown op {op}"))

    def _topics(self, connection: Connection, message: dict[str, Any], op: str, args: Any) -> None:
        refusal = self._refusal(connection.kind, args)
        if refusal is None and op == "unsubscribe":
            for topic in args:
                self._broadcaster.unsubscribe(connection, topic)
        if refusal is not None or op == "unsubscribe":
            connection.send(_reply(connection, message, op, refusal is None, refusal or ""))
            return
        unknown = [topic for topic in args if not self._broadcaster.knows(connection.kind, topic)]
        why = f"error:handler not found,topic:{unknown[0]}" if unknown else ""
        connection.send(_reply(connection, message, op, not unknown, why))
        for topic in () if unknown else args:  # after the answer, because a snapshot goes out at once
            self._broadcaster.subscribe(connection, topic)

    def _refusal(self, kind: str, args: Any) -> str | None:
        if not isinstance(args, list) or not args or not all(isinstance(topic, str) for topic in args):
            return "Params Error"
        if self._limited and kind == SPOT and len(args) > SPOT_ARGS_MOST:
            return f"args size >{SPOT_ARGS_MOST}"
        if sum(map(len, args)) > ARGS_LETTERS_MOST:
            return f"args length >{ARGS_LETTERS_MOST}"
        return None


def _reply(connection: Connection, message: dict[str, Any], op: str, success: bool, words: str) -> bytes:
    return orjson.dumps(
        {
            "success": success,
            "ret_msg": words,
            "conn_id": connection.id,
            "req_id": str(message.get("req_id", "")),
            "op": op,
        }
    )
