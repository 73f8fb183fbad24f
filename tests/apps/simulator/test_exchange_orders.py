"""Orders through the unmodified ccxt: every kind, its life, its cancel, and how it is found again."""

from collections.abc import AsyncIterator
from pathlib import Path

import ccxt
import pytest

from tests.apps.simulator.exchange_half import Exchange, called, exchange

SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(tmp_path / "state") as running:
        running.ccxt = running.client()
        await called(running.ccxt.load_markets)
        yield running


async def make(venue: Exchange, symbol: str, kind: str, side: str, amount: float, price=None, **params) -> str:
    order = await called(venue.ccxt.create_order, symbol, kind, side, amount, price, params)
    return order["id"]


async def find(venue: Exchange, symbol: str, order_id: str) -> dict:
    return await called(venue.ccxt.fetch_order, order_id, symbol, {"acknowledged": True})


@pytest.mark.parametrize("symbol", [SPOT, SWAP])
async def test_a_resting_limit_order_is_open_until_prints_fill_it_in_parts(venue: Exchange, symbol: str) -> None:
    kind = "spot" if symbol == SPOT else "linear"
    order_id = await make(venue, symbol, "limit", "buy", 1.5, 99.9, clientOrderId="abc")
    [order] = await called(venue.ccxt.fetch_open_orders, symbol)
    assert (order["id"], order["clientOrderId"], order["status"]) == (order_id, "abc", "open")
    venue.print(kind, "99.9", "1.4", "Sell")  # 1 lies before us in the queue
    order = await find(venue, symbol, order_id)
    assert (order["info"]["orderStatus"], order["filled"], order["remaining"]) == ("PartiallyFilled", 0.4, 1.1)
    venue.print(kind, "99.8", "5", "Sell")
    order = await find(venue, symbol, order_id)
    assert (order["status"], order["filled"], order["average"]) == ("closed", 1.5, 99.9)
    trades = await called(venue.ccxt.fetch_my_trades, symbol)
    assert sorted(trade["amount"] for trade in trades) == [0.4, 1.1]
    assert {trade["takerOrMaker"] for trade in trades} == {"maker"}
    assert {trade["fee"]["currency"] for trade in trades} == {"BTC" if symbol == SPOT else "USDT"}
    assert await called(venue.ccxt.fetch_open_orders, symbol) == []


async def test_a_market_order_larger_than_the_display_ends_with_what_it_got(venue: Exchange) -> None:
    spot = await find(venue, SPOT, await make(venue, SPOT, "market", "buy", 10))
    assert (spot["info"]["orderStatus"], spot["filled"]) == ("PartiallyFilledCanceled", 3)
    swap = await find(venue, SWAP, await make(venue, SWAP, "market", "sell", 10))
    assert (swap["info"]["orderStatus"], swap["filled"]) == ("Cancelled", 3)
    assert swap["status"] == "canceled"


async def test_a_spot_market_buy_told_in_quote_spends_no_more_than_that(venue: Exchange) -> None:
    order = await called(venue.ccxt.create_market_buy_order_with_cost, SPOT, 150)
    found = await find(venue, SPOT, order["id"])
    assert found["status"] == "closed"
    assert 149.99 < found["cost"] <= 150


@pytest.mark.parametrize(
    ("params", "price", "status", "filled", "reason"),
    [
        ({"timeInForce": "PostOnly"}, 100.1, "canceled", 0, "EC_PostOnlyWillTakeLiquidity"),
        ({"timeInForce": "PostOnly"}, 100, "open", 0, "EC_NoError"),
        ({"timeInForce": "IOC"}, 100.1, "ended", 1, "EC_NoImmediateQtyToFill"),
        ({"timeInForce": "FOK"}, 100.1, "canceled", 0, "EC_NoImmediateQtyToFill"),
        ({"timeInForce": "FOK"}, 100.2, "closed", 2, "EC_NoError"),
        ({"timeInForce": "GTC"}, 100.1, "open", 1, "EC_NoError"),
    ],
)
@pytest.mark.parametrize("symbol", [SPOT, SWAP])
async def test_each_time_in_force_ends_as_it_should(
    venue: Exchange, symbol: str, params: dict, price: float, status: str, filled: float, reason: str
) -> None:
    order = await find(venue, symbol, await make(venue, symbol, "limit", "buy", 2, price, **params))
    if status == "ended":  # ccxt calls a spot order closed that was filled in part and cancelled
        status = "closed" if symbol == SPOT else "canceled"
    assert (order["status"], order["filled"]) == (status, filled)
    assert order["info"]["rejectReason"] == reason


