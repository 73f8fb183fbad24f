"""Margin, average price, unrealised profit and equity of contracts: ours beside the venue's, and never adjusted."""

from decimal import Decimal as D
from types import SimpleNamespace

import msgspec
import pytest

from apps.execution.brokers.base import Market, VenueBalance, VenuePosition
from apps.execution.desk.adjust import book_differences
from apps.execution.desk.books import Books
from apps.execution.desk.margins import DONE, margin_differences
from apps.execution.desk.values import DONE as VALUES_DONE
from apps.execution.desk.values import shown_differences
from apps.execution.models import Reconciliation
from apps.portfolio.models import CashMovement, EquitySnapshot
from tests.apps.execution.living import LINEAR, SPOT, WARM, living
from tests.apps.execution.wishes import command
from tests.apps.risk.fixtures import kill_clear
from trader.core.portfolio import MANUAL, UNATTRIBUTED, Fill
from trader.core.types import Side

__all__ = ["kill_clear"]
TERMS = {"base": "ETH", "quote": "USDT", "settle": "USDT", "tick": D("0.01"), "lot": D("0.01"),
         "min_quantity": D("0.01"), "min_notional": D(5)}  # fmt: skip
MARKETS = {
    1: Market(1, "ETH/USDT", "ETHUSDT", "spot", **TERMS),
    2: Market(2, "ETH/USDT:USDT", "ETHUSDT", "linear", **TERMS),
}
# 3 short at a mark of 200 are worth 600; at a leverage of 8 they bind 75, give or take 0.6
SHORT = VenuePosition("ETHUSDT", D(-3), D(210), leverage=D(8), mark_price=D(200), initial_margin=D(75))


def books() -> Books:
    """Three contracts short, and a coin on spot under the same venue symbol."""
    made = Books(1, "USDT", dict(MARKETS))
    made.ledger.book_fill(1, MANUAL, Fill(Side.BUY, D(1), D(210), D(0), "USDT"))
    made.ledger.book_fill(2, MANUAL, Fill(Side.SELL, D(3), D(210), D(0), "USDT"))
    return made


@pytest.mark.parametrize("theirs", ["75", "75.6", "74.4"])
def test_margin_within_a_thousandth_of_the_value_is_the_same(theirs: str) -> None:
    assert margin_differences(books(), [msgspec.structs.replace(SHORT, initial_margin=D(theirs))]) == []


@pytest.mark.parametrize("theirs", ["75.61", "74.39", "600"])
def test_margin_that_differs_is_shown_with_both_figures(theirs: str) -> None:
    (found,) = margin_differences(books(), [msgspec.structs.replace(SHORT, initial_margin=D(theirs))])
    assert found.shown() == {"what": "margin ETH/USDT:USDT", "ours": "75", "venue": theirs, "done": DONE}


def test_a_share_without_end_is_shown_with_eight_places() -> None:
    (found,) = margin_differences(books(), [msgspec.structs.replace(SHORT, leverage=D(7))])
    assert found.shown()["ours"] == "85.71428571"


@pytest.mark.parametrize(
    "given",
    [{"initial_margin": None}, {"leverage": None}, {"mark_price": None}, {"quantity": D(-4)}, {"venue_symbol": "X"}],
)
def test_what_cannot_be_compared_is_no_difference_of_margin(given: dict) -> None:
    position = msgspec.structs.replace(SHORT, initial_margin=D(600))
    assert margin_differences(books(), [msgspec.structs.replace(position, **given)]) == []


def test_leverage_is_the_contracts_and_stays_when_the_venue_says_nothing() -> None:
    made = books()
    made.leverage_take([SHORT])
    assert made.leverage == {2: D(8)}
    made.leverage_take([msgspec.structs.replace(SHORT, leverage=None)])
    made.leverage_take([])
    assert made.leverage == {2: D(8)}


# 3 short from 210 have gained 30 at a mark of 200; the coin on spot took 210 of cash
GAINED = msgspec.structs.replace(SHORT, unrealised=D(30))
CASH = VenueBalance("USDT", D(-210), D(-180))


@pytest.mark.parametrize(
    ("position", "equity", "shown"),
    [
        ({}, "-180", []),
        ({"average_price": D("210.005")}, "-180", []),
        ({"average_price": D("210.006")}, "-180", [("average price ETH/USDT:USDT", "210", "210.006")]),
        ({"unrealised": D("30.06")}, "-180", []),
        ({"unrealised": D("29.93")}, "-180", [("unrealised ETH/USDT:USDT", "30", "29.93")]),
        ({}, "-179.4", []),
        ({}, "-180.61", [("equity USDT", "-180", "-180.61")]),
    ],
)
def test_what_contracts_are_worth_is_shown_beyond_its_tolerance(position: dict, equity: str, shown: list) -> None:
    theirs = msgspec.structs.replace(GAINED, **position)
    found = shown_differences(books(), [theirs], [msgspec.structs.replace(CASH, equity=D(equity))])
    expected = [{"what": what, "ours": ours, "venue": venue, "done": VALUES_DONE} for what, ours, venue in shown]
    assert [one.shown() for one in found] == expected


@pytest.mark.parametrize("given", [{"quantity": D(-4)}, {"venue_symbol": "X"}, {"mark_price": None}])
def test_what_has_no_counterpart_is_no_difference_of_worth(given: dict) -> None:
    theirs = msgspec.structs.replace(GAINED, unrealised=D(99), **given)
    assert shown_differences(books(), [theirs], [msgspec.structs.replace(CASH, equity=D(0))]) == []
    assert shown_differences(books(), [SHORT], [VenueBalance("USDT", D(-210))]) == []


