"""Chips, figures, snapshots and bars: what a page says of the newest states and of what is stored."""

import json
from datetime import timedelta

import numpy as np
import pytest

from apps.common.hub import hub_topic
from apps.common.hub.frames import snapshot_frame
from apps.common.outbox import outbox_add
from apps.dashboard import chips, figures, selectors, why
from apps.dashboard.formatting import ns_of
from apps.dashboard.states import bus, states_last
from apps.execution.events import AccountState, DeskHealth
from apps.market.events import FeedHealth, MarketClock
from apps.market.selectors import BAR_DTYPE
from apps.market.storage.writer import bars_write
from apps.portfolio.models import EquitySnapshot
from apps.strategies.events import SIGNALS, SignalChanged
from apps.strategies.models import Decision
from tests.apps.dashboard.conftest import NOW

NS = ns_of(NOW)


def feed(state: str = "ready", stale: list[int] | None = None) -> dict:
    return {"state": state, "stale": stale or [], "live": 20 - len(stale or []), "total": 20, "lag_ms": 14.2}


@pytest.mark.parametrize(
    ("health", "clock", "shape", "text"),
    [
        ([None], None, "unknown", "no word yet"),
        ([feed()], None, "good", "20 live · 14 ms"),
        ([feed("paused")], None, "good", "20 live · 14 ms"),
        ([feed(stale=[3])], None, "late", "19 of 20 live"),
        ([feed("down")], None, "halt", "down"),
        ([feed("starting"), feed()], None, "late", "starting"),
        ([feed()], {"ended": True}, "idle", "replay ended"),
    ],
)
def test_feed_chip_lets_the_worst_feed_speak(health, clock, shape, text):
    chip = chips.feed_chip(health, clock)
    assert (chip.shape, chip.text) == (shape, text)


@pytest.mark.parametrize(
    ("health", "shape", "text"),
    [
        (None, "unknown", "no word yet"),
        ({"state": "trading", "decision_to_wire_ms": 3.14}, "good", "trading · 3.1 ms"),
        ({"state": "trading", "decision_to_wire_ms": None}, "good", "trading"),
        ({"state": "killed", "decision_to_wire_ms": 3.1}, "halt", "killed"),
        ({"state": "reconciling", "decision_to_wire_ms": None}, "late", "reconciling"),
    ],
)
def test_desk_chip_tells_its_state_and_its_speed(health, shape, text):
    chip = chips.desk_chip(health)
    assert (chip.shape, chip.text) == (shape, text)


ACCOUNT = {
    "equity": 100_000.0, "gross": 38_000.0, "net": -12_000.0, "day_start_equity": 102_000.0, "orders_minute": 6,
    "unrealised": 12.5, "realised_today": -3.0,
    "limits": {"gross_exposure": 0.5, "net_exposure": 0.5, "daily_loss": 0.05, "orders_per_minute": 60.0},
}  # fmt: skip


def test_limits_are_told_as_shares_of_themselves():
    shares = chips.limit_shares(ACCOUNT)
    assert shares == pytest.approx(
        {"gross_exposure": 0.76, "net_exposure": 0.24, "daily_loss": 0.392156862, "orders_per_minute": 0.1}
    )
    assert chips.limit_shares(None) == {}


@pytest.mark.parametrize(
    ("more", "shape", "text"),
    [
        ({}, "late", "76\u202f% used"),
        ({"engaged": True}, "halt", "stopped"),
        ({"halted": True}, "halt", "halted"),
        ({"unclear": True}, "halt", "no new risk"),
    ],
)
def test_risk_chip_tells_the_nearest_limit_or_what_stands_still(more, shape, text):
    chip = chips.risk_chip(ACCOUNT, **{"engaged": False, "unclear": False, "halted": False, **more})
    assert (chip.shape, chip.text) == (shape, text)


