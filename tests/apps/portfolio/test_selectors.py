"""Reads of the portfolio, and how many queries each takes whatever the number of rows."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from apps.market.models import Epoch, InstrumentTerms
from apps.portfolio import selectors
from apps.portfolio.models import Account, EquitySnapshot, Position
from tests.apps.portfolio.conftest import instrument

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 1, 22, tzinfo=UTC)
D = Decimal


def snapshot(account, at, equity, realised=0, **more):
    return EquitySnapshot.objects.create(
        account=account, market_at=at, wall_at=at, equity=D(equity), cash=D(equity), realised=D(realised), **more
    )


def test_figures_are_the_newest_with_day_start_and_peak(account, django_assert_num_queries):
    snapshot(account, START, 100, realised=1)
    snapshot(account, START + timedelta(hours=1), 120, realised=5)
    snapshot(account, START + timedelta(hours=3), 90, realised=7, gross=D(30), net=D(-10))
    with django_assert_num_queries(1):
        figures = selectors.account_figures([account.pk])[account.pk]
    assert figures.equity == 90
    assert figures.day_start_equity == 120, "the day begins with the last equity of the day before"
    assert figures.day_profit == -30
    assert figures.realised_today == 2
    assert figures.drawdown == D("0.25")
    assert (figures.gross, figures.net, figures.currency) == (30, -10, "USDT")


def test_the_first_day_begins_with_its_first_equity(account):
    snapshot(account, START, 100)
    snapshot(account, START + timedelta(minutes=1), 103)
    figures = selectors.account_figures([account.pk])[account.pk]
    assert (figures.day_start_equity, figures.day_profit, figures.drawdown) == (100, 3, 0)


def test_an_account_without_snapshots_has_no_figures(account):
    assert selectors.account_figures([account.pk]) == {}


def test_figures_of_many_accounts_take_one_query(venue, epoch, django_assert_num_queries):
    accounts = [Account.objects.create(venue=venue, epoch=epoch, name=f"a{n}") for n in range(5)]
    for account in accounts:
        snapshot(account, START, 100 + account.pk)
    with django_assert_num_queries(1):
        assert len(selectors.account_figures([account.pk for account in accounts])) == 5


def test_positions_are_valued_at_their_marks_in_one_query(account, venue, spot, django_assert_num_queries):
    many = [instrument(venue, f"C{n}/USDT", "spot") for n in range(6)]
    for one in (spot, *many):
        Position.objects.create(account=account, instrument=one, owner="manual", quantity=D(2), average_price=D(100))
    with django_assert_num_queries(1):
        found = selectors.positions_of([account.pk], {spot.pk: D(110)})
    assert len(found) == 7
    valued = next(view for view in found if view.instrument_id == spot.pk)
    assert (valued.symbol, valued.notional, valued.unrealised) == ("BTC/USDT", 220, 20)
    unknown = next(view for view in found if view.instrument_id == many[0].pk)
    assert (unknown.mark, unknown.notional, unknown.unrealised) == (None, None, None)


def test_a_short_position_gains_when_its_mark_falls(account, linear):
    Position.objects.create(account=account, instrument=linear, owner="x", quantity=D(-2), average_price=D(100))
    view = selectors.positions_of([account.pk], {linear.pk: D(90)})[0]
    assert (view.notional, view.unrealised) == (-180, 20)


def test_flat_sub_ledgers_are_shown_only_when_asked_for(account, spot):
    Position.objects.create(account=account, instrument=spot, owner="x", quantity=D(0), realised=D(5))
    assert selectors.positions_of([account.pk]) == []
    assert selectors.positions_of([account.pk], with_flat=True)[0].realised == 5


def test_the_curve_keeps_the_last_of_each_span_and_the_newest(account, django_assert_num_queries):
    for minute in range(240):
        snapshot(account, START + timedelta(minutes=minute), 1000 + minute)
    with django_assert_num_queries(1):
        curve = selectors.equity_curve(account.pk, points=20)
    assert 20 <= len(curve) <= 21
    assert curve == sorted(curve)
    assert curve[-1] == (START + timedelta(minutes=239), 1239)


def test_the_curve_begins_where_asked(account):
    for minute in range(10):
        snapshot(account, START + timedelta(minutes=minute), minute)
    since = START + timedelta(minutes=7)
    assert [equity for _, equity in selectors.equity_curve(account.pk, since)] == [7, 8, 9]


@pytest.mark.parametrize("snapshots", [0, 1])
def test_a_curve_of_nothing_or_one_point(account, snapshots):
    for _ in range(snapshots):
        snapshot(account, START, 5)
    assert selectors.equity_curve(account.pk) == [(START, D(5))] * snapshots


def test_held_are_instruments_of_the_current_epoch_with_at_least_a_lot(account, venue, spot, django_assert_num_queries):
    small, dusty, old, gone, unknown, split = (
        instrument(venue, f"{name}/USDT", "spot") for name in ("SMALL", "DUSTY", "OLD", "GONE", "UNKNOWN", "SPLIT")
    )
    for one in (spot, small, dusty, old, gone, split):
        terms(one, lot="0.001", min_quantity="0.01")
    hold(account, spot, "-2")
    hold(account, small, "0.01")
    hold(account, dusty, "0.0099")  # what an exit leaves after its fee
    hold(account, gone, "0")
    hold(account, unknown, "0.0001")  # without terms nobody can say that it is dust
    hold(account, split, "0.3", "one")
    hold(account, split, "-0.3", "two")  # two positions, though the venue sees none
    past = Epoch.objects.create(venue=venue, number=2, kind=Epoch.Kind.SYNTHETIC)
    hold(Account.objects.create(venue=venue, epoch=past, name="Past"), old, "5")
    with django_assert_num_queries(2):
        held = selectors.instruments_held([venue.code])
    assert held == {spot.pk, small.pk, unknown.pk, split.pk}
    assert selectors.instruments_held(["another"]) == set()


def hold(account, one, quantity, owner="manual"):
    Position.objects.create(account=account, instrument=one, owner=owner, quantity=D(quantity))


def terms(one, lot, min_quantity):
    InstrumentTerms.objects.create(
        instrument=one, valid_from=START, tick=D("0.01"), lot=D(lot), min_quantity=D(min_quantity)
    )
