"""A sweep that cannot end says why, and holds no other scope up."""

import pytest

from apps.execution.desk.make import Wish, order_make
from apps.execution.states import OrderState
from apps.risk.selectors import scope_account
from apps.risk.services import kill_engage
from tests.apps.execution.living import LINEAR, SPOT, living
from tests.apps.execution.test_desk_kill import shown, swept
from tests.apps.execution.wishes import command, limit_orders
from tests.apps.risk.fixtures import kill_clear
from trader.core.portfolio import Position

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def test_a_position_that_cannot_be_closed_says_why_and_holds_no_other_sweep_up() -> None:
    async with living() as made:
        bought = await command(
            made, "order", instrument_id=made.instrument(SPOT), side="buy", kind="market", quantity="5"
        )
        assert bought.state == "done", bought.result
        await made.until(lambda: any(one.is_stop for one in made.books.open.values()), what="protected")
        await made.until(lambda: not made.parts.tracker.in_flight(), what="calm")
        scope = scope_account(made.account_id)
        made.exchange.fault(fault="busy", code=110092, status=200, path="order/create")
        await kill_engage(scope, by="tester", reason="drill", flatten=True)
        stuck = await shown(made, "why", scope=scope, why__contains="110092")
        assert (stuck.left, stuck.positions_left, stuck.finished_at) == (0, 1, None)
        assert stuck.why.startswith("BTC/USDT (manual): rejected by venue: ")
        await kill_engage("all", by="tester", reason="drill")
        whole = await swept(made, "all")
        assert (whole.left, whole.why) == (0, "")
        await stuck.arefresh_from_db()
        assert stuck.finished_at is None
        again = await kill_engage(scope, by="tester", reason="who stops once more takes nothing back")
        await shown(made, "that it goes on", scope=scope, generation=again.record.generation, flatten=True)
        made.exchange.call("DELETE", "/faults")
        ended = await swept(made, scope)
        assert (ended.generation, ended.positions_left, ended.why) == (again.record.generation, 0, "")
        assert made.books.is_flat(made.instrument(SPOT), made.books.net(made.instrument(SPOT)))


async def test_a_cancel_that_the_venue_does_not_take_stands_in_the_sweep_and_in_the_order() -> None:
    async with living() as made:
        await limit_orders(made, SPOT, 1, price=90.0)
        (order,) = made.books.open.values()
        made.exchange.fault(fault="cancels_rejected", code=170191)
        await kill_engage("all", by="tester", reason="drill")
        told = await shown(made, "why", scope="all", why__startswith="cancel not taken: ")
        assert "170191" in told.why
        assert (order.origin, order.is_open) != ("kill", False)
        made.exchange.call("DELETE", "/faults")
        sweep = await swept(made, "all")
        assert (sweep.left, sweep.why) == (0, "")
        await made.until(lambda: order.state is OrderState.CANCELLED, what="cancelled")
        assert order.origin == "kill"


async def test_what_keeps_a_position_open_is_told_in_words() -> None:
    async with living(symbols=(LINEAR,)) as made:
        flattener, instrument = made.parts.flattener, made.instrument(LINEAR)
        ledger, market = made.books.ledger.positions, made.books.markets[made.instrument(LINEAR)]
        flat = {"average_price": market.tick, "realised": market.tick, "fees": market.tick, "funding": market.tick}
        ledger[(instrument, "mine")] = Position(quantity=market.lot * 500, **flat)
        assert flattener.why_held("all") == ""
        wish = Wish(market, "mine", "flatten", "sell", market.lot * 500, 1, reduce_only=True)
        last = flattener._last[(instrument, "mine")] = order_make(made.parts.core, wish)
        assert flattener.why_held("all") == ""
        last.state = OrderState.CANCELLED
        assert flattener.why_held("all") == "ETH/USDT:USDT (mine): nothing to trade against"
        last.filled = market.lot
        assert flattener.why_held("all").endswith("only a part could be traded")
        last.state, last.origin, last.detail = OrderState.CREATED, "rate", "no token within 2 s"
        assert flattener.why_held("all").endswith("(mine): no token within 2 s")
        ledger[(instrument, "other")] = Position(quantity=-market.lot * 800, **flat)
        assert "on the other side" in flattener.why_held("all")
        made.parts.core.block("starting", "the books are not compared yet")
        assert flattener.why_held("all") == "the books are not compared yet"
        made.parts.core.unblock("starting")
        ledger.clear()
        assert flattener.why_held("all") == ""
