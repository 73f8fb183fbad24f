"""A process that engages and releases the kill switch, again and again, and writes down when."""

import asyncio
import json
import sys
import time
from pathlib import Path

import django


async def main(count: int) -> list[tuple[int, int]]:
    """Return (first durable write, release) of each trial, in wall nanoseconds."""
    from apps.risk.killswitch import switch
    from apps.risk.killswitch.switch import Places, places_of_host
    from tests.benchmarks.bench_kill import Timed

    found = []
    opened = places_of_host()
    timed = [Timed(opened.by_name[name]) for name in ("database", "bus", "file")]
    places = Places(*timed)
    monotonic_to_wall = time.time_ns() - time.monotonic_ns()
    for _ in range(count):
        await asyncio.sleep(0.12)
        for place in timed:
            place.done_ns = 0
        await switch.engage("all", "bench", places=places)
        first_ns = min(place.done_ns for place in timed if place.done_ns) + monotonic_to_wall
        await asyncio.sleep(0.25)
        released_ns = time.time_ns()
        await switch.release("all", "bench", "next trial", places=places)
        found.append((first_ns, released_ns))
    await opened.close()
    return found


if __name__ == "__main__":
    django.setup()
    Path(sys.argv[1]).write_text(json.dumps(asyncio.run(main(int(sys.argv[2])))))