def test_figures_say_loss_against_its_limit_and_net_with_its_sign():
    shown = figures.figures(ACCOUNT)
    assert shown["day"] == "▼ 1.96\u202f% today"
    assert (shown["loss"], shown["loss_limit"]) == ("2.0\u202f%", "of 5\u202f% allowed")
    assert (shown["net"], shown["orders_limit"]) == ("−12\u202f%", "a minute, of 60")
    assert figures.figures(None)["day"] == "waiting for the desk"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"margin": 12_345.0}, "margin 12.3\u202f% of equity"),
        ({"margin": 0.0}, "no margin used"),
        ({"margin": None}, "margin unknown"),
        ({"margin": 10.0, "equity": 0.0}, "margin unknown"),
    ],
)
def test_margin_is_a_share_of_equity_none_for_spot_and_unknown_is_not_zero(state, words):
    assert figures.figures({**ACCOUNT, **state})["margin"] == words
    assert figures.figures(None)["margin"] == "margin –"


def test_curve_fills_its_box_and_a_single_point_is_none():
    assert figures.sparkline([(None, 1), (None, 3), (None, 2)])["points"] == "0.00,12.00 50.00,0.00 100.00,6.00"
    assert figures.sparkline([(None, 1)])["points"] == ""
    assert figures.sparkline([(None, 1), (None, 1)])["points"] == "0.00,6.00 100.00,6.00"


def test_strip_is_drawn_from_the_newest_states(desk, as_role):
    key = desk.account.pk
    bus().publish_many(
        [
            ("health.feed.bybit-sim", FeedHealth("bybit-sim", "ready", 2, 2, [], False, NS, NS, 14.0, 1.0, "")),
            ("clock.bybit-sim", MarketClock(NS, NS, "replay", 60.0, True, False)),
            (f"health.desk.{key}", DeskHealth(key, "trading", "", 0.0, NS, 3.1, NS, NS)),
            (f"account.{key}", AccountState(
                key, 104_212.37, 60_000.0, 1272.1, 186.4, 12.0, 0.0, 39_600.0, 12_500.0, 0.018, 6, 102_753.1, NS,
                {"gross_exposure": 0.75}, 13_026.55)),
        ]
    )  # fmt: skip
    html = as_role("viewer").get("/").content.decode()
    for text in (
        "2 live · 14 ms",
        "trading · 3.1 ms",
        "2018-04-04 14:32:11 UTC · replay 60×",
        "104,212.37",
        "+186.40",
        "margin 12.5\u202f% of equity",
    ):
        assert text in html, text


@pytest.mark.parametrize(
    ("margin", "words"), [(0, "no margin used"), (None, "margin unknown"), (10_142, "margin 10.0")]
)
def test_a_page_without_a_live_desk_tells_the_margin_of_the_last_snapshot(desk, as_role, margin, words):
    EquitySnapshot.objects.update(margin=margin)
    html = as_role("viewer").get("/").content.decode()
    assert f">{words}" in html.partition('data-figure="margin"')[2][:200]


def test_without_the_bus_pages_say_unknown(desk, as_role, settings, monkeypatch):
    from apps.common.bus import SyncBus
    from apps.dashboard import states

    monkeypatch.setattr(states, "_bus", [SyncBus("redis://127.0.0.1:1/0")])
    assert states_last(["clock.bybit-sim"]) == {}


@pytest.mark.parametrize("topic", ["signals", "orders", "fills", "positions", "refusals", "kill", "sweeps"])
def test_snapshot_is_taken_at_its_number_and_rendered_as_the_page_draws_it(desk, as_role, topic):
    from django.db import transaction

    if topic == "signals":
        message = SignalChanged(
            id=1, decision_id="x", account_id=1, instrument_id=desk.btc.pk, symbol="BTC/USDT", deployment="d",
            direction=1, strength=0.5, horizon_s=60, reason="r", state="new", market_ns=NS, wall_ns=NS,
        )  # fmt: skip
        with transaction.atomic():
            outbox_add((SIGNALS, message))
    registered = hub_topic(topic)
    number, values = registered.snapshot_function()(None, topic)
    render = registered.render_function()
    html = "".join(render(value) for value in values) if render else None
    frame = json.loads(snapshot_frame(topic, number, values, html).text)  # every value can be sent
    assert number == (1 if topic == "signals" else 0)
    if topic in ("kill", "sweeps"):
        assert frame["v"] == []
        return
    page = as_role("viewer").get("/").content.decode()
    assert frame["html"]
    for row in frame["html"].split("</tr>")[:1]:
        assert row.strip()[:60] in page


