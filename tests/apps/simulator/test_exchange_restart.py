"""What an exchange takes up again after a stop: every kind of open order goes on where it was."""

from pathlib import Path

import pytest

from tests.apps.simulator.exchange_half import Exchange, called, exchange

SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"


async def placed(venue: Exchange, symbol: str, kind: str, side: str, amount: float, price=None, **params) -> str:
    client = venue.client()
    await called(client.load_markets)
    return (await called(client.create_order, symbol, kind, side, amount, price, params))["id"]


async def looked_up(venue: Exchange, symbol: str, order_id: str) -> dict:
    client = venue.client()
    await called(client.load_markets)
    return await called(client.fetch_order, order_id, symbol, {"acknowledged": True})


async def test_a_resting_order_stands_behind_the_queue_that_is_shown_after_the_restart(tmp_path: Path) -> None:
    async with exchange(tmp_path / "state") as venue:
        order_id = await placed(venue, SWAP, "limit", "buy", 0.5, 99.9)
        venue.print("linear", "99.9", "1.2", "Sell")
        assert (await looked_up(venue, SWAP, order_id))["filled"] == 0.2
    async with exchange(tmp_path / "state") as venue:
        venue.print("linear", "99.9", "1.0", "Sell")
        assert (await looked_up(venue, SWAP, order_id))["filled"] == 0.2
        venue.print("linear", "99.9", "1.0", "Sell")
        assert (await looked_up(venue, SWAP, order_id))["status"] == "closed"


async def test_waiting_and_woken_stops_go_on(tmp_path: Path) -> None:
    async with exchange(tmp_path / "state") as venue:
        await placed(venue, SWAP, "market", "buy", 1)
        waiting = await placed(venue, SWAP, "market", "sell", 0.2, None, triggerPrice=90, triggerDirection=2)
        woken = await placed(venue, SWAP, "market", "sell", 0.3, None, triggerPrice=95, triggerDirection=2)
        by_mark = {"triggerPrice": 97, "triggerDirection": 2, "triggerBy": "MarkPrice"}
        marked = await placed(venue, SWAP, "market", "sell", 0.1, None, **by_mark)
        venue.print("linear", "94", "0.1", "Sell")
        assert (await looked_up(venue, SWAP, woken))["info"]["orderStatus"] == "Triggered"
        assert (await looked_up(venue, SWAP, marked))["info"]["orderStatus"] == "Untriggered"
    async with exchange(tmp_path / "state") as venue:
        assert (await looked_up(venue, SWAP, woken))["status"] == "closed", "it met the first book"
        venue.mark("96")
        venue.print("linear", "89", "0.1", "Sell")
        venue.book("linear", [("89", "1")], [("89.2", "1")])
        assert (await looked_up(venue, SWAP, waiting))["average"] == 89
        assert (await looked_up(venue, SWAP, marked))["average"] == 89


async def test_orders_of_a_market_that_is_not_listed_now_wait_until_it_is_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.apps.simulator import exchange_half

    async with exchange(tmp_path / "state") as venue:
        order_id = await placed(venue, SWAP, "limit", "buy", 0.5, 90)
    with monkeypatch.context() as patched:
        patched.setattr(exchange_half, "SPECS", (exchange_half.SPOT_SPEC,))
        patched.setattr(exchange_half, "KINDS", ("spot",))
        async with exchange(tmp_path / "state") as venue:
            assert list(venue.context.engine.active.of(100_001)) == []
    async with exchange(tmp_path / "state") as venue:
        assert (await looked_up(venue, SWAP, order_id))["status"] == "open"


async def test_a_woken_stop_that_cannot_be_paid_any_more_is_cancelled(tmp_path: Path) -> None:
    async with exchange(tmp_path / "state", balances={"USDT": "100"}) as venue:
        stop = await placed(venue, SPOT, "market", "buy", 0.9, None, triggerPrice=105)
        await placed(venue, SPOT, "market", "buy", 0.5)
        venue.print("spot", "105", "0.1", "Buy")
        venue.book("spot", [("104", "1")], [("105", "1")])
        order = await looked_up(venue, SPOT, stop)
        assert (order["status"], order["info"]["rejectReason"]) == ("canceled", "EC_170131")


async def test_a_woken_stop_that_is_cancelled_before_its_book_never_trades(tmp_path: Path) -> None:
    async with exchange(tmp_path / "state") as venue:
        client = venue.client()
        await called(client.load_markets)
        stop = await placed(venue, SWAP, "market", "buy", 0.5, None, triggerPrice=105, triggerDirection=1)
        venue.print("linear", "105", "0.1", "Buy")
        await called(client.cancel_order, stop, SWAP)
        venue.book("linear", [("104", "1")], [("105", "1")])
        assert (await looked_up(venue, SWAP, stop))["filled"] == 0
        assert [row["kind"] for row in await venue.ledger("fill")] == []
