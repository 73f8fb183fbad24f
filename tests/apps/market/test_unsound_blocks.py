"""A book that is not sound takes its instrument out of new risk: nobody buys at a touch that was true once."""

import pytest

from apps.market.providers.bybit.adapter import BybitProvider
from tests.apps.execution.living import SPOT, living
from tests.apps.execution.wishes import command
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [
    pytest.mark.stack,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("hot_bars_emptied", "kill_clear"),
]


async def _unheard(self, item) -> None:
    """A question for a book that never reaches the venue."""


async def test_a_market_order_is_refused_while_the_book_is_unsound_and_taken_once_it_is_back(monkeypatch) -> None:
    async with living() as made:
        instrument = made.instrument(SPOT)
        assert instrument not in made.parts.core.stale_instruments
        with monkeypatch.context() as patch:
            patch.setattr(BybitProvider, "resubscribe_book", _unheard)
            made.exchange.fault(fault="frames_dropped", topic="orderbook.50.BTCUSDT", count=1)
            await made.minutes(made.minute + 1)
            await made.until(lambda: instrument in made.parts.core.stale_instruments, what="its book is unsound")
            wish = {"instrument_id": instrument, "side": "buy", "kind": "market", "quantity": "1"}
            refused = await command(made, "order", **wish)
            assert refused.state == "refused"
            assert "stale" in str(refused.result)
            assert made.exchange.ledger("order") == []
        await made.until(lambda: instrument not in made.parts.core.stale_instruments, what="its book is sound again")
        taken = await command(made, "order", **wish)
        assert taken.state == "done", taken.result
        await made.until(lambda: made.books.held(instrument, "manual") > 0, what="filled")