@pytest.fixture
def bars(desk):
    """Store 30 minutes: one empty, one back-filled, two missing."""
    first = NS // 60_000_000_000 - 32
    rows = np.zeros(30, BAR_DTYPE)
    minutes = [minute for minute in range(32) if minute not in (10, 11)]
    for place, minute in enumerate(minutes):
        price = 6700.0 + minute
        rows[place] = (
            desk.btc.pk, (first + minute) * 60_000_000_000, price, price + 2, price - 2, price + 1, 3.0, 20_000.0, 4, 0,
            {5: 1, 6: 2}.get(minute, 0), (first + minute + 1) * 60_000_000_000,
        )  # fmt: skip
    bars_write(epoch_id=desk.epoch.pk, timeframe_s=60, bars=rows)
    return rows


def test_bars_come_oldest_first_with_the_fills_over_them(desk, bars, as_role):
    desk.fill.market_at = NOW - timedelta(minutes=10)
    desk.fill.save()
    answer = as_role("viewer").get("/market/bybit-sim/btc-usdt/bars.json?tf=60").json()
    assert [bar[0] for bar in answer["bars"]] == [int(row["open_ns"]) // 10**9 for row in bars]
    assert answer["bars"][0][1:6] == [6700.0, 6702.0, 6698.0, 6701.0, 3.0]
    assert [(fill["side"], fill["price"]) for fill in answer["fills"]] == [("buy", 6771.9)]


def test_older_bars_come_without_fills(desk, bars, as_role):
    before = int(bars[10]["open_ns"]) // 10**9
    answer = as_role("viewer").get(f"/market/bybit-sim/btc-usdt/bars.json?tf=60&before={before}&limit=4").json()
    assert [bar[0] for bar in answer["bars"]] == [int(row["open_ns"]) // 10**9 for row in bars[6:10]]
    assert answer["fills"] == []


def test_candle_in_the_making_comes_as_its_minutes(desk, bars, as_role):
    answer = as_role("viewer").get("/market/bybit-sim/btc-usdt/bars.json?tf=3600").json()
    assert answer["bars"] == []
    assert [minute[0] for minute in answer["minutes"]] == [int(row["open_ns"]) // 10**9 for row in bars]


def test_quality_strip_tells_missing_empty_and_back_filled_minutes(desk, bars, as_role):
    html = as_role("viewer").get("/market/bybit-sim/btc-usdt/quality/").content.decode()
    assert "28 min good" in html
    assert "1 back-filled" in html
    assert "1 without prints" in html
    assert "30 missing" in html  # two in the middle, and what lies before the first


@pytest.mark.parametrize(
    ("outcome", "reason", "verdict", "text"),
    [
        ("late", "", "refused", "the bar came late"),
        ("blocked", "features_incomplete", "refused", "features incomplete"),
        ("hold", "inside_band", "ok", "inside band: nothing to do"),
    ],
)
def test_why_of_a_decision_without_a_signal(desk, as_role, outcome, reason, verdict, text):
    decision = desk.signal.decision
    desk.signal.delete()
    Decision.objects.filter(pk=decision.pk).update(outcome=outcome, reason=reason)
    context = why.why_decision(selectors.decisions().get(pk=decision.pk))
    assert context["checks"][-1].verdict == verdict
    assert text in context["checks"][-1].text
    assert text in as_role("viewer").get("/market/bybit-sim/btc-usdt/why/").content.decode()


def test_why_of_an_expired_signal_names_the_time(desk, as_role):
    desk.signal.state, desk.signal.detail = "expired", "no fill within 60 s"
    desk.signal.save()
    html = as_role("viewer").get(f"/why/signal/{desk.signal.pk}/").content.decode()
    assert "no fill within 60 s" in html
    assert 'class="stop"' in html


def test_counts_of_today_follow_the_market_clock(desk, as_role):
    assert as_role("viewer").get("/desk/counts.json").json() == {}
    day = selectors.day_of(NOW)
    assert selectors.counts_of(desk.account, day) == {"fills_today": 1, "refusals_today": 1}
    assert selectors.counts_of(desk.account, day + timedelta(days=1)) == {"fills_today": 0, "refusals_today": 0}
