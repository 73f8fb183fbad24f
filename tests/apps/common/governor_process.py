"""Takes places for ever, once its fellows are there: one of several processes under one limit."""

import asyncio
import os
import sys

import django


async def main(url: str, processes: int) -> None:
    from apps.common import governor as governor_module
    from apps.common.bus import Bus
    from apps.common.governor import Governor, Limit, Priority, register_limits

    governor_module.ASK_TIMEOUT_S = 30.0  # a bus that is slow on a busy machine is not gone
    register_limits("shared", {"order": Limit(10, 0.5)})
    async with Bus(url) as bus:
        governor = Governor(bus)
        await bus.redis.rpush("pids", os.getpid())
        while await bus.redis.llen("pids") < processes:
            await asyncio.sleep(0.02)
        while True:
            await governor.take("shared", "a", "k", "order", priority=Priority.CANCEL, timeout_s=10.0)
            await bus.redis.hincrby("taken", os.getpid())


if __name__ == "__main__":
    django.setup()
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