async def test_a_spot_stop_rests_without_locking_coins_and_sells_after_the_print_that_wakes_it(
    venue: Exchange,
) -> None:
    await make(venue, SPOT, "market", "buy", 1)
    stop = await make(venue, SPOT, "market", "sell", 0.9, triggerPrice=95, clientOrderId="stop")
    [order] = await called(venue.ccxt.fetch_open_orders, SPOT, None, None, {"orderFilter": "StopOrder"})
    assert (order["id"], order["triggerPrice"], order["info"]["orderStatus"]) == (stop, 95, "Untriggered")
    assert (await called(venue.ccxt.fetch_balance))["BTC"]["free"] == 0.999
    venue.print("spot", "95", "0.1", "Sell")
    assert (await find(venue, SPOT, stop))["info"]["orderStatus"] == "Triggered"
    venue.book("spot", [("94.5", "3")], [("95.5", "3")])
    order = await find(venue, SPOT, stop)
    assert (order["status"], order["average"]) == ("closed", 94.5)


async def test_a_reduce_only_stop_of_a_contract_closes_the_position_and_no_more(venue: Exchange) -> None:
    await make(venue, SWAP, "market", "buy", 1)
    params = {"triggerPrice": 95, "triggerDirection": "descending", "reduceOnly": True}
    stop = await make(venue, SWAP, "market", "sell", 1, **params)
    await make(venue, SWAP, "market", "sell", 0.4, reduceOnly=True)
    venue.print("linear", "94", "0.1", "Sell")
    venue.book("linear", [("94", "3")], [("95", "3")])
    order = await find(venue, SWAP, stop)
    assert (order["status"], order["filled"]) == ("closed", 0.6)
    assert await called(venue.ccxt.fetch_positions) == []


async def test_a_reduce_only_stop_whose_position_has_gone_is_cancelled_when_it_wakes(venue: Exchange) -> None:
    await make(venue, SWAP, "market", "buy", 1)
    params = {"triggerPrice": 95, "triggerDirection": "descending", "reduceOnly": True}
    stop = await make(venue, SWAP, "market", "sell", 1, **params)
    await make(venue, SWAP, "market", "sell", 1, reduceOnly=True)
    venue.print("linear", "94", "0.1", "Sell")
    venue.book("linear", [("94", "3")], [("95", "3")])
    assert (await find(venue, SWAP, stop))["info"]["cancelType"] == "CancelByReduceOnly"


async def test_a_resting_reduce_only_order_goes_when_its_position_does(venue: Exchange) -> None:
    await make(venue, SWAP, "market", "buy", 1)
    exit_id = await make(venue, SWAP, "limit", "sell", 1, 110, reduceOnly=True)
    await make(venue, SWAP, "market", "sell", 1)
    assert (await find(venue, SWAP, exit_id))["info"]["cancelType"] == "CancelByReduceOnly"


async def test_cancel_works_by_id_and_by_client_id_and_only_once(venue: Exchange) -> None:
    first = await make(venue, SPOT, "limit", "buy", 1, 90)
    await make(venue, SPOT, "limit", "buy", 1, 90, clientOrderId="mine")
    await called(venue.ccxt.cancel_order, first, SPOT)
    await called(venue.ccxt.cancel_order, None, SPOT, {"orderLinkId": "mine"})
    assert await called(venue.ccxt.fetch_open_orders, SPOT) == []
    with pytest.raises(ccxt.OrderNotFound, match="170213"):
        await called(venue.ccxt.cancel_order, first, SPOT)
    with pytest.raises(ccxt.OrderNotFound, match="110001"):
        await called(venue.ccxt.cancel_order, first, SWAP)


async def test_a_spot_stop_is_cancelled_only_as_a_trigger_order(venue: Exchange) -> None:
    stop = await make(venue, SPOT, "market", "buy", 1, triggerPrice=105)
    with pytest.raises(ccxt.OrderNotFound):
        await called(venue.ccxt.cancel_order, stop, SPOT)
    await called(venue.ccxt.cancel_order, stop, SPOT, {"trigger": True})
    assert (await find(venue, SPOT, stop))["info"]["orderStatus"] == "Deactivated"


async def test_cancel_all_on_spot_leaves_stops_and_on_contracts_takes_them_unless_told(venue: Exchange) -> None:
    await make(venue, SPOT, "limit", "buy", 1, 90)
    await make(venue, SPOT, "market", "buy", 1, triggerPrice=105)
    await called(venue.ccxt.cancel_all_orders, SPOT)
    assert len(await called(venue.ccxt.fetch_open_orders, SPOT, None, None, {"orderFilter": "StopOrder"})) == 1
    for params, left in (({"orderFilter": "Order"}, 1), ({}, 0)):
        await make(venue, SWAP, "limit", "buy", 1, 90)
        await make(venue, SWAP, "market", "buy", 1, triggerPrice=105, triggerDirection="ascending")
        await called(venue.ccxt.cancel_all_orders, SWAP, params)
        orders = await called(venue.ccxt.private_get_v5_order_realtime, {"category": "linear", "symbol": "BTCUSDT"})
        assert len(orders["result"]["list"]) == left
    await make(venue, SWAP, "limit", "buy", 1, 90)
    await called(venue.ccxt.cancel_all_orders)
    assert await called(venue.ccxt.fetch_open_orders, SWAP) == []


