"""Kill switch: engage → every reader blocks, four processes with a reader each, push and polls on all three places."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from django.core.management import call_command

from apps.risk.killswitch import switch
from apps.risk.killswitch.places import Engage, Place
from apps.risk.killswitch.records import Record
from apps.risk.killswitch.switch import Places, places_of_host
from tests.benchmarks.table import percentile, row

READERS = 4
TRIALS = 200
IDLE_S = 10.0
LIMIT_P99_MS, LIMIT_WORST_MS = 50.0, 200.0
CPU_LIMIT = 0.02
ENV = {**os.environ, "DJANGO_SETTINGS_MODULE": "trader.settings"}


class Timed:
    """A place that notes when its write was done: the first of them is the first durable write."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.name = place.name
        self.done_ns = 0

    async def engage(self, wish: Engage) -> Record:
        """Engage, and note when that was done."""
        record = await self._place.engage(wish)
        self.done_ns = time.monotonic_ns()
        return record

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)


class Reader:
    """A child process with a reader."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def until(self, state: str, generation: int = 0) -> int:
        """Return the time at which it said that state, of at least that generation."""
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            while True:
                line = await self._process.stdout.readline()
                if not line:
                    raise RuntimeError("a reader ended")
                said, number, at_ns = line.split()
                if said.decode() == state and int(number) >= generation:
                    return int(at_ns)

    async def cpu_ns(self) -> int:
        """Return the CPU time it has used."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await self.until("cpu")

    async def end(self) -> None:
        """Let it stop."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()


def rows() -> list[dict[str, Any]]:
    """Measure and return the table's rows."""
    call_command("migrate", verbosity=0)
    return asyncio.run(_measure())


async def _measure() -> list[dict[str, Any]]:
    timed = {name: Timed(place) for name, place in places_of_host().by_name.items()}
    places = Places(timed["database"], timed["bus"], timed["file"])  # type: ignore[arg-type]
    await switch.first_up(places)
    async with _readers() as readers:
        both = [await _trial(places, timed, readers) for _ in range(TRIALS)]
        alone = {name: [await _trial_alone(places, name, readers) for _ in range(30)] for name in timed}
        cpu = await _cpu(readers)
    await places.close()
    after_write = [after for after, _ in both]
    after_call = [whole for _, whole in both]
    return [
        row("kill: first durable write → 4 readers block, p50", percentile(after_write, 0.5), "ms", "shown", None),
        row("kill: first durable write → 4 readers block, p99", percentile(after_write, 0.99), "ms", "goal",
            LIMIT_P99_MS),
        row("kill: first durable write → 4 readers block, worst", max(after_write), "ms", "goal",
            LIMIT_WORST_MS),
        row("kill: engage called → 4 readers block, p99", percentile(after_call, 0.99), "ms", "goal",
            LIMIT_P99_MS),
        *(
            row(f"kill: engaged by {name} alone → 4 readers block, worst", max(times), "ms", "goal",
                LIMIT_WORST_MS)
            for name, times in alone.items()
        ),
        row("kill: a reader's polls", cpu, "cores", "goal", CPU_LIMIT),
    ]  # fmt: skip


async def _trial(places: Places, timed: dict[str, Timed], readers: list[Reader]) -> tuple[float, float]:
    """Engage once; return ms from the first durable write, and from the call, to the last reader's block."""
    called_ns = time.monotonic_ns()
    result = await switch.engage("all", "bench", places=places)
    blocked = max(await asyncio.gather(*(reader.until("engaged", result.record.generation) for reader in readers)))
    first_ns = min(place.done_ns for place in timed.values())
    await _release(places, readers)
    return max(0.0, (blocked - first_ns) / 1e6), (blocked - called_ns) / 1e6


async def _trial_alone(places: Places, name: str, readers: list[Reader]) -> float:
    """Engage in one place only, as if the others were gone for the writer; return ms to the last reader's block."""
    wish = Engage("all", "bench", "", False, 1)
    called_ns = time.monotonic_ns()
    record = await places.by_name[name].engage(wish)
    blocked = max(await asyncio.gather(*(reader.until("engaged", record.generation) for reader in readers)))
    await switch.engage("all", "bench", generation=record.generation, places=places)
    await _release(places, readers)
    return (blocked - called_ns) / 1e6


async def _release(places: Places, readers: list[Reader]) -> None:
    record = (await switch.release("all", "bench", "next trial", places=places)).record
    await asyncio.gather(*(reader.until("clear", record.generation) for reader in readers))


async def _cpu(readers: list[Reader]) -> float:
    """Return the cores that one reader uses while nothing happens."""
    before = await asyncio.gather(*(reader.cpu_ns() for reader in readers))
    await asyncio.sleep(IDLE_S)
    after = await asyncio.gather(*(reader.cpu_ns() for reader in readers))
    used = [late - early for early, late in zip(before, after, strict=True)]
    return sum(used) / len(used) / IDLE_S / 1e9


@contextlib.asynccontextmanager
async def _readers() -> AsyncIterator[list[Reader]]:
    readers = [
        Reader(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.benchmarks.kill_reader", env=ENV,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )
        )
        for _ in range(READERS)
    ]  # fmt: skip
    try:
        await asyncio.gather(*(reader.until("ready") for reader in readers))
        yield readers
    finally:
        await asyncio.gather(*(reader.end() for reader in readers))
