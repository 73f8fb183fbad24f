"""A hundred open orders when the kill switch is engaged: how long until the exchange has cancelled the last one."""

import asyncio
import time
from typing import Any

from django.core.management import call_command

from apps.risk.killswitch import switch
from apps.risk.services import kill_engage
from tests.apps.execution.living import Living, living
from tests.apps.execution.test_desk_kill import hundred, swept
from tests.benchmarks.table import row

GOAL_S = 2.0


def rows() -> list[dict[str, Any]]:
    """Measure where cancel-all may be used; beside a foreign order they go by id, at the venue's rate."""
    call_command("migrate", verbosity=0)
    asyncio.run(switch.first_up())
    return asyncio.run(_measured())


async def _measured() -> list[dict[str, Any]]:
    async with living() as made:
        await hundred(made)
        took = await _swept(made)
    return [row("kill switch: engaged to the last of 100 orders cancelled", took, "s", "limit", GOAL_S)]


async def _swept(made: Living) -> float:
    began = time.time_ns()
    await kill_engage("all", by="bench", reason="bench")
    await swept(made, "all")
    cancels = made.exchange.ledger("cancel")
    assert len(cancels) == 100
    return float(max(cancel["wall_ns"] for cancel in cancels) - began) / 1e9
