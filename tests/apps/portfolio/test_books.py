"""What a desk books, on a real psycopg connection: whole or not at all, once however often it is written."""

import asyncio
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.common.database import connection_open
from apps.portfolio import services
from apps.portfolio.models import CashBalance, CashMovement, EquitySnapshot, Position
from trader.core.portfolio import Contract, Fill, Ledger
from trader.core.types import AccountingError, Side

pytestmark = pytest.mark.django_db(transaction=True)
NS = 1_700_000_000_000_000_000
D = Decimal


def run(*steps) -> None:
    """Run booking steps in one transaction of a connection like a desk's."""

    async def main() -> None:
        connection = await connection_open("test")
        try:
            async with connection.transaction():
                for step in steps:
                    await step(connection)
        finally:
            await connection.close()

    asyncio.run(main())


def position_row(instrument, owner="manual", quantity="1", average="100", opened=NS):
    return (instrument.pk, owner, D(quantity), D(average), D(0), D("0.1"), D(0), opened)


def test_positions_are_written_as_they_are_after_the_booking(account, spot, linear):
    rows = [position_row(spot), position_row(linear, "mean_reversion-1", "-2.5")]
    run(lambda c: services.positions_put(c, account.pk, rows))
    run(lambda c: services.positions_put(c, account.pk, [position_row(spot, quantity="0", opened=None)]))
    held = {(p.instrument_id, p.owner): p for p in Position.objects.all()}
    assert held[(spot.pk, "manual")].quantity == 0
    assert held[(spot.pk, "manual")].opened_at is None
    assert held[(linear.pk, "mean_reversion-1")].quantity == D("-2.5")
    assert held[(linear.pk, "mean_reversion-1")].opened_at.timestamp() == NS / 1e9


def test_nothing_stays_of_a_booking_that_fails(account, spot):
    async def fails(connection) -> None:
        raise RuntimeError("after the positions")

    with pytest.raises(RuntimeError):
        run(lambda c: services.positions_put(c, account.pk, [position_row(spot)]), fails)
    assert not Position.objects.exists()


def test_of_two_rows_of_one_sub_ledger_the_later_holds(account, spot):
    rows = [position_row(spot, quantity="1"), position_row(spot, quantity="3")]
    run(lambda c: services.positions_put(c, account.pk, rows))
    assert Position.objects.get().quantity == 3


def test_cash_and_its_fees_are_replaced_by_currency(account):
    run(lambda c: services.cash_put(c, account.pk, [("USDT", D("100000"), 0), ("BTC", D("0.1"), D("0.0001"))]))
    run(lambda c: services.cash_put(c, account.pk, [("USDT", D("99000.000000000000000001"), D("1.5"))]))
    assert CashBalance.objects.get(currency="USDT").amount == D("99000.000000000000000001")
    assert CashBalance.objects.get(currency="BTC").fees == D("0.0001")


def test_a_movement_is_added_once(account, linear):
    row = ("funding", "exec-1", linear.pk, "manual", "USDT", D("-0.42"), D(0), "funding 8 h", NS)
    run(lambda c: services.movements_add(c, account.pk, [row, row]))
    run(lambda c: services.movements_add(c, account.pk, [row]))
    assert CashMovement.objects.get().amount == D("-0.42")


def test_an_opening_balance_needs_no_instrument(account):
    row = ("opening", "opening:USDT", None, "unattributed", "USDT", D(100_000), D(0), "opening balance", NS)
    run(lambda c: services.movements_add(c, account.pk, [row]))
    assert CashMovement.objects.get().instrument is None


def test_the_later_equity_of_a_moment_holds(account):
    def row(equity):
        return (NS, NS + 5, D(equity), D(1), D(2), D(3), D(4), D(5), D(6), D(-7), D(equity) / 8)

    run(lambda c: services.equity_put(c, account.pk, [row(100), row(101)]))
    run(lambda c: services.equity_put(c, account.pk, [row(102)]))
    snapshot = EquitySnapshot.objects.get()
    assert (snapshot.equity, snapshot.net, snapshot.gross, snapshot.margin) == (102, -7, 6, D("12.75"))


def test_a_margin_that_is_unknown_stays_unknown(account):
    run(lambda c: services.equity_put(c, account.pk, [(NS, NS, *map(D, range(8)), None)]))
    assert EquitySnapshot.objects.get().margin is None


def test_writing_nothing_asks_nothing(account):
    run(lambda c: services.positions_put(c, account.pk, []), lambda c: services.cash_put(c, account.pk, []))
    assert not CashBalance.objects.exists()


@pytest.mark.parametrize("amount", [0.1, D("NaN"), D("Infinity")])
def test_what_is_no_exact_number_is_not_booked(account, amount):
    with pytest.raises(AccountingError):
        run(lambda c: services.cash_put(c, account.pk, [("USDT", amount, D(0))]))
    assert not CashBalance.objects.exists()


def test_a_sub_ledger_is_handed_over_whole(account, spot, linear):
    run(lambda c: services.positions_put(c, account.pk, [position_row(spot, "old"), position_row(linear, "old")]))
    from django.db import transaction

    with transaction.atomic():
        assert services.ledger_transfer(account, "old", "new") == 2
    assert set(Position.objects.values_list("owner", flat=True)) == {"new"}
    assert Position.objects.get(instrument=spot).opened_at is not None


def test_two_histories_are_never_merged(account, spot):
    from django.db import transaction

    run(lambda c: services.positions_put(c, account.pk, [position_row(spot, "old"), position_row(spot, "new")]))
    with pytest.raises(AccountingError, match="choose a fresh owner"), transaction.atomic():
        services.ledger_transfer(account, "old", "new")


def test_a_handover_needs_a_transaction(account):
    with pytest.raises(AccountingError, match="inside a transaction"):
        services.ledger_transfer(account, "old", "new")


amounts = st.decimals("0.0001", "1000", places=4)
fills = st.lists(
    st.builds(Fill, side=st.sampled_from(list(Side)), quantity=amounts, price=amounts,
              fee=st.decimals("0", "1", places=4), fee_currency=st.just("USDT")),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fills, st.integers(1, 3))
def test_the_tables_hold_what_the_core_has_booked_however_often_a_batch_is_written(account, linear, filled, times):
    ledger = Ledger("USDT", {linear.pk: Contract("linear", "BTC", "USDT", "USDT")})
    fees = D(0)
    for fill in filled:
        ledger.book_fill(linear.pk, "manual", fill)
        fees += fill.fee
    held = ledger.position(linear.pk, "manual")
    row = (linear.pk, "manual", held.quantity, held.average_price, held.realised, held.fees, held.funding, NS)

    async def book(connection) -> None:
        await services.positions_put(connection, account.pk, [row])
        await services.cash_put(connection, account.pk, [("USDT", ledger.cash.get("USDT", D(0)), fees)])

    for _ in range(times):
        run(book)
    stored = Position.objects.get(account=account, instrument=linear)
    assert (stored.quantity, stored.average_price, stored.fees) == (held.quantity, held.average_price, held.fees)
    # a profit has more decimals than the column's 18: what is lost is less than one of the last
    assert abs(stored.realised - held.realised) < D("1e-18")
    cash = CashBalance.objects.get(account=account, currency="USDT").amount
    assert abs(cash - ledger.cash.get("USDT", D(0))) < D("1e-18")
