"""The shortest whole way: balance, an order, its fill on REST and on the private socket."""

import asyncio
from pathlib import Path

from tests.apps.simulator.exchange_half import called, exchange, until


async def test_a_market_order_fills_and_is_told_on_the_private_socket(tmp_path: Path) -> None:
    async with exchange(tmp_path / "state") as venue:
        client, pro = venue.client(), venue.client_pro()
        try:
            await called(client.load_markets)
            balance = await called(client.fetch_balance)
            assert balance["USDT"]["total"] == 100_000
            watching = asyncio.create_task(pro.watch_orders())
            trades = asyncio.create_task(pro.watch_my_trades())
            await until(lambda: venue.subscribed("order", "execution"), "the private socket is subscribed")
            order = await called(client.create_order, "BTC/USDT", "market", "buy", 1.5, None, {"clientOrderId": "a1"})
            [told] = await asyncio.wait_for(watching, 5)
            assert told["id"] == order["id"]
            assert told["status"] == "closed"
            assert told["filled"] == 1.5
            filled = await asyncio.wait_for(trades, 5)
            assert sum(trade["amount"] for trade in filled) == 1.5
            balance = await called(client.fetch_balance)
            assert balance["BTC"]["total"] == 1.4985
            assert balance["USDT"]["total"] == 99_849.8
        finally:
            await pro.close()
