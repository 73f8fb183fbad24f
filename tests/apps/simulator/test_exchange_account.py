"""Balances, positions, leverage, margin, funding and liquidation, as the unmodified ccxt sees them."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import ccxt
import pytest

from tests.apps.simulator.exchange_half import Exchange, called, exchange

SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(tmp_path / "state", balances={"USDT": "1000", "BTC": "2"}) as running:
        running.ccxt = running.client()
        await called(running.ccxt.load_markets)
        yield running


async def trade(venue: Exchange, side: str, amount: float, symbol: str = SWAP, price=None, **params) -> dict:
    kind = "limit" if price else "market"
    return await called(venue.ccxt.create_order, symbol, kind, side, amount, price, params)


async def position(venue: Exchange) -> dict:
    return await called(venue.ccxt.fetch_position, SWAP)


async def wallet(venue: Exchange, coin: str = "USDT") -> Decimal:
    answer = await called(venue.ccxt.private_get_v5_account_wallet_balance, {"accountType": "UNIFIED"})
    [row] = [row for row in answer["result"]["list"][0]["coin"] if row["coin"] == coin]
    return Decimal(row["walletBalance"])


async def test_a_resting_spot_order_locks_what_it_may_spend_and_frees_it_when_cancelled(venue: Exchange) -> None:
    order = await trade(venue, "buy", 2, SPOT, 90)
    balance = await called(venue.ccxt.fetch_balance)
    assert (balance["USDT"]["total"], balance["USDT"]["used"]) == (1000, 180)
    await trade(venue, "sell", 0.5, SPOT, 120)
    assert (await called(venue.ccxt.fetch_balance))["BTC"]["used"] == 0.5
    with pytest.raises(ccxt.InsufficientFunds):
        await trade(venue, "buy", 9.2, SPOT, 90)
    await called(venue.ccxt.cancel_order, order["id"], SPOT)
    assert (await called(venue.ccxt.fetch_balance))["USDT"]["free"] == 1000


async def test_a_position_grows_shrinks_and_turns_with_the_sums_of_hand(venue: Exchange) -> None:
    await trade(venue, "buy", 1)
    await trade(venue, "buy", 1)
    held = await position(venue)
    assert (held["side"], held["contracts"], held["entryPrice"]) == ("long", 2, 100.15)
    fees = Decimal("100.1") * Decimal("0.00055") + Decimal("100.2") * Decimal("0.00055")
    assert await wallet(venue) == 1000 - fees
    venue.mark("110")
    assert (await position(venue))["unrealizedPnl"] == pytest.approx(19.7)
    venue.book("linear", [("110", "5")], [("111", "5")])
    await trade(venue, "sell", 3)
    held = await position(venue)
    assert (held["side"], held["contracts"], held["entryPrice"]) == ("short", 1, 110)
    fees += Decimal("330") * Decimal("0.00055")
    assert await wallet(venue) == 1000 + Decimal("19.7") - fees
    await trade(venue, "buy", 1, reduceOnly=True)
    assert await called(venue.ccxt.fetch_positions) == []
    assert (await position(venue))["contracts"] == 0


async def test_leverage_is_set_once_and_the_same_again_is_refused(venue: Exchange) -> None:
    await called(venue.ccxt.set_leverage, 5, SWAP)
    with pytest.raises(ccxt.BadRequest, match="110043"):
        await called(venue.ccxt.set_leverage, 5, SWAP)
    await trade(venue, "buy", 1)
    assert (await position(venue))["leverage"] == 5
    for leverage, error in ((101, "110013"), (0.5, "110013")):
        with pytest.raises(ccxt.BaseError, match=error):
            await called(venue.ccxt.set_leverage, leverage, SWAP)
    unlike = {"category": "linear", "symbol": "BTCUSDT", "buyLeverage": "2", "sellLeverage": "3"}
    with pytest.raises(ccxt.BadRequest, match="must be equal"):
        await called(venue.ccxt.private_post_v5_position_set_leverage, unlike)
    with pytest.raises(ccxt.BadRequest, match="spot has no leverage"):
        await called(venue.ccxt.private_post_v5_position_set_leverage, {**unlike, "category": "spot"})


async def test_less_leverage_than_the_position_can_bear_is_refused_and_changes_nothing(venue: Exchange) -> None:
    venue.book("linear", [("99.9", "100")], [("100.1", "100")])
    await trade(venue, "buy", 50)
    with pytest.raises(ccxt.InsufficientFunds, match="110012"):
        await called(venue.ccxt.set_leverage, 2, SWAP)
    assert (await position(venue))["leverage"] == 10
    await called(venue.ccxt.set_leverage, 20, SWAP)
    with pytest.raises(ccxt.InsufficientFunds):
        await called(venue.ccxt.set_leverage, 2, SWAP)
    assert (await position(venue))["leverage"] == 20


async def test_margin_admits_what_it_covers_and_what_reduces(venue: Exchange) -> None:
    venue.book("linear", [("99.9", "200")], [("100.1", "200")])
    with pytest.raises(ccxt.InsufficientFunds, match="110007"):
        await trade(venue, "buy", 120)
    await trade(venue, "buy", 90)
    with pytest.raises(ccxt.InsufficientFunds):
        await trade(venue, "buy", 10, SWAP, 99)
    await trade(venue, "sell", 90, SWAP, 120)
    with pytest.raises(ccxt.InsufficientFunds):  # spot cannot spend what contracts bind
        await trade(venue, "buy", 5, SPOT, 99)
    balance = await called(venue.ccxt.private_get_v5_account_wallet_balance, {"accountType": "UNIFIED"})
    row = balance["result"]["list"][0]
    assert Decimal(row["totalInitialMargin"]) == 900
    assert Decimal(row["totalMaintenanceMargin"]) == 45
    assert Decimal(row["totalPerpUPL"]) == -9


async def test_funding_is_paid_by_longs_and_told_as_an_execution(venue: Exchange) -> None:
    await trade(venue, "buy", 2)
    before = await wallet(venue)
    venue.funding("0.0001", "101")
    assert await wallet(venue) == before - Decimal("0.0202")
    [paid] = await called(venue.ccxt.fetch_funding_history, SWAP)
    assert paid["amount"] == pytest.approx(0.0202)
    rows = await venue.ledger("fill")
    assert [row["exec_type"] for row in rows][-1] == "Funding"
    venue.funding("-0.0001", "101")
    assert await wallet(venue) == before


async def test_an_account_whose_equity_no_longer_covers_its_positions_is_liquidated(venue: Exchange) -> None:
    venue.book("linear", [("99.9", "200")], [("100.1", "200")])
    await trade(venue, "buy", 90)
    await trade(venue, "buy", 0.1, SWAP, 90)
    shown = (await position(venue))["liquidationPrice"]
    assert 89 < shown < 90
    venue.book("linear", [("89.4", "50")], [("89.6", "50")])
    venue.mark(str(shown - 0.1))
    assert await called(venue.ccxt.fetch_positions) == []
    assert await called(venue.ccxt.fetch_open_orders, SWAP) == []
    trades = [row for row in await venue.ledger("fill") if row["exec_type"] == "BustTrade"]
    assert [row["quantity"] for row in trades] == ["50", "40.1"]
    assert await wallet(venue) > 0


async def test_totals_are_in_dollars_and_a_coin_can_be_asked_alone(venue: Exchange) -> None:
    ask = venue.ccxt.private_get_v5_account_wallet_balance
    row = (await called(ask, {"accountType": "UNIFIED"}))["result"]["list"][0]
    assert Decimal(row["totalEquity"]) == 1200
    row = (await called(ask, {"accountType": "UNIFIED", "coin": "ETH"}))["result"]["list"][0]
    assert [(coin["coin"], coin["walletBalance"]) for coin in row["coin"]] == [("ETH", "0")]
    with pytest.raises(ccxt.BadRequest, match="UNIFIED"):
        await called(ask, {"accountType": "SPOT"})


async def test_fees_are_told_for_one_and_for_all(venue: Exchange) -> None:
    fee = await called(venue.ccxt.fetch_trading_fee, SWAP)
    assert (fee["maker"], fee["taker"]) == (0.0002, 0.00055)
    fees = await called(venue.ccxt.private_get_v5_account_fee_rate, {"category": "spot"})
    assert [(row["symbol"], row["takerFeeRate"]) for row in fees["result"]["list"]] == [("BTCUSDT", "0.001")]


async def test_modes_that_are_not_there_are_refused_and_the_present_ones_are_no_change(venue: Exchange) -> None:
    with pytest.raises(ccxt.BaseError, match="110025"):
        await called(venue.ccxt.set_position_mode, False, SWAP)
    with pytest.raises(ccxt.BadRequest, match="110029"):
        await called(venue.ccxt.set_position_mode, True, SWAP)
    await called(venue.ccxt.set_margin_mode, "cross")
    with pytest.raises(ccxt.BadRequest, match="ISOLATED_MARGIN"):
        await called(venue.ccxt.set_margin_mode, "isolated")
    assert (await called(venue.ccxt.is_unified_enabled)) == [False, True]


async def test_positions_are_asked_of_contracts_by_symbol_or_coin(venue: Exchange) -> None:
    for params, named in (({"category": "spot"}, "no positions"), ({"category": "linear"}, "settleCoin")):
        with pytest.raises(ccxt.BadRequest, match=named):
            await called(venue.ccxt.private_get_v5_position_list, params)


async def test_the_sum_of_all_movements_is_the_balance(venue: Exchange) -> None:
    start = {"USDT": Decimal(1000), "BTC": Decimal(2)}
    for side, amount, symbol in (("buy", 1.5, SPOT), ("sell", 2.1, SPOT), ("buy", 1.2, SWAP), ("sell", 2, SWAP)):
        await trade(venue, side, amount, symbol)
    venue.funding("0.0003", "99")
    realised = Decimal(0)
    entry: dict[str, Decimal] = {"quantity": Decimal(0), "cost": Decimal(0)}
    for fill in await venue.ledger("fill"):
        quantity, price, fee = Decimal(fill["quantity"]), Decimal(fill["price"]), Decimal(fill["fee"])
        start[fill["fee_coin"]] -= fee
        sign = 1 if fill["side"] == "Buy" else -1
        if fill["category"] == "spot":
            start["BTC"] += sign * quantity
            start["USDT"] -= sign * quantity * price
        elif fill["exec_type"] == "Trade":
            entry["quantity"] += sign * quantity
            entry["cost"] += sign * quantity * price
    held = await position(venue)
    realised = -entry["cost"] - Decimal(str(held["contracts"])) * Decimal(str(held["entryPrice"]))
    assert await wallet(venue, "BTC") == start["BTC"]
    assert abs(await wallet(venue) - start["USDT"] - realised) < Decimal("1e-9")
