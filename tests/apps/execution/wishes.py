"""A person's wishes, as the Desk page makes them."""

import secrets
from asyncio import sleep
from time import monotonic
from typing import Any

from apps.execution.models import DeskCommand
from tests.apps.execution.pace import LONG_S


async def command(made: Any, kind: str, /, **body: Any) -> DeskCommand:
    """Ask the desk for something, and return the command once it is answered."""
    row = await DeskCommand.objects.acreate(
        account_id=made.account_id, kind=kind, nonce=secrets.token_hex(8), body=body, by="tester"
    )
    made.parts.commands.look()
    return await answered(made, row)


async def answered(made: Any, row: DeskCommand) -> DeskCommand:
    """Wait for the answer to a command."""
    until = monotonic() + LONG_S
    while monotonic() < until:
        await row.arefresh_from_db()
        if row.state in ("done", "refused", "failed"):
            return row
        await sleep(0.025)
    raise AssertionError(f"no answer to {row}: {made.words()}")


async def limit_orders(made: Any, symbol: str, count: int, price: float, quantity: str = "1") -> None:
    """Place resting buy orders and wait until the venue has them."""
    for _ in range(count):
        done = await command(
            made, "order", instrument_id=made.instrument(symbol), side="buy", kind="limit", quantity=quantity,
            price=str(price),
        )  # fmt: skip
        assert done.state == "done", done.result
