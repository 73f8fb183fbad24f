"""A program that reads: so many requests a second over a few kept connections, each timed from when it was due."""

import asyncio
import json
import sys
import time

CONNECTIONS = 16


async def main(port: int, token: str, rate: float, seconds: float, paths: list[str], out: str) -> None:
    """Ask for the paths in turn, `rate` a second, and write down how long each answer took from its due time."""
    due: asyncio.Queue[tuple[float, str] | None] = asyncio.Queue()
    took: list[float] = []
    bad: list[str] = []
    readers = [asyncio.create_task(_reader(port, token, due, took, bad)) for _ in range(CONNECTIONS)]
    began = time.perf_counter()
    count = int(rate * seconds)
    for index in range(count):
        at = began + index / rate
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        due.put_nowait((at, paths[index % len(paths)]))
    for _ in readers:
        due.put_nowait(None)
    await asyncio.gather(*readers)
    spent = time.perf_counter() - began
    with open(out, "w") as file:  # noqa: ASYNC230  (the work is done)
        json.dump({"took_ms": took, "bad": bad[:5], "seconds": spent, "asked": count}, file)


async def _reader(port: int, token: str, due: asyncio.Queue, took: list[float], bad: list[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (item := await due.get()) is not None:
        at, path = item
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        status, body = await _answer(reader)
        took.append((time.perf_counter() - at) * 1e3)
        if status != 200:
            bad.append(f"{status} {path} {body[:200]!r}")
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return status, await reader.readexactly(int(line.split(b":")[1]))
    chunks = []
    while size := int(await reader.readline(), 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return status, b"".join(chunks)


if __name__ == "__main__":
    port, token, rate, seconds, paths, out = sys.argv[1:]
    asyncio.run(main(int(port), token, float(rate), float(seconds), json.loads(paths), out))
