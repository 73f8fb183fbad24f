"""A desk trades: decisions become orders, orders fills, fills positions with a stop at the venue."""

import pytest

from apps.execution.states import OrderState
from tests.apps.execution.living import SPOT, WARM, living
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def test_a_fall_is_bought_protected_and_sold_when_the_price_is_back() -> None:
    moves = {WARM + 3: -0.006, WARM + 8: 0.008}
    async with living(moves) as made:
        await made.minutes(WARM + 5)
        instrument = made.instrument(SPOT)
        held = made.books.held(instrument, made.deployment)
        assert held > 0
        stops = [order for order in made.books.open.values() if order.leg == "stop"]
        assert [stop.state for stop in stops] == [OrderState.ACKNOWLEDGED]
        assert stops[0].side == "sell"
        assert stops[0].quantity <= held
        assert not stops[0].adds_risk
        await made.minutes(WARM + 30)
        assert made.books.is_flat(instrument, made.books.held(instrument, made.deployment))
        await made.until(lambda: not made.books.open, what="the stop is gone")
        await made.parts.writer.flush()
        orders = await made.rows("SELECT leg, state, filled > 0 FROM execution_order ORDER BY id")
        assert {row[0] for row in orders} == {"entry", "exit", "stop"}
        accepted = made.exchange.ledger("order")
        assert len({row["link_id"] for row in accepted}) == len(accepted) == len(orders)
        booked = {row[0] for row in await made.rows("SELECT venue_fill_id FROM execution_fill")}
        assert booked == {row["exec_id"] for row in made.exchange.ledger("fill")}
        await made.parts.reconciler.round()
        assert await made.rows("SELECT 1 FROM portfolio_cashmovement WHERE kind = 'adjustment'") == []
        states = await made.rows("SELECT state FROM strategies_signal")
        assert {row[0] for row in states} == {"done"}
