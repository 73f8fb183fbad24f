"""Rows: the same from a table and from a message, and the same for everyone."""

import asyncio
import time
from decimal import Decimal

import msgspec
import pytest

from apps.dashboard import rendering, rows, selectors
from apps.dashboard.labels import labels
from apps.execution.events import FillBooked, OrderChanged, PositionChanged
from apps.market.models import InstrumentTerms
from apps.risk.events import RefusalMade
from apps.strategies.events import SignalChanged

NS = 1_522_852_331_000_000_000


def order_message(desk, **more):
    values = {
        "id": desk.order.pk, "client_id": desk.order.client_id, "account_id": desk.account.pk,
        "instrument_id": desk.btc.pk, "symbol": "BTC/USDT", "owner": desk.deployment.key, "decision_id": None,
        "leg": "entry", "revision": 0, "side": "buy", "kind": "limit", "quantity": "0.5", "price": "6771.9",
        "trigger_price": None, "reduce_only": False, "adds_risk": True, "state": "partly_filled", "filled": "0.412",
        "average_price": None, "origin": "", "detail": "", "market_ns": NS, "wall_ns": NS,
    }  # fmt: skip
    return OrderChanged(**values | more)


def test_order_row_is_the_same_from_table_and_message(desk):
    from_table = [row for row in selectors.orders_open([desk.account.pk]) if row["id"] == desk.order.pk]
    assert rendering.order_html(from_table[0]) == rendering.order_html(order_message(desk))


def test_fill_row_is_the_same_from_table_and_message(desk):
    message = FillBooked(
        id=desk.fill.pk, order_id=desk.order.pk, client_id="", account_id=desk.account.pk, instrument_id=desk.btc.pk,
        symbol="BTC/USDT", owner=desk.deployment.key, side="buy", quantity="0.412", price="6771.9", fee="0.0004",
        fee_currency="BTC", realised="0", is_maker=False, market_ns=NS, wall_ns=NS,
    )  # fmt: skip
    assert rendering.fill_html(selectors.fills_of([desk.account.pk])[0]) == rendering.fill_html(message)


def test_signal_row_is_the_same_from_table_and_message(desk):
    message = SignalChanged(
        id=desk.signal.pk, decision_id=str(desk.signal.decision_id), account_id=desk.account.pk,
        instrument_id=desk.btc.pk, symbol="BTC/USDT", deployment=desk.deployment.key, direction=1, strength=0.72,
        horizon_s=300, reason="below_band", state="ordered", market_ns=NS, wall_ns=NS, detail="z −2.31 below −1.9",
    )  # fmt: skip
    assert rendering.signal_html(selectors.signals_of([desk.account.pk])[0]) == rendering.signal_html(message)


def test_refusal_row_is_the_same_from_table_and_message(desk):
    message = RefusalMade(
        id=desk.refusal.pk, account_id=desk.account.pk, instrument_id=desk.eth.pk, owner=desk.deployment.key,
        decision_id=None, check_name="position_notional", number="4000", limit="4000",
        detail="max position 4,000 of 4,000 USDT", checks=[], market_ns=NS,
    )  # fmt: skip
    assert rendering.refusal_html(selectors.refusals_of([desk.account.pk])[0]) == rendering.refusal_html(message)


def position_message(desk, quantity, average="6771.9"):
    return PositionChanged(
        account_id=desk.account.pk, instrument_id=desk.btc.pk, symbol="BTC/USDT", owner=desk.deployment.key,
        quantity=quantity, average_price=average, realised="0", fees="0", funding="0", opened_ns=None, market_ns=NS,
        no_stop_reason="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("quantity", "marks"),
    [
        ("0.412", ['data-flat="0"', "▲ long", ">0.412<", ">6,771.90<"]),
        ("-0.412", ["▼ short", 'data-quantity="-0.412"', ">0.412<"]),
        ("0", ['data-flat="1"']),
        ("0.00001", ["dust"]),
        ("0.0005", ["dust"]),
    ],
)
def test_position_row_tells_side_size_flat_and_dust(desk, quantity, marks):
    html = rendering.position_html(position_message(desk, quantity))
    assert all(mark in html for mark in marks), html


