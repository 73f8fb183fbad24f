"""Bybit's rows and bodies, both ways: exact, and past the traps of the venue."""

from decimal import Decimal

import pytest
from ccxt.base import errors
from hypothesis import given
from hypothesis import strategies as st

from apps.execution.brokers.base import (
    CredentialsRefused,
    Market,
    NotFound,
    OrderRef,
    OrderRequest,
    SignatureRefused,
)
from apps.execution.brokers.bybit import parsers
from apps.execution.brokers.bybit.client import translate
from apps.execution.states import OrderState
from trader.core.types import OutcomeUnknown, VenueBusy, VenueRejected

D = Decimal
SPOT = Market(1, "BTC/USDT", "BTCUSDT", "spot", "BTC", "USDT", "USDT", D("0.01"), D("0.00001"), D("0.00001"), D(5))
LINEAR = Market(2, "BTC/USDT:USDT", "BTCUSDT", "linear", "BTC", "USDT", "USDT", D("0.1"), D("0.001"), D("0.001"), D(5))
ID = "0a1b" + "c" * 28


def request(market: Market = SPOT, **given_: object) -> OrderRequest:
    fields = {"client_id": ID, "market": market, "side": "buy", "kind": "market", "quantity": D("0.50")}
    return OrderRequest(**{**fields, **given_})


def test_a_market_buy_on_spot_is_told_in_base_units() -> None:
    body = parsers.order_body(request(), ID)
    assert body["marketUnit"] == "baseCoin"
    assert (body["qty"], body["orderType"], body["timeInForce"]) == ("0.5", "Market", "IOC")
    assert "reduceOnly" not in body


def test_a_stop_on_spot_is_a_stop_order_and_never_takes_the_coins() -> None:
    body = parsers.order_body(request(side="sell", kind="stop", trigger_price=D("99.5")), ID)
    assert body["orderFilter"] == "StopOrder"
    assert body["triggerPrice"] == "99.5"
    assert "tpslMode" not in body
    assert "triggerDirection" not in body


@pytest.mark.parametrize(("side", "direction"), [("sell", 2), ("buy", 1)])
def test_a_stop_on_a_contract_reduces_only_and_knows_its_direction(side: str, direction: int) -> None:
    wish = request(LINEAR, side=side, kind="stop", trigger_price=D(99), reduce_only=True)
    body = parsers.order_body(wish, ID)
    assert (body["triggerDirection"], body["reduceOnly"]) == (direction, True)


def test_a_limit_order_carries_its_price_and_time_in_force() -> None:
    body = parsers.order_body(request(kind="limit", price=D("100.10"), time_in_force="POST"), ID)
    assert (body["price"], body["timeInForce"], body["orderType"]) == ("100.1", "PostOnly", "Limit")


@pytest.mark.parametrize(("is_stop", "wanted"), [(True, "StopOrder"), (False, "Order")])
def test_a_cancel_on_spot_looks_in_the_right_list(is_stop: bool, wanted: str) -> None:
    body = parsers.cancel_body(OrderRef(ID, "7", SPOT, is_stop), ID)
    assert body["orderFilter"] == wanted
    assert body["orderLinkId"] == ID


def test_an_order_without_our_id_is_cancelled_by_the_venues() -> None:
    assert parsers.cancel_body(OrderRef("", "77", LINEAR), "")["orderId"] == "77"


def row(**given_: object) -> dict[str, object]:
    return {
        "orderId": "9", "orderLinkId": ID, "symbol": "BTCUSDT", "category": "spot", "side": "Sell",
        "orderType": "Market", "orderStatus": "Untriggered", "qty": "1.5", "cumExecQty": "", "avgPrice": "",
        "price": "0", "triggerPrice": "98", "rejectReason": "EC_NoError", "updatedTime": "1700000000123", **given_,
    }  # fmt: skip


def test_a_resting_stop_is_read_as_open() -> None:
    order = parsers.order_parse(row())
    assert (order.state, order.is_stop, order.order_kind) == (OrderState.ACKNOWLEDGED, True, "stop")
    assert (order.price, order.trigger_price, order.filled) == (None, D(98), D(0))
    assert order.market_ns == 1_700_000_000_123_000_000


def test_a_state_nobody_knows_counts_as_open() -> None:
    assert parsers.order_parse(row(orderStatus="Brandnew")).state is OrderState.ACKNOWLEDGED