async def test_cancel_many_says_for_each_what_became_of_it(venue: Exchange) -> None:
    ids = [await make(venue, SWAP, "limit", "buy", 0.1, 90) for _ in range(3)]
    await called(venue.ccxt.cancel_orders, ids[:2], SWAP)
    members = [{"symbol": "BTCUSDT", "orderId": name} for name in (ids[2], "none")]
    answer = await called(venue.ccxt.private_post_v5_order_cancel_batch, {"category": "linear", "request": members})
    assert [word["code"] for word in answer["retExtInfo"]["list"]] == [0, 110001]
    assert await called(venue.ccxt.fetch_open_orders, SWAP) == []
    with pytest.raises(ccxt.BadRequest, match="at most 10"):
        await called(venue.ccxt.cancel_orders, ["x"] * 11, SPOT)


async def test_orders_are_made_in_a_batch_and_one_refused_leaves_the_others(venue: Exchange) -> None:
    wanted = [
        {"symbol": SWAP, "type": "limit", "side": "buy", "amount": 0.1, "price": 90},
        {"symbol": SWAP, "type": "limit", "side": "buy", "amount": 0.01, "price": 90},
    ]
    made = await called(venue.ccxt.create_orders, wanted)
    assert [order["status"] for order in made] == [None, "rejected"]
    assert len(await called(venue.ccxt.fetch_open_orders, SWAP)) == 1


async def test_a_client_id_of_an_open_order_is_refused_and_free_again_after_it(venue: Exchange) -> None:
    for symbol, code in ((SPOT, "170141"), (SWAP, "110072")):
        order_id = await make(venue, symbol, "limit", "buy", 1, 90, clientOrderId="twice")
        with pytest.raises(ccxt.InvalidOrder, match=code):
            await make(venue, symbol, "limit", "buy", 1, 90, clientOrderId="twice")
        await called(venue.ccxt.cancel_order, order_id, symbol)
        again = await make(venue, symbol, "limit", "buy", 1, 90, clientOrderId="twice")
        found = await called(venue.ccxt.fetch_open_orders, symbol, None, None, {"orderLinkId": "twice"})
        assert again in [order["id"] for order in found]


async def test_closed_orders_and_trades_are_found_by_client_id(venue: Exchange) -> None:
    done = await make(venue, SPOT, "market", "buy", 1.5, clientOrderId="done")
    gone = await make(venue, SPOT, "limit", "buy", 1, 90, clientOrderId="gone")
    await called(venue.ccxt.cancel_order, gone, SPOT)
    for link, order_id, status in (("done", done, "closed"), ("gone", gone, "canceled")):
        params = {"orderLinkId": link}
        [order] = await called(venue.ccxt.fetch_canceled_and_closed_orders, SPOT, None, None, params)
        assert (order["id"], order["status"]) == (order_id, status)
    trades = await called(venue.ccxt.fetch_my_trades, SPOT, None, None, {"orderLinkId": "done"})
    assert {(trade["price"], trade["amount"]) for trade in trades} == {(100.1, 1), (100.2, 0.5)}
    assert await called(venue.ccxt.fetch_my_trades, SPOT, None, None, {"orderLinkId": "nobody"}) == []


async def test_history_pages_by_cursor_without_a_hole_or_a_double(venue: Exchange) -> None:
    made = [await make(venue, SWAP, "market", ("buy", "sell")[n % 2], 0.1) for n in range(7)]
    for path, name in (("order/history", "orderId"), ("execution/list", "orderId")):
        seen, cursor = [], ""
        while True:
            method = getattr(venue.ccxt, "private_get_v5_" + path.replace("/", "_"))
            result = (await called(method, {"category": "linear", "limit": 3, "cursor": cursor}))["result"]
            seen += [row[name] for row in result["list"]]
            cursor = result["nextPageCursor"]
            if not cursor:
                break
        assert seen == made[::-1], path


