"""From `manage.py up` to the first moving price in a browser, the first time ever and after; and the idle stack.

The clock starts before the command and stops at the second, different price of one instrument that a signed-in
socket receives. Memory is the proportional set size of every process, servers and children included.
"""

import asyncio
import json
import time
from typing import Any

import psutil
import websockets

from tests.benchmarks.bench_tick import _sign_in
from tests.benchmarks.table import row
from tests.stack import RunningStack

FIRST_S, AGAIN_S = 30.0, 12.0
MEMORY_MB, CPU_PERCENT = 1500.0, 30.0
SETTLE_S, IDLE_S = 30.0, 30.0


def rows() -> list[dict[str, Any]]:
    """Measure and return the table's rows."""
    stack = RunningStack("--market", "synthetic")
    with stack:
        first = _until_price(stack)
        stack.stop()
        stack.output.write_text("")
        stack.start()
        again = _until_price(stack)
        time.sleep(SETTLE_S)
        memory, cpu = _idle(stack)
        stopped = stack.stop()
    return [
        row("up to first moving price in a browser, first time ever", first, "s", "goal", FIRST_S),
        row("up to first moving price in a browser, afterwards", again, "s", "goal", AGAIN_S),
        row("whole stack idle, 20 instruments twice a second: memory", memory, "MB", "goal", MEMORY_MB),
        row("whole stack idle, 20 instruments twice a second: processor", cpu, "% of a core", "goal", CPU_PERCENT),
        row("Ctrl-C to nothing running", stopped, "s", "goal", 10.0),
    ]


def _until_price(stack: RunningStack) -> float:
    assert stack.process is not None
    began = psutil.Process(stack.process.pid).create_time()
    stack.wait(lambda: "open http" in stack.output.read_text(), "the web answers", 90, every_s=0.05)
    cookie, port = _sign_in(stack)
    stack.wait(lambda: stack.query("select 1 from market_instrument"), "instruments", 60, every_s=0.05)
    ids = [found[0] for found in stack.query("select id from market_instrument")]
    return asyncio.run(_moved(port, cookie, ids)) - began


async def _moved(port: int, cookie: str, ids: list[int]) -> float:
    headers = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{port}"}
    first: dict[str, Any] = {}
    async with websockets.connect(f"ws://127.0.0.1:{port}/ws/", additional_headers=headers) as socket:
        await socket.send(json.dumps({"op": "sub", "topics": [f"quote.{found}" for found in ids]}))
        while True:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 60))
            for topic, quote in frame.get("v", {}).items() if frame.get("k") == "state" else []:
                if first.setdefault(topic, quote["bid"]) != quote["bid"]:
                    return time.time()


def _idle(stack: RunningStack) -> tuple[float, float]:
    """Return the memory in MB and the share of a core in percent, over all processes of the stack."""
    assert stack.process is not None
    root = psutil.Process(stack.process.pid)

    def spent() -> dict[int, float]:
        found = {}
        for process in [root, *root.children(recursive=True)]:
            try:
                found[process.pid] = sum(process.cpu_times()[:2])
            except psutil.Error:
                continue
        return found

    before = spent()
    time.sleep(IDLE_S)
    after = spent()
    cpu = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items()) / IDLE_S * 100
    memory = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            memory += process.memory_full_info().pss
        except psutil.Error:
            continue
    return memory / 2**20, cpu