def test_a_spot_buy_pays_its_fee_in_base_unless_the_venue_names_a_coin() -> None:
    execution = {
        "execId": "e1", "orderId": "9", "orderLinkId": ID, "symbol": "BTCUSDT", "category": "spot", "side": "Buy",
        "execQty": "0.1", "execPrice": "100", "execFee": "0.0001", "execTime": "1700000000123", "isMaker": False,
    }  # fmt: skip
    fill = parsers.fill_parse(execution, {"BTCUSDT": "BTC"}, {"BTCUSDT": "USDT"})
    assert fill.fee_currency == "BTC"
    named = parsers.fill_parse({**execution, "feeCurrency": "MNT"}, {"BTCUSDT": "BTC"}, {"BTCUSDT": "USDT"})
    assert named.fee_currency == "MNT"
    linear = parsers.fill_parse({**execution, "category": "linear"}, {"BTCUSDT": "BTC"}, {"BTCUSDT": "USDT"})
    assert linear.fee_currency == "USDT"


def test_funding_that_was_paid_is_negative() -> None:
    paid = parsers.funding_parse(
        {"execId": "f", "symbol": "BTCPERP", "execFee": "1.25", "execTime": "1"}, {"BTCPERP": "USDC"}
    )
    assert (paid.amount, paid.currency) == (D("-1.25"), "USDC")


def test_a_short_position_is_below_zero_and_an_empty_account_has_no_coins() -> None:
    short = parsers.position_parse({"symbol": "X", "size": "2", "side": "Sell", "avgPrice": ""})
    assert (short.quantity, short.leverage, short.mark_price, short.initial_margin) == (D(-2), None, None, None)
    terms = {"symbol": "X", "size": "2", "side": "Buy", "leverage": "10", "markPrice": "110.5", "positionIM": "22.1"}
    told = parsers.position_parse(terms)
    assert (told.leverage, told.mark_price, told.initial_margin) == (D(10), D("110.5"), D("22.1"))
    assert parsers.position_parse({**terms, "positionIMByMp": "22.3"}).initial_margin == D("22.3")
    assert (told.unrealised, parsers.position_parse({**terms, "unrealisedPnl": "0"}).unrealised) == (None, 0)
    assert parsers.balances_parse({"list": []}) == []
    coins = [{"coin": "USDT", "walletBalance": "5", "equity": "0"}, {"coin": "BTC", "walletBalance": "1"}]
    assert [(one.total, one.equity) for one in parsers.balances_parse({"list": [{"coin": coins}]})] == [
        (D(5), D(0)), (D(1), None),
    ]  # fmt: skip


def test_the_words_on_a_batch_stand_in_the_order_of_the_request() -> None:
    orders = [OrderRef("a", "1", SPOT), OrderRef("b", "2", SPOT), OrderRef("c", "3", SPOT)]
    answer = {"retExtInfo": {"list": [{"code": 0, "msg": "OK"}, {"code": 170213, "msg": "gone"}, {"code": 10001}]}}
    words = parsers.cancel_batch_parse(orders, answer)
    assert [(one.client_id, one.accepted, one.gone) for one in words] == [
        ("a", True, False), ("b", False, True), ("c", False, False),
    ]  # fmt: skip


@given(st.decimals(min_value="1e-12", max_value="1e12", places=12))
def test_an_amount_survives_the_way_out_and_back(value: Decimal) -> None:
    assert parsers.amount(parsers.plain(value)) == value
    assert "E" not in parsers.plain(value)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (errors.RequestTimeout("bybit POST x"), OutcomeUnknown),
        (errors.ExchangeNotAvailable("bybit POST x"), OutcomeUnknown),
        (errors.ExchangeError("bybit <html>502</html>"), OutcomeUnknown),
        (errors.ExchangeError('bybit {"retCode":10016,"retMsg":"internal"}'), OutcomeUnknown),
        (errors.InvalidOrder('bybit {"retCode":110072,"retMsg":"duplicate"}'), OutcomeUnknown),
        (errors.InsufficientFunds('bybit {"retCode":110007,"retMsg":"funds"}'), VenueRejected),
        (errors.InvalidOrder('bybit {"retCode":110094,"retMsg":"small"}'), VenueRejected),
        (errors.OrderNotFound('bybit {"retCode":170213,"retMsg":"gone"}'), NotFound),
        (errors.RateLimitExceeded('bybit {"retCode":10006,"retMsg":"fast"}'), VenueBusy),
        (errors.AuthenticationError('bybit {"retCode":10003,"retMsg":"key"}'), CredentialsRefused),
        (errors.InvalidNonce('bybit {"retCode":10002,"retMsg":"window"}'), SignatureRefused),
    ],
)
def test_only_a_clear_no_of_the_venue_counts_as_one(error: Exception, wanted: type) -> None:
    assert type(translate(error)) is wanted