@pytest.mark.parametrize("owner", ["a-strategy", UNATTRIBUTED])
def test_averages_are_compared_only_of_what_one_owner_has_traded(owner: str) -> None:
    made = books()
    made.ledger.book_fill(2, owner, Fill(Side.BUY, D(1), D(180), D(0), "USDT"))
    theirs = VenuePosition("ETHUSDT", D(-2), D(210), leverage=D(8), mark_price=D(200), unrealised=D(20))
    assert shown_differences(made, [theirs], [VenueBalance("USDT", D(-180), D(-160))]) == []


def test_cash_that_differs_only_because_the_venue_averages_the_owners_is_not_adjusted() -> None:
    made = Books(1, "USDT", {2: MARKETS[2]})
    for owner, side, quantity, price in (
        ("a-strategy", Side.BUY, 1, 100), (MANUAL, Side.BUY, 1, 104), (MANUAL, Side.SELL, 1, 110),
    ):  # fmt: skip
        made.ledger.book_fill(2, owner, Fill(side, D(quantity), D(price), D(0), "USDT"))
    core = SimpleNamespace(books=made, account=SimpleNamespace(currency="USDT"))
    assert made.ledger.cash == {"USDT": D(6)}  # by the owner's own entry; the venue has sold at 110 what cost 102
    held = VenuePosition("ETHUSDT", D(1), D(102))
    assert book_differences(core, [held], [VenueBalance("USDT", D(8))]) == []
    (found,) = book_differences(core, [held], [VenueBalance("USDT", D(11))])
    assert (found.what, found.ours, found.venues) == ("balance USDT", 8, 11)
    made.ledger.book_fill(2, "a-strategy", Fill(Side.SELL, D(1), D(90), D(0), "USDT"))
    assert book_differences(core, [], [VenueBalance("USDT", D(-4))]) == []


def test_owners_who_hold_against_each_other_have_cash_and_equity_as_the_venue_says() -> None:
    other = msgspec.structs.replace(MARKETS[2], instrument_id=3, symbol="BTC/USDT:USDT", venue_symbol="BTCUSDT")
    made = Books(1, "USDT", {2: MARKETS[2], 3: other})
    made.ledger.book_fill(2, "a-strategy", Fill(Side.BUY, D(1), D(100), D(0), "USDT"))
    made.ledger.book_fill(2, MANUAL, Fill(Side.SELL, D(1), D(104), D(0), "USDT"))
    made.ledger.book_fill(3, MANUAL, Fill(Side.BUY, D(1), D(500), D(0), "USDT"))
    core = SimpleNamespace(books=made, account=SimpleNamespace(currency="USDT"))
    # the venue has sold what it bought, and knows of one position only
    held, cash = VenuePosition("BTCUSDT", D(1), D(500), mark_price=D(510)), VenueBalance("USDT", D(4), D(14))
    assert book_differences(core, [held], [cash]) == []
    assert shown_differences(made, [held], [cash]) == []
    (found,) = shown_differences(made, [held], [msgspec.structs.replace(cash, equity=D(15))])
    assert (found.what, found.ours, found.venues) == ("equity USDT", 14, 15)


@pytest.mark.stack
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("kill_clear")
async def test_a_desks_margin_is_the_venues_is_stored_and_what_differs_is_shown_only() -> None:
    async with living(symbols=(SPOT, LINEAR)) as made:
        desk, instrument = made.parts, made.instrument(LINEAR)
        assert desk.health.accounts.margin() == 0
        wish = {"side": "buy", "kind": "market", "quantity": "3"}
        bought = await command(made, "order", instrument_id=instrument, **wish)
        assert bought.state == "done", bought.result
        await made.until(lambda: made.books.net(instrument) == 3, what="the contracts are held")
        await made.until(lambda: made.books.open and not desk.stops.is_busy(), what="they are protected")
        await desk.reconciler.round()
        (position,) = await desk.core.broker.positions()
        assert position.initial_margin == 3 * position.mark_price / 10
        ours = desk.health.accounts.margin()
        assert ours == 3 * made.books.marks[instrument] / 10
        # our mark is the middle of the book, the simulator's the mark price: a few ticks apart at the most
        assert abs(ours - position.initial_margin) < position.initial_margin / 100
        newest = await Reconciliation.objects.order_by("-pk").afirst()
        assert newest.differences == []

        await made.minutes(WARM + 1)
        await desk.writer.flush()
        snapshot = await EquitySnapshot.objects.order_by("-market_at").afirst()
        assert abs(snapshot.margin - ours) < ours / 100

        broker = desk.core.broker
        told, balances = broker.positions, broker.balances

        async def doubled() -> list[VenuePosition]:
            return [
                msgspec.structs.replace(
                    one, initial_margin=2 * one.initial_margin, average_price=2 * one.average_price,
                    unrealised=one.unrealised + 100,
                ) for one in await told()
            ]  # fmt: skip

        async def richer() -> list[VenueBalance]:
            return [msgspec.structs.replace(one, equity=one.equity + 100) for one in await balances()]

        broker.positions, broker.balances = doubled, richer
        for _ in range(3):
            await desk.reconciler.round()
        newest = await Reconciliation.objects.order_by("-pk").afirst()
        assert [(one["what"], one["done"]) for one in newest.differences] == [
            (f"margin {LINEAR}", DONE),
            (f"average price {LINEAR}", VALUES_DONE),
            (f"unrealised {LINEAR}", VALUES_DONE),
            ("equity USDT", VALUES_DONE),
        ]
        assert not await CashMovement.objects.filter(kind="adjustment").aexists()
        assert made.books.net(instrument) == 3
