"""Refusals that clients seldom cause, and map all the same: what ccxt would round or stop is sent as it is."""

from collections.abc import AsyncIterator
from pathlib import Path

import ccxt
import pytest

from apps.simulator.exchange.admission import OPEN_MAX
from tests.apps.simulator.exchange_half import LINEAR_SPEC, Exchange, called, exchange

SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"
BATCH = 20


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(tmp_path / "state") as running:
        running.ccxt = running.client()
        await called(running.ccxt.load_markets)
        yield running


@pytest.mark.parametrize(
    ("sent", "code", "says"),
    [
        ({"symbol": "XYZUSDT"}, "170121", "Invalid symbol. (XYZUSDT)"),
        ({"price": "99.001"}, "170134", "Order price has too many decimals. (99.001 is no multiple of 0.01)"),
        ({"qty": "0.0000001"}, "170136", "Order quantity exceeded lower limit. (1E-7 is below 0.000001)"),
        (
            {"qty": "0.1000005"},
            "170137",
            "Order quantity has too many decimals. (0.1000005 is no multiple of 0.000001)",
        ),
    ],
)
async def test_a_spot_order_outside_the_terms_is_the_error_that_clients_map(
    venue: Exchange, sent: dict, code: str, says: str
) -> None:
    with pytest.raises(ccxt.InvalidOrder, match=code) as raised:
        await called(venue.ccxt.create_order, SPOT, "limit", "buy", 0.1, 99, sent)
    assert type(raised.value) is ccxt.InvalidOrder
    assert says in str(raised.value)
    assert await venue.ledger("order") == []


async def test_one_order_more_than_may_rest_is_refused_and_the_others_stay(venue: Exchange) -> None:
    orders = [{"symbol": SWAP, "type": "limit", "side": "buy", "amount": 0.1, "price": 90}] * BATCH
    for _ in range(OPEN_MAX // BATCH):
        await called(venue.ccxt.create_orders, orders)
    with pytest.raises(ccxt.InvalidOrder, match="110020") as raised:
        await called(venue.ccxt.create_order, SWAP, "limit", "buy", 0.1, 90)
    assert type(raised.value) is ccxt.InvalidOrder
    assert len(await venue.ledger("order")) == OPEN_MAX
    assert (await called(venue.ccxt.create_order, SPOT, "limit", "buy", 0.1, 90))["id"]  # another instrument's count


async def test_fees_of_all_contracts_are_told_to_a_client_that_names_no_category(venue: Exchange) -> None:
    fees = await called(venue.ccxt.fetch_trading_fees)
    assert {symbol: (fee["maker"], fee["taker"]) for symbol, fee in fees.items()} == {
        SWAP: (float(LINEAR_SPEC.maker_fee), float(LINEAR_SPEC.taker_fee))
    }


@pytest.mark.parametrize(
    ("asked", "category", "row"),
    [
        ({}, None, {"symbol": "BTCUSDT", "takerFeeRate": "0.00055", "makerFeeRate": "0.0002"}),
        ({"symbol": "BTCUSDT"}, None, {"symbol": "BTCUSDT", "takerFeeRate": "0.00055", "makerFeeRate": "0.0002"}),
        (
            {"category": "linear"},
            None,
            {"symbol": "BTCUSDT", "takerFeeRate": "0.00055", "makerFeeRate": "0.0002"},
        ),
        (
            {"category": "spot"},
            "spot",
            {"symbol": "BTCUSDT", "baseCoin": "", "takerFeeRate": "0.001", "makerFeeRate": "0.001"},
        ),
    ],
)
async def test_fee_rates_have_the_fields_that_the_venue_documents_for_their_kind(
    venue: Exchange, asked: dict, category: str | None, row: dict
) -> None:
    answer = await called(venue.ccxt.private_get_v5_account_fee_rate, asked)
    assert answer["result"].get("category") == category
    assert answer["result"]["list"] == [row]


async def test_a_fee_of_an_unknown_contract_or_category_is_refused(venue: Exchange) -> None:
    for asked, named in (({"symbol": "XYZ"}, "symbol invalid"), ({"category": "bonds"}, "category must be one of")):
        with pytest.raises(ccxt.BadRequest, match=named):
            await called(venue.ccxt.private_get_v5_account_fee_rate, asked)
