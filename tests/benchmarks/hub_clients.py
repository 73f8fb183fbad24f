"""Many browsers in one process, as cheap as they can be: raw sockets that note when each frame came.

`python -m tests.benchmarks.hub_clients PORT PATH CLIENTS ASK OUT`; prints `open` when all are connected, and measures
between two lines on its standard input.
"""

import asyncio
import base64
import json
import os
import sys
import time

import uvloop

STAMP = os.environ.get("BENCH_STAMP", '"wall_ns":').encode()
COOKIE = os.environ.get("BENCH_COOKIE", "")
NUMBER = b'"number":'


class Browser(asyncio.Protocol):
    """A socket that reads frames; of each it keeps the stamps inside and the time."""

    def __init__(self, path, port, ask):
        self.path, self.port, self.ask = path, port, ask
        self.data = b""
        self.is_open = False
        self.frames = 0
        self.ages = []  # (stamp, arrival ns) of every value in a frame
        self.numbers = []  # (number, arrival ns) of log messages

    def connection_made(self, transport):
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nOrigin: http://127.0.0.1:{self.port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Version: 13\r\nCookie: {COOKIE}\r\n\r\n".encode()
        )

    def data_received(self, data):
        now = time.time_ns()
        self.data += data
        if not self.is_open:
            head, found, self.data = self.data.partition(b"\r\n\r\n")
            if not found:
                self.data = head
                return
            assert b" 101 " in head, head
            self.is_open = True
            if self.ask:
                self.transport.write(_masked(self.ask))
        self._frames(now)

    def _frames(self, now):
        data, at = self.data, 0
        while len(data) - at >= 2:
            length, head = data[at + 1], 2
            if length == 126:
                length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            elif length == 127:
                length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
            if len(data) - at < head + length:
                break
            self._frame(data[at + head : at + head + length], now)
            at += head + length
        self.data = data[at:]

    def _frame(self, text, now):
        self.frames += 1
        if text.startswith(b'{"k":"snap"'):
            return
        for piece in text.split(STAMP)[1:]:
            self.ages.append((_integer(piece), now))
        if b'"k":"log"' in text:
            for piece in text.split(NUMBER)[1:]:
                self.numbers.append((_integer(piece), now))


def _integer(piece):
    end = 0
    while end < len(piece) and piece[end] in b"0123456789":
        end += 1
    return int(piece[:end])


def _masked(text):
    mask = b"\0\0\0\0"
    size = len(text)
    return (
        bytes([0x81, 0x80 | size]) + mask + text
        if size < 126
        else (bytes([0x81, 0xFE]) + size.to_bytes(2, "big") + mask + text)
    )


async def main(port, path, clients, ask):
    loop = asyncio.get_running_loop()
    browsers = []
    for _ in range(int(clients)):
        _, browser = await loop.create_connection(lambda: Browser(path, port, ask.encode()), "127.0.0.1", int(port))
        browsers.append(browser)
    async with asyncio.timeout(20):
        while not all(browser.is_open for browser in browsers):
            await asyncio.sleep(0.02)
    print("open", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    for browser in browsers:
        browser.ages.clear()
    began = time.monotonic()
    await loop.run_in_executor(None, sys.stdin.readline)
    return {
        "seconds": time.monotonic() - began,
        "stamps": [browser.ages for browser in browsers],
        "numbers": [browser.numbers for browser in browsers],
        "alive": sum(not browser.transport.is_closing() for browser in browsers),
    }


if __name__ == "__main__":
    found = uvloop.run(main(*sys.argv[1:5]))
    with open(sys.argv[5], "w") as file:
        json.dump(found, file)
