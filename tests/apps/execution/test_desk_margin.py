"""The margin of contracts: the core's figure beside the venue's, stored, and never adjusted."""

from decimal import Decimal as D

import msgspec
import pytest

from apps.execution.brokers.base import Market, VenuePosition
from apps.execution.desk.books import Books
from apps.execution.desk.margins import DONE, margin_differences
from apps.execution.models import Reconciliation
from apps.portfolio.models import CashMovement, EquitySnapshot
from tests.apps.execution.living import LINEAR, SPOT, WARM, living
from tests.apps.execution.wishes import command
from tests.apps.risk.fixtures import kill_clear
from trader.core.portfolio import MANUAL, Fill
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

        told = desk.core.broker.positions

        async def doubled() -> list[VenuePosition]:
            return [msgspec.structs.replace(one, initial_margin=2 * one.initial_margin) for one in await told()]

        desk.core.broker.positions = doubled
        for _ in range(3):
            await desk.reconciler.round()
        newest = await Reconciliation.objects.order_by("-pk").afirst()
        assert [(one["what"], one["done"]) for one in newest.differences] == [(f"margin {LINEAR}", DONE)]
        assert not await CashMovement.objects.filter(kind="adjustment").aexists()
        assert made.books.net(instrument) == 3
