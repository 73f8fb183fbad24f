"""The simulated exchange: public frames a second on one core, trades lost, idle cost, time to listen.

The mix: 20 instruments, each with publicTrade, orderbook.50, kline.1 and tickers; one client in another process. The
frames a second are those of a market that runs as fast as frames go out, over the server's own processor time.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.benchmarks.table import row

ROOT = Path(__file__).resolve().parents[2]
COINS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "LTC", "LINK", "AVAX", "DOT")
TOPICS = ("publicTrade.", "orderbook.50.", "kline.1.", "tickers.")
MEASURED_S, IDLE_S, SATURATED_S = 10.0, 20.0, 8.0
FRAMES_GOAL, IDLE_GOAL, LISTEN_GOAL_S = 2000.0, 6.0, 1.0
TOO_FAST = 2000  # a market speed that no core can serve


class Seen:
    """What the client received: frames, volume of trades by minute, volume that the confirmations say."""

    def __init__(self) -> None:
        self.frames = 0
        self.traded: dict[tuple[str, str, int], float] = defaultdict(float)
        self.confirmed: dict[tuple[str, str, int], float] = {}

    def take(self, kind: str, text: str) -> None:
        """Count a frame."""
        self.frames += 1
        if '"publicTrade.' in text[:40]:
            for trade in orjson.loads(text)["data"]:
                self.traded[kind, trade["s"], trade["T"] // 60_000] += float(trade["v"])
        elif '"confirm":true' in text:
            frame = orjson.loads(text)
            bar = frame["data"][0]
            self.confirmed[kind, frame["topic"].rpartition(".")[2], bar["start"] // 60_000] = float(bar["volume"])

    def share_delivered(self) -> float:
        """Return the part of the confirmed volume that arrived as trades, the first minute of each symbol apart."""
        firsts: dict[tuple[str, str], int] = {}
        for kind, symbol, minute in sorted(self.confirmed):
            firsts.setdefault((kind, symbol), minute)
        whole = {key: value for key, value in self.confirmed.items() if key[2] != firsts[key[:2]]}
        return sum(self.traded[key] for key in whole) / sum(whole.values())


def rows() -> list[dict[str, Any]]:
    """Return the rows of this bench."""
    return asyncio.run(_rows())


async def _rows() -> list[dict[str, Any]]:
    with _simulator("--paused", "--speed", "max") as venue:
        listened_s = venue["listened_s"]
        per_core, share = await _flood(venue)
    with _simulator() as venue:
        idle = await _idle(venue)
    with _simulator("--speed", str(TOO_FAST)) as venue:
        said = await _saturated(venue)
    mix = "20 instruments: trades, books 50, klines, tickers"
    return [
        row(f"simulator: public frames a second of one core ({mix})", per_core, "1/s", "goal", FRAMES_GOAL, False),
        row("simulator: share of trades delivered at that rate", share, "", "all", 1.0, False),
        row("simulator: says that it is saturated when asked for too much", said, "", "yes", 1.0, False),
        row("simulator: 20 instruments moving twice a second, one client", idle, "% of a core", "goal", IDLE_GOAL),
        row("simulator: start to listening, 3 days of history made", listened_s, "s", "goal", LISTEN_GOAL_S),
    ]


async def _flood(venue: dict[str, Any]) -> tuple[float, float]:
    async with _client(venue) as seen:
        await _control(venue, "/market", {"resume": True})
        began_s, frames = _cpu_s(venue), seen.frames
        await asyncio.sleep(MEASURED_S)
        used_s, frames = _cpu_s(venue) - began_s, seen.frames - frames
        await _control(venue, "/market", {"pause": True})
        await asyncio.sleep(1.0)
        share = seen.share_delivered()
    return frames / used_s, round(share, 9)


async def _idle(venue: dict[str, Any]) -> float:
    async with _client(venue):
        await asyncio.sleep(1.0)
        began_s, began = _cpu_s(venue), time.monotonic()
        await asyncio.sleep(IDLE_S)
        return (_cpu_s(venue) - began_s) / (time.monotonic() - began) * 100


async def _saturated(venue: dict[str, Any]) -> float:
    async with _client(venue):
        await asyncio.sleep(SATURATED_S)
        return float(bool((await _control(venue, "/clock"))["saturated"]))


class _client:
    """Two sockets that read everything, for as long as the block lasts."""

    def __init__(self, venue: dict[str, Any]) -> None:
        self._venue, self._seen = venue, Seen()

    async def __aenter__(self) -> Seen:
        self._session = aiohttp.ClientSession()
        self._tasks: list[asyncio.Task[None]] = []
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []
        for kind in ("spot", "linear"):
            socket = await self._session.ws_connect(f"{self._venue['socket']}/v5/public/{kind}", max_msg_size=0)
            self._sockets.append(socket)
            for coin in COINS:
                topics = [f"{topic}{coin}USDT" for topic in TOPICS]
                await socket.send_json({"op": "subscribe", "args": topics})
            self._tasks.append(asyncio.create_task(self._read(kind, socket)))
        await asyncio.sleep(0.5)
        return self._seen

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in self._sockets:
            await socket.close()
        await self._session.close()

    async def _read(self, kind: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            self._seen.take(kind, message.data)


@contextmanager
def _simulator(*options: str) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "manage.py", "simulate", "--port", "0", "--control-port", "0", "--state", folder]
        began_s = time.monotonic()
        process = subprocess.Popen(
            [*command, "--key", "k", "--secret", "s", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            venue = json.loads(process.stdout.readline())
            token = (Path(folder) / "control.token").read_text().strip()
            yield {**venue, "pid": process.pid, "token": token, "listened_s": time.monotonic() - began_s}
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()


async def _control(venue: dict[str, Any], path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {venue['token']}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request("POST" if body else "GET", venue["control"] + path, json=body) as answer,
    ):
        found: dict[str, Any] = await answer.json()
        return found


def _cpu_s(venue: dict[str, Any]) -> float:
    """Return the processor time that the server has used, in seconds."""
    fields = Path(f"/proc/{venue['pid']}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
