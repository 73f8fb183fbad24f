"""The sweep believes the venue: orders without a row, orders that the books think ended, and what comes later."""

import secrets

import pytest

from apps.execution.brokers.gate import Sending, sending
from apps.execution.desk import sweep as sweep_module
from apps.execution.states import OrderState
from apps.risk.selectors import scope_account
from apps.risk.services import kill_engage
from tests.apps.execution.living import LINEAR, SPOT, Living, living
from tests.apps.execution.test_desk_kill import swept
from tests.apps.execution.wishes import command, limit_orders
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def stray_order(made: Living) -> str:
    """An order of our prefix that nothing here knows, as a restored database leaves it."""
    client_id = made.parts.core.account.install + secrets.token_hex(14)
    body = {
        "category": "spot", "symbol": "BTCUSDT", "orderLinkId": client_id, "side": "Buy", "orderType": "Limit",
        "qty": "1", "price": "90", "timeInForce": "GTC",
    }  # fmt: skip
    token = sending.set(Sending(adds_risk=False))
    try:
        await made.parts.core.broker._client.call("private_post_v5_order_create", body)
    finally:
        sending.reset(token)
    return client_id


def resting(made: Living) -> list[str]:
    return [order["orderLinkId"] for order in made.exchange.call("GET", "/state")["accounts"][0]["orders"]]


async def test_orders_without_a_row_and_orders_thought_ended_are_cancelled_and_counted() -> None:
    async with living() as made:
        await limit_orders(made, SPOT, 1, price=90.0)
        (ended,) = made.books.open.values()
        ended.state = OrderState.EXPIRED
        made.books.order_settle(ended)
        await stray_order(made)
        assert len(resting(made)) == 2
        await kill_engage("all", by="tester", reason="drill")
        sweep = await swept(made, "all")
        assert (sweep.found, sweep.left) == (2, 0)
        assert resting(made) == []


async def test_what_rests_again_while_the_switch_is_engaged_is_swept_again(monkeypatch) -> None:
    monkeypatch.setattr(sweep_module, "AGAIN_S", 0.5)
    async with living() as made:
        await kill_engage("all", by="tester", reason="drill")
        await swept(made, "all")
        late = await stray_order(made)
        assert resting(made) == [late]
        await made.until(lambda: not resting(made), what="the late order is cancelled")
        await made.until(
            lambda: made.parts.sweeper._done["all"].found == 1 and made.parts.sweeper._done["all"].finished
        )


async def test_a_resting_order_that_reduces_is_not_taken_along() -> None:
    async with living(symbols=(LINEAR,)) as made:
        instrument = made.instrument(LINEAR)
        bought = await command(made, "order", instrument_id=instrument, side="buy", kind="market", quantity="3")
        assert bought.state == "done", bought.result
        await made.until(lambda: made.books.held(instrument, "manual") == 3, what="long by hand")
        leaving = await command(
            made, "order", instrument_id=instrument, side="sell", kind="limit", quantity="1", price="110",
            reduce_only=True,
        )  # fmt: skip
        assert leaving.state == "done", leaving.result
        await limit_orders(made, LINEAR, 3, price=90.0)
        await made.until(lambda: any(one.is_stop for one in made.books.open.values()), what="protected")
        await kill_engage(scope_account(made.account_id), by="tester", reason="drill")
        sweep = await swept(made, scope_account(made.account_id))
        assert (sweep.found, sweep.left) == (3, 0)
        kinds = sorted((one.leg, one.kind, one.adds_risk) for one in made.books.open.values())
        assert kinds == [("manual", "limit", False), ("stop", "stop", False)]
        assert len(resting(made)) == 2
        stop = next(one for one in made.books.open.values() if one.is_stop)
        closed = await command(made, "close", instrument_id=instrument, owner="manual")
        assert closed.state == "done", closed.result
        await made.until(lambda: not stop.is_open, what="the stop goes with its position")
        found = await made.parts.core.broker.order_find(stop.client_id, stop.market)
        assert found is not None
        assert found.state is OrderState.CANCELLED
