"""What the provider makes of answers that are no data: refused subscriptions, and history of another shape."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from apps.market.errors import VenueRefused
from apps.market.providers.base import Connection, Subscription
from apps.market.providers.bybit.adapter import BybitProvider

ITEM = Subscription(7, "BTCUSDT", "spot")
MINUTE_NS = 60_000_000_000


class Sink:
    """Hears what is refused."""

    def __init__(self) -> None:
        self.refused: list[tuple[int, str]] = []

    def on_refused(self, instrument_id: int, why: str) -> None:
        self.refused.append((instrument_id, why))


@pytest.fixture
async def provider() -> AsyncIterator[BybitProvider]:
    """Return a provider of a venue whose history has another shape than it documents."""

    async def klines(request: web.Request) -> web.Response:
        return web.json_response({"retCode": 0, "retMsg": "OK", "result": {"rows": []}})

    app = web.Application()
    app.router.add_get("/v5/market/kline", klines)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found = BybitProvider(f"http://127.0.0.1:{runner.addresses[0][1]}", "")
    yield found
    await found.close()
    await runner.cleanup()


def _no(req_id: str) -> dict:
    return {"success": False, "ret_msg": "too many visits", "op": "subscribe", "req_id": req_id}


async def test_a_book_that_is_refused_alone_does_not_take_the_instruments_prints_away(provider) -> None:
    provider._sink = sink = Sink()
    provider._frame("spot", Connection("spot"), _no("book:7"))
    assert sink.refused == []  # its book stays unsound, which blocks it, and is asked for again
    provider._frame("spot", Connection("spot"), _no("subscribe:7"))
    assert sink.refused == [(7, "too many visits")]


async def test_history_of_another_shape_is_a_refusal_that_names_the_field(provider) -> None:
    with pytest.raises(VenueRefused, match=r"market/kline of BTCUSDT: market/kline answer lacks result\.list"):
        await provider.klines(ITEM, 60, 0, 10 * MINUTE_NS)