def test_position_of_the_table_names_the_stop_that_rests_for_it(desk):
    row = rows.position_row(selectors.positions_of([desk.account.pk])[0])
    assert (row["stop"], row["no_stop_reason"]) == ("6,702.00", "")


def test_a_position_without_a_stop_by_its_deployments_word_shows_the_reason(desk):
    desk.deployment.no_stop_reason = "hedged <elsewhere>"
    desk.deployment.save()
    row = rows.position_row(selectors.positions_of([desk.account.pk])[0])
    assert row["no_stop_reason"] == "hedged <elsewhere>"
    told = msgspec.structs.replace(position_message(desk, "0.412"), no_stop_reason="hedged <elsewhere>")
    assert "without a stop: hedged &lt;elsewhere&gt;" in rendering.position_html(told)
    assert "without a stop" not in rendering.position_html(position_message(desk, "0.412"))


@pytest.mark.parametrize(
    ("state", "is_open", "can_cancel"),
    [("acknowledged", "1", True), ("created", "1", False), ("filled", "0", False), ("unknown", "1", True)],
)
def test_order_row_tells_whether_it_is_open_and_can_be_cancelled(desk, state, is_open, can_cancel):
    html = rendering.order_html(order_message(desk, state=state))
    assert f'data-open="{is_open}"' in html
    assert ("/cancel/" in html) is can_cancel


def test_cancelling_a_protective_stop_asks_once_more(desk):
    stop = order_message(desk, kind="stop", trigger_price="6702", price=None, reduce_only=True, adds_risk=False)
    html = rendering.order_html(stop)
    assert "protective stop" in html
    assert "hx-confirm" in html
    assert 'data-risk="0"' in html


def test_fragments_hold_nothing_personal(desk):
    html = rendering.order_html(order_message(desk)) + rendering.position_html(position_message(desk, "1"))
    assert "csrf" not in html
    assert 'datetime="2018-04-04T14:32:11Z"' in html


def test_what_comes_from_outside_is_escaped(desk):
    html = rendering.order_html(order_message(desk, detail='"><script>alert(1)</script>'))
    assert "<script>" not in html


def test_row_of_an_unknown_instrument_is_still_drawn(desk):
    html = rendering.order_html(order_message(desk, instrument_id=999_999, symbol="NEW/USDT"))
    assert "NEW/USDT" in html
    assert "6,771.9" in html


@pytest.mark.django_db(transaction=True)
async def test_in_an_event_loop_an_unknown_instrument_is_read_beside_it_for_the_next_row():
    from asgiref.sync import sync_to_async
    from django.db import connections

    from apps.market.models import Instrument, Venue

    venue = await sync_to_async(Venue.objects.create)(code="late", name="Late")
    made = await sync_to_async(Instrument.objects.create)(
        venue=venue, symbol="NEW/USDT", slug="new-usdt", venue_symbol="N", kind="spot", base="N", quote="U", settle="U"
    )
    assert labels.get(made.pk).slug == ""
    deadline = time.monotonic() + 5
    while not labels.get(made.pk).slug and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert labels.get(made.pk).slug == "new-usdt"
    await sync_to_async(connections.close_all)()


def test_prices_follow_the_newest_tick(desk):
    InstrumentTerms.objects.create(
        instrument=desk.btc, valid_from="2018-04-05T00:00Z", tick=Decimal("0.5"), lot=Decimal("0.001")
    )
    assert ">6,771.9<" in rendering.order_html(order_message(desk))


@pytest.mark.parametrize(
    ("owner", "words"),
    [("mean_reversion-3f9c", "mean reversion"), ("manual", "manual"), ("a-b-12", "a b")],
)
def test_owner_is_said_in_words(owner, words):
    assert rows.owner_words(owner) == words
