"""What adds risk is judged by what is held now, not by what was held when an order was made."""

from decimal import Decimal as D
from types import SimpleNamespace

from apps.execution.brokers.base import Market
from apps.execution.desk.books import Books
from apps.execution.desk.guard import Guard
from apps.execution.desk.model import DeskOrder
from apps.execution.states import OrderState
from trader.core.portfolio import MANUAL, Fill
from trader.core.types import Side

TERMS = {"base": "ETH", "quote": "USDT", "settle": "USDT", "tick": D("0.01"), "lot": D("0.01"),
         "min_quantity": D("0.01"), "min_notional": D(5)}  # fmt: skip
SPOT = Market(1, "ETH/USDT", "ETHUSDT", "spot", **TERMS)
LINEAR = Market(2, "ETH/USDT:USDT", "ETHUSDT", "linear", **TERMS)


def books(market: Market, held: int) -> Books:
    made = Books(1, "USDT", {1: SPOT, 2: LINEAR})
    if held:
        trade(made, market, held)
    return made


def trade(made: Books, market: Market, quantity: int) -> None:
    side = Side.BUY if quantity > 0 else Side.SELL
    made.ledger.book_fill(market.instrument_id, MANUAL, Fill(side, D(abs(quantity)), D(200), D(0), "USDT"))
    made.risk_judge(market.instrument_id)


def order(made: Books, market: Market, side: str, quantity: int, **more: object) -> DeskOrder:
    """An order that rests, with the flag that it gets when it is made."""
    number = len(made.orders) + 1
    reduce_only = bool(more.get("reduce_only"))
    adds = made.adds_risk(market, side, D(quantity), reduce_only)
    one = DeskOrder(
        id=number, client_id=str(number), account_id=1, market=market, owner=MANUAL, leg="manual", side=side,
        kind="limit", quantity=D(quantity), adds_risk=adds, market_ns=1, state=OrderState.ACKNOWLEDGED, **more,
    )  # fmt: skip
    made.order_add(one)
    return one


def test_what_reduced_a_position_adds_risk_once_that_is_gone_and_its_row_is_told() -> None:
    made = books(LINEAR, 3)
    told: list[tuple[str, bool]] = []
    made.on_judged = lambda one: told.append((one.client_id, one.adds_risk))
    plain, bound = order(made, LINEAR, "sell", 3), order(made, LINEAR, "sell", 3, reduce_only=True)
    assert (plain.adds_risk, bound.adds_risk, made.resting_risk()) == (False, False, [])
    assert made.resting_unbound() == [plain]
    trade(made, LINEAR, -3)
    assert (plain.adds_risk, bound.adds_risk) == (True, False)
    assert made.resting_risk() == [plain]
    trade(made, LINEAR, 4)
    assert made.resting_risk() == []
    assert told == [(plain.client_id, True), (plain.client_id, False)]


def test_of_orders_that_together_exceed_a_position_none_counts_as_reducing() -> None:
    made = books(LINEAR, 3)
    first = order(made, LINEAR, "sell", 2)
    assert not first.adds_risk
    second = order(made, LINEAR, "sell", 2)
    assert (first.adds_risk, second.adds_risk) == (True, True)
    second.state = OrderState.CANCELLED
    made.order_settle(second)
    assert made.resting_risk() == []
    assert not first.adds_risk


def test_what_is_filled_of_an_order_counts_no_more() -> None:
    made = books(LINEAR, -3)
    one = order(made, LINEAR, "buy", 3)
    trade(made, LINEAR, 2)
    assert one.adds_risk  # its own fill is not counted yet
    one.filled = D(2)
    assert made.resting_risk() == []


def test_a_spot_sale_of_more_than_is_held_adds_risk_and_its_stop_stays_what_it_was() -> None:
    made = books(SPOT, 5)
    sale = order(made, SPOT, "sell", 5)
    stop = order(made, SPOT, "sell", 5, trigger_price=D(190))
    assert (sale.adds_risk, stop.adds_risk) == (False, False)
    trade(made, SPOT, -2)
    assert (sale.adds_risk, stop.adds_risk) == (True, False)
    assert made.resting_unbound() == [sale]


def test_instruments_are_judged_apart() -> None:
    made = books(LINEAR, 3)
    trade(made, SPOT, 1)
    plain, sale = order(made, LINEAR, "sell", 3), order(made, SPOT, "sell", 1)
    trade(made, LINEAR, -1)
    assert (plain.adds_risk, sale.adds_risk) == (True, False)


def opposed(made: Books, market: Market, owner: str, side: str, quantity: int) -> str:
    return Guard(SimpleNamespace(books=made), None)._why_opposed(market, owner, side, D(quantity))


def test_nobody_opens_a_contract_against_what_another_owner_holds() -> None:
    made = books(LINEAR, 3)
    assert opposed(made, LINEAR, "a-strategy", "sell", 1) == "manual holds 3; close that position first"
    assert opposed(made, LINEAR, "a-strategy", "buy", 1) == ""
    # what closes one's own is no opening; what would turn it stands against nobody while nobody else holds
    assert opposed(made, LINEAR, MANUAL, "sell", 3) == opposed(made, LINEAR, MANUAL, "sell", 4) == ""
    assert opposed(books(SPOT, 3), SPOT, "a-strategy", "sell", 1) == "", "spot is never short"


def test_nobody_opens_a_contract_against_an_order_that_would_open_the_other_side() -> None:
    made = books(LINEAR, 0)
    resting = order(made, LINEAR, "buy", 2)
    assert (
        opposed(made, LINEAR, "a-strategy", "sell", 1) == "an order of manual rests on the other side; cancel it first"
    )
    assert opposed(made, LINEAR, MANUAL, "sell", 1) == opposed(made, LINEAR, "a-strategy", "buy", 1) == ""
    resting.state = OrderState.CANCELLED
    made.order_settle(resting)
    assert opposed(made, LINEAR, "a-strategy", "sell", 1) == ""
    closing = books(LINEAR, 3)
    order(closing, LINEAR, "sell", 3)
    assert opposed(closing, LINEAR, "a-strategy", "buy", 1) == "", "it closes its own position only"
