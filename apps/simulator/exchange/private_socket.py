"""The private socket: sign in, subscribe to order, execution, wallet, position, and be told of every change."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from apps.simulator.exchange.auth import Keys, socket_check
from apps.simulator.exchange.engine import Engine
from apps.simulator.exchange.errors import VenueRefusal
from apps.simulator.exchange.faults import Faults
from apps.simulator.exchange.ledger import Ledger
from apps.simulator.markets.clock import MarketClock

log = logging.getLogger("simulator.exchange")

TOPICS = frozenset({"order", "execution", "wallet", "position"})
CATEGORIES = frozenset({"", "spot", "linear"})
FRAMES_MAX = 10_000


class PrivateConnection:
    """One client: who it is, what it wants, and the frames that wait for its socket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.id = uuid.uuid4().hex[:20]
        self.uid: int | None = None
        self.topics: set[str] = set()
        self.frames: asyncio.Queue[bytes] = asyncio.Queue(FRAMES_MAX)

    def wants(self, topic: str, category: str) -> bool:
        """Return whether a frame of this topic and category is wanted."""
        return topic in self.topics or (bool(category) and f"{topic}.{category}" in self.topics)


class PrivateHub:
    """All private connections; hands every frame of an account to those that asked for it."""

    def __init__(self, keys: Keys, engine: Engine, clock: MarketClock, faults: Faults, ledger: Ledger) -> None:
        self._keys, self._engine, self._clock, self._faults, self._ledger = keys, engine, clock, faults, ledger
        self.connections: set[PrivateConnection] = set()

    def publish(self, uid: int, topic: str, rows: list[dict[str, Any]]) -> None:
        """Queue rows of a topic for every connection of an account."""
        for connection in list(self.connections):
            if connection.uid != uid:
                continue
            wanted = [row for row in rows if connection.wants(topic, row.get("category", ""))]
            if wanted:
                self._queue(connection, topic, uid, wanted)

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection until it ends."""
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        connection = PrivateConnection(socket)
        self.connections.add(connection)
        writer = asyncio.create_task(self._write(connection))
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._said(connection, message.data)
        finally:
            self.connections.discard(connection)
            writer.cancel()
        return socket

    async def close(self) -> None:
        """Say goodbye to everybody."""
        for connection in list(self.connections):
            await connection.socket.close()

    def _said(self, connection: PrivateConnection, text: str | bytes) -> None:
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            self._reply(connection, {"success": False, "ret_msg": "error:invalid json", "request": {"op": ""}})
            return
        operation, request_id = message.get("op"), message.get("req_id", "")
        if operation == "ping":
            stamp = str(self._wall_ms())
            self._reply(connection, {"req_id": request_id, "op": "pong", "args": [stamp]})
        elif operation == "auth":
            self._sign_in(connection, message)
        elif operation in ("subscribe", "unsubscribe"):
            self._subscribe(connection, operation, message)
        else:
            said = {"success": False, "ret_msg": f"error:invalid op {operation}", "request": {"op": operation}}
            self._reply(connection, {"req_id": request_id, **said})

    def _sign_in(self, connection: PrivateConnection, message: dict[str, Any]) -> None:
        answer = {"op": "auth", "req_id": message.get("req_id", ""), "success": True, "ret_msg": ""}
        try:
            entry = socket_check(self._keys, message.get("args"), self._wall_ms())
            connection.uid = self._engine.account_of(entry).uid
        except VenueRefusal as error:
            answer |= {"success": False, "ret_msg": f"{error.code}:{error.message}", "request": {"op": "auth"}}
        self._reply(connection, answer)

    def _subscribe(self, connection: PrivateConnection, operation: str, message: dict[str, Any]) -> None:
        topics = message.get("args") or []
        answer = {"op": operation, "req_id": message.get("req_id", ""), "success": True, "ret_msg": ""}
        unknown = [topic for topic in topics if not _is_topic(topic)]
        if connection.uid is None:
            answer |= {"success": False, "ret_msg": "Request not authorized", "request": {"op": operation}}
        elif unknown:
            text = f"error:handler not found,topic:{unknown[0]}"
            answer |= {"success": False, "ret_msg": text, "request": {"op": operation}}
        elif operation == "subscribe":
            connection.topics.update(topics)
        else:
            connection.topics.difference_update(topics)
        self._reply(connection, answer)

    def _reply(self, connection: PrivateConnection, answer: dict[str, Any]) -> None:
        answer["conn_id"] = connection.id
        if not self._faults.silent("private"):
            self._put(connection, orjson.dumps(answer))

    def _queue(self, connection: PrivateConnection, topic: str, uid: int, rows: list[dict[str, Any]]) -> None:
        frame = orjson.dumps(
            {
                "id": f"{uid}_{topic}_{uuid.uuid4().hex[:12]}",
                "topic": topic,
                "creationTime": self._clock.market_ns() // 1_000_000,
                "data": rows,
            }
        )
        if self._faults.silent("private"):
            return
        if not self._faults.frames_held(topic, frame, lambda held: self._put(connection, held)):
            for _ in range(self._faults.frame_fate(topic)):
                self._put(connection, frame)
        if self._ledger.all_frames:
            self._ledger.frame(topic, self._clock.market_ns(), frame)

    def _put(self, connection: PrivateConnection, frame: bytes) -> None:
        try:
            connection.frames.put_nowait(frame)
        except asyncio.QueueFull:
            # a reader that is this far behind reconciles by REST; a queue without end helps nobody
            log.warning("private connection %s reads too slowly: closed", connection.id)
            self.connections.discard(connection)
            asyncio.get_running_loop().create_task(connection.socket.close())

    async def _write(self, connection: PrivateConnection) -> None:
        while True:
            frame = await connection.frames.get()
            try:
                await connection.socket.send_str(frame.decode())
            except (ConnectionError, RuntimeError):
                return

    def _wall_ms(self) -> int:
        return (self._clock.wall_ns() + self._faults.clock_off_ns()) // 1_000_000


def _is_topic(topic: Any) -> bool:
    name, _, category = str(topic).partition(".")
    return name in TOPICS and category in CATEGORIES
