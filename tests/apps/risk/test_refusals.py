"""Refusals and halts as the desk writes them, and how a person ends a halt."""

import asyncio
import json
import uuid
from decimal import Decimal

import pytest

from apps.common.database import connection_open
from apps.common.models import AuditEntry
from apps.common.outbox import outbox_read
from apps.risk import selectors, services
from apps.risk.models import Halt, Refusal
from apps.risk.services import HaltRow, RefusalRow
from apps.risk.services.halts import HaltRefused
from tests.apps.risk.conftest import deployment_new
from trader.core.risk import Book, BreakerInputs, BreakerLimits, Limits, OrderIntent, RiskState, breakers, checks
from trader.core.types import Side, TraderError

pytestmark = pytest.mark.django_db(transaction=True)
NS = 1_700_000_000_123_456_000


def write(*steps) -> None:
    async def main() -> None:
        connection = await connection_open("test")
        try:
            async with connection.transaction():
                for step in steps:
                    await step(connection)
        finally:
            await connection.close()

    asyncio.run(main())


def refused_checks():
    order = OrderIntent(Side.BUY, 2.0, 100.0, "spot", adds_risk=True)
    book = Book(day_start_equity=1000.0)
    state = RiskState(equity=1000.0, mark=100.0, held=0.0, min_quantity=0.001, min_notional=5.0, owner=book, net=book)
    return checks(order, state, Limits(order_notional=500.0), Limits(position_notional=150.0))


def test_a_refusal_keeps_the_check_the_number_the_limit_and_all_checks(account, spot):
    decision = uuid.uuid4()
    row = services.refusal_of_checks(
        refused_checks(), account_id=account.pk, instrument_id=spot.pk, owner="x", market_ns=NS, decision_id=decision
    )
    write(lambda c: services.refusals_add(c, [row]), lambda c: services.refusals_add(c, [row]))
    stored = Refusal.objects.get()
    assert (stored.check_name, stored.number, stored.limit) == ("position_notional", 200, 150)
    assert stored.detail == "position notional of the account: 200 is above the limit 150"
    assert stored.decision_id == decision
    verdicts = [check["verdict"] for check in stored.checks]
    assert verdicts.index("refused") == [check["name"] for check in stored.checks].index("position_notional") + 1
    assert set(verdicts[verdicts.index("refused") + 1 :]) == {"not_asked"}
    assert stored.market_at.microsecond == 123_456


def test_its_message_carries_the_same(account, spot):
    row = services.refusal_of_checks(
        refused_checks(), account_id=account.pk, instrument_id=spot.pk, owner="x", market_ns=NS
    )
    ((topic, message),) = services.refusal_events([row])
    assert topic == "refusals"
    assert (message.id, message.number, message.limit) == (str(row.id), "200", "150")
    assert json.dumps(message.checks)


def test_a_number_that_is_not_known_is_stored_as_none(account, spot):
    order = OrderIntent(Side.BUY, float("nan"), 100.0, "spot", adds_risk=True)
    state = RiskState(1000.0, 100.0, 0.0, 0.001, 5.0, Book(), Book())
    row = services.refusal_of_checks(
        checks(order, state, Limits(), Limits()), account_id=account.pk, instrument_id=spot.pk, owner="x", market_ns=NS
    )
    write(lambda c: services.refusals_add(c, [row]))
    stored = Refusal.objects.get()
    assert stored.check_name == "complete"
    assert all(check["number"] is None or check["number"] == check["number"] for check in stored.checks)


def test_many_refusals_are_one_statement(account, spot):
    rows = [
        RefusalRow(account.pk, spot.pk, "x", "gate", f"number {n}", NS, number=Decimal(n) if n % 2 else None)
        for n in range(20)
    ]
    write(lambda c: services.refusals_add(c, rows), lambda c: services.refusals_add(c, []))
    assert Refusal.objects.count() == 20


def test_checks_that_all_passed_are_no_refusal():
    with pytest.raises(TraderError, match="no check refused"):
        services.refusal_of_checks([], account_id=1, instrument_id=1, owner="x", market_ns=NS)


def trip():
    inputs = BreakerInputs(day_start_equity=1000.0, day_profit=-60.0, peak_equity=1000.0, equity=940.0)
    return breakers(inputs, BreakerLimits(daily_loss=0.05, venue_errors=None))[0]


def test_a_breaker_halts_once_until_a_person_ends_it(account, person):
    def halt():
        return HaltRow.of_trip(trip(), account_id=account.pk, market_ns=NS)

    write(lambda c: services.halts_add(c, [halt()]), lambda c: services.halts_add(c, [halt()]))
    stored = Halt.objects.get()
    assert stored.cause == "daily_loss"
    assert "0.06" in stored.detail
    assert [halt.stops("anyone") for halt in selectors.halts_of(account.pk)] == [True]
    ended = services.halt_end(halt=stored, person=person, reason="a wrong mark, mended")
    assert ended.ended_by == person
    assert selectors.halts_of(account.pk) == []
    assert AuditEntry.objects.get(action="halt ended").reason == "a wrong mark, mended"
    assert outbox_read("halts", 0)[-1][1].ended_by == "ann"
    write(lambda c: services.halts_add(c, [halt()]))
    assert selectors.halts_open([account.pk]).count() == 1, "the next trip halts again"


@pytest.mark.parametrize("reason", ["", "   "])
def test_ending_a_halt_needs_a_reason(account, person, reason):
    write(lambda c: services.halts_add(c, [HaltRow.of_trip(trip(), account_id=account.pk, market_ns=NS)]))
    with pytest.raises(HaltRefused, match="why it is safe"):
        services.halt_end(halt=Halt.objects.get(), person=person, reason=reason)
    assert selectors.halts_open().count() == 1


def test_a_halt_ends_once(account, person):
    write(lambda c: services.halts_add(c, [HaltRow.of_trip(trip(), account_id=account.pk, market_ns=NS)]))
    halt = Halt.objects.get()
    services.halt_end(halt=halt, person=person, reason="mended")
    with pytest.raises(HaltRefused, match="ended already"):
        services.halt_end(halt=halt, person=person, reason="again")


def test_a_deployments_halt_stops_its_successors_and_nobody_else(account, deployment):
    row = HaltRow(account.pk, "daily_loss", "lost", NS, deployment.key)
    write(lambda c: services.halts_add(c, [row]))
    successor = deployment_new(account, "mean_reversion-2", deployment)

    (halt,) = selectors.halts_of(account.pk)
    assert halt.stops(deployment.key)
    assert halt.stops(successor.key)
    assert not halt.stops("manual")
    ((_, message),) = services.halt_events([row])
    assert (message.deployment_key, message.ended_ns) == (deployment.key, None)
