"""One process with a kill switch reader, as a desk has it: says when its verdict changes, and its CPU time."""

import asyncio
import os
import sys
import time

import django
import uvloop

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trader.settings")
django.setup()

from apps.risk.killswitch.reader import KillReader  # noqa: E402 - after Django's set-up


async def main() -> None:
    """Report `state generation monotonic_ns` for each change, until the parent closes our input."""
    last = [""]

    def told() -> None:
        verdict = reader.verdict()
        generation = verdict.record.generation if verdict.record is not None else 0
        text = f"{verdict.state} {generation}"
        if text != last[0]:
            last[0] = text
            print(text, time.monotonic_ns(), flush=True)

    reader = KillReader(on_change=told)
    await reader.start()
    print("ready 0", time.monotonic_ns(), flush=True)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        print("cpu 0", time.process_time_ns(), flush=True)
    await reader.stop()


uvloop.run(main())