async def test_history_is_asked_by_market_time_and_of_seven_days_at_most(venue: Exchange) -> None:
    await make(venue, SWAP, "market", "buy", 0.1)
    venue.pass_market(8 * 86_400)
    late = await make(venue, SWAP, "market", "sell", 0.1)
    ask = venue.ccxt.private_get_v5_execution_list
    rows = (await called(ask, {"category": "linear"}))["result"]["list"]
    assert [row["orderId"] for row in rows] == [late]
    start = venue.now_ns // 1_000_000 - 9 * 86_400_000
    rows = (await called(ask, {"category": "linear", "startTime": start}))["result"]["list"]
    assert len(rows) == 1
    assert rows[0]["orderId"] != late
    with pytest.raises(ccxt.BadRequest, match="7 days"):
        await called(ask, {"category": "linear", "startTime": start, "endTime": venue.now_ns // 1_000_000})


async def test_orders_and_fills_are_stamped_with_the_market_clock(venue: Exchange) -> None:
    venue.pass_market(3600)
    order_id = await make(venue, SWAP, "market", "buy", 0.1)
    order = await find(venue, SWAP, order_id)
    [trade] = await called(venue.ccxt.fetch_my_trades, SWAP)
    assert order["timestamp"] == trade["timestamp"] == venue.now_ns // 1_000_000


@pytest.mark.parametrize(
    ("symbol", "order", "params", "error", "code"),
    [
        (SPOT, ("limit", "buy", 2000, 99), {}, ccxt.InsufficientFunds, "170131"),
        (SPOT, ("market", "sell", 1, None), {}, ccxt.InsufficientFunds, "170131"),
        (SPOT, ("market", "buy", 2000, 100), {}, ccxt.InsufficientFunds, "170131"),
        (SPOT, ("limit", "buy", 0.01, 99), {}, ccxt.InvalidOrder, "170140"),
        (SPOT, ("market", "buy", 0.01, None), {}, ccxt.InvalidOrder, "170140"),
        (SWAP, ("limit", "buy", 20000, 99), {}, ccxt.InsufficientFunds, "110007"),
        (SWAP, ("limit", "buy", 0.01, 99), {}, ccxt.InvalidOrder, "110094"),
        (SWAP, ("market", "sell", 1, None), {"reduceOnly": True}, ccxt.InvalidOrder, "110017"),
        (SWAP, ("market", "buy", 1, None), {"triggerPrice": 90, "triggerDirection": 1}, ccxt.InvalidOrder, "110092"),
        (SWAP, ("market", "buy", 1, None), {"triggerPrice": 110, "triggerDirection": 2}, ccxt.InvalidOrder, "110093"),
        (SWAP, ("limit", "buy", 1, 99), {"clientOrderId": "a b"}, ccxt.BadRequest, "orderLinkId"),
        (SWAP, ("limit", "buy", 1, 99), {"positionIdx": 1}, ccxt.BadRequest, "position idx"),
        (SWAP, ("limit", "buy", 1, 99), {"stopLoss": {"triggerPrice": 90}}, ccxt.BadRequest, "stopLoss is not offered"),
    ],
)
async def test_a_refused_order_is_the_error_that_clients_map(
    venue: Exchange, symbol: str, order: tuple, params: dict, error: type, code: str
) -> None:
    with pytest.raises(error, match=code) as raised:
        await called(venue.ccxt.create_order, symbol, *order, params)
    assert type(raised.value) is error
    assert await venue.ledger("order") == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"category": "inverse"}, "category inverse"),
        ({"category": "linear", "symbol": "XYZ"}, "symbol invalid"),
        ({"category": "linear", "side": "buy"}, "side must be one of Buy, Sell"),
        ({"category": "linear", "qty": "x"}, "qty is not a number"),
        ({"category": "linear", "qty": "-1"}, "qty must be above 0"),
        ({"category": "linear", "qty": "0.0005"}, "below the minimum"),
        ({"category": "linear", "qty": "0.0015"}, "no multiple of 0.001"),
        ({"category": "linear", "orderType": "Limit", "price": "99.95"}, "no multiple of 0.1"),
        ({"category": "linear", "timeInForce": "XX"}, "timeInForce must be one of"),
        ({"category": "linear", "triggerPrice": "90"}, "triggerDirection must be"),
        ({"category": "linear", "positionIdx": "9"}, "positionIdx must be from 0 to 2"),
        ({"category": "spot", "orderFilter": "tpslOrder"}, "tpslOrder"),
        ({"category": "spot", "orderFilter": "StopOrder"}, "has orderFilter StopOrder"),
    ],
)
async def test_a_malformed_order_is_told_which_field_is_wrong(venue: Exchange, body: dict, named: str) -> None:
    whole = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "10", **body}
    with pytest.raises(ccxt.BaseError, match=named):
        await called(venue.ccxt.private_post_v5_order_create, whole)


async def test_what_is_not_offered_says_so(venue: Exchange) -> None:
    order_id = await make(venue, SWAP, "limit", "buy", 1, 90)
    with pytest.raises(ccxt.BadRequest, match="trading-stop"):
        await make(venue, SWAP, "market", "sell", 1, trailingAmount=5)
    with pytest.raises(ccxt.BadRequest, match="is not offered"):
        await called(venue.ccxt.private_get_v5_account_borrow_history)
    assert (await find(venue, SWAP, order_id))["status"] == "open"
