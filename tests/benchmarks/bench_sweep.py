"""A hundred open orders when the kill switch is engaged: how long until the exchange has cancelled the last one."""

import asyncio
import time
from typing import Any

from django.core.management import call_command

from apps.risk.killswitch import switch
from apps.risk.services import kill_engage, kill_release
from tests.apps.execution.foreign import LIMIT, foreign_order
from tests.apps.execution.living import Living, living
from tests.apps.execution.test_desk_kill import hundred, swept
from tests.benchmarks.table import row

GOAL_S = 2.0
BY_ID_S = 100 / 20  # Bybit's spot cancels: twenty a second


def rows() -> list[dict[str, Any]]:
    """Measure both ways: cancel-all where all orders are ours, and by id beside a foreign one."""
    call_command("migrate", verbosity=0)
    asyncio.run(switch.first_up())
    return asyncio.run(_measured())


async def _measured() -> list[dict[str, Any]]:
    async with living() as made:
        await hundred(made)
        at_once = await _swept(made)
    await kill_release("all", by="bench", reason="bench")
    async with living() as made:
        await foreign_order(made, **LIMIT)
        await hundred(made)
        by_id = await _swept(made)
    await kill_release("all", by="bench", reason="bench")
    return [
        row("kill switch: engaged to the last of 100 orders cancelled", at_once, "s", "limit", GOAL_S),
        row("the same beside a foreign order, by id", by_id, "s", f"shown; the venue's rate: {BY_ID_S:.0f} s", None),
    ]


async def _swept(made: Living) -> float:
    began = time.time_ns()
    await kill_engage("all", by="bench", reason="bench")
    await swept(made, "all")
    cancels = made.exchange.ledger("cancel")
    assert len(cancels) == 100
    return float(max(cancel["wall_ns"] for cancel in cancels) - began) / 1e9
