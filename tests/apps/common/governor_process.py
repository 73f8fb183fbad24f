"""Takes places for ever and writes down when: one of several processes under one limit."""

import asyncio
import os
import sys

import django


async def main(url: str) -> None:
    from apps.common.bus import Bus
    from apps.common.governor import Governor, Limit, Priority, register_limits

    register_limits("shared", {"order": Limit(10, 0.5)})
    async with Bus(url) as bus:
        governor = Governor(bus)
        await bus.redis.rpush("pids", os.getpid())
        while True:
            await governor.take("shared", "a", "k", "order", priority=Priority.CANCEL, timeout_s=10.0)
            window = await bus.redis.zrange("qd:governor:shared:k:order", 0, -1, withscores=True)
            await bus.redis.hset("granted", mapping=dict(window))


if __name__ == "__main__":
    django.setup()
    asyncio.run(main(sys.argv[1]))
