"""What feeds the hub's bench: `python -m tests.benchmarks.hub_feed hub|bare|group|log SECONDS RATE`.

`hub`, `bare` and `group` publish 10 instruments RATE times a second each, of about 150 bytes; `log` commits RATE
messages a second and prints, as JSON, when each commit was confirmed.
"""

import asyncio
import json
import sys
import time

import django
import uvloop

INSTRUMENTS = 10


def quote(instrument, step):
    from tests.apps.common.samples import Quoted

    return Quoted(
        i=instrument, bid=100.0 + step, bid_size=1.5, ask=100.5 + step, ask_size=2.5, last=100.25 + step,
        market_ns=time.time_ns(), wall_ns=time.time_ns(),
    )  # fmt: skip


async def ticks(how, seconds, rate):
    """Publish one instrument after the other, spread over the span as a venue's frames are."""
    import msgspec
    from channels.layers import get_channel_layer
    from django.conf import settings

    from apps.common.bus import Bus

    bus, layer = Bus(settings.REDIS_URL), get_channel_layer()

    async def one(instrument, step):
        message = quote(instrument, step)
        if how == "hub":
            await bus.publish(f"test.quote.{instrument}", message)
        elif how == "bare":
            await bus.redis.publish("bare", msgspec.json.encode(message))
        else:
            await layer.group_send("bench", {"type": "tick", "text": msgspec.json.encode(message).decode()})

    print("started", flush=True)
    began, step = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        await one(step % INSTRUMENTS, step)
        step += 1
        await asyncio.sleep(max(began + step / (rate * INSTRUMENTS) - time.monotonic(), 0))
    print(json.dumps({"published": step, "seconds": time.monotonic() - began}))


async def log(seconds, rate):
    """Commit messages singly, each with a row, and note when the commit was confirmed."""
    from django.conf import settings

    from apps.common.bus import Bus
    from apps.common.database import connection_open
    from apps.common.outbox import outbox_cte, outbox_wake
    from tests.apps.common.samples import Note

    bus, connection = Bus(settings.REDIS_URL), await connection_open()
    print("started", flush=True)
    began, number, committed = time.monotonic(), 0, []
    while time.monotonic() - began < seconds:
        number += 1
        cte, parameters = outbox_cte(
            [("test.others", Note(text="a row of the log, as long as an order's", number=number))]
        )
        await connection.execute(
            f"WITH {cte}, made AS (INSERT INTO common_checkpoint (kind, key, epoch, version, body, fence, saved_at) "
            "VALUES ('bench', %(key)s, 0, '', '', 0, now()) RETURNING id) SELECT id FROM made",
            {**parameters, "key": f"{time.time_ns()}"},
        )
        committed.append((number, time.time_ns()))
        await outbox_wake(bus)
        await asyncio.sleep(max(began + number / rate - time.monotonic(), 0))
    print(json.dumps({"committed": committed, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    django.setup()
    mode, span, hertz = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    uvloop.run(log(span, hertz) if mode == "log" else ticks(mode, span, hertz))
