"""Every address: refused to the unknown, answered to the known, under a strict policy, with few queries."""

import json
import re
from collections.abc import Iterator

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from apps.market.models import Universe
from tests.apps.dashboard.conftest import instrument_add

OPEN = {"users:sign-in", "users:link", "monitoring:healthz", "monitoring:readyz"}  # the ways in, and "is it up"
COOKIE_ONLY = {"dashboard:kill-engage", "dashboard:kill-banner"}  # they ask the signed cookie, not the session
PAGES = [
    "/", "/market/bybit-sim/btc-usdt/", "/scanner/", "/models/", "/strategies/", "/backtests/", "/risk/", "/data/",
    "/annotate/", "/operations/", "/you/",
]  # fmt: skip


def addresses(patterns=None, prefix="", namespace="") -> Iterator[tuple[str, str]]:
    """Yield (name, an address) of every route of the site, with arguments filled in."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + re.sub(r"\(\?P<\w+>.*?\)$|[\^$]|\\Z", "x", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from addresses(pattern.url_patterns, route, inner)
        elif isinstance(pattern, URLPattern):
            yield f"{namespace}{pattern.name}", "/" + filled(route)


def filled(route: str) -> str:
    route = re.sub(r"<int:\w+>", "1", route)
    route = re.sub(r"<uuid:\w+>", "6a0e0c36-35f5-4a3b-9d2c-3a3f5b1f3f10", route)
    return re.sub(r"<[\w:]+>", "x", route)


def test_walk_finds_every_part_of_the_site():
    names = {name.split(":")[0] for name, _ in addresses()}
    expected = {"users", "dashboard", "strategies", "risk", "market", "scanners", "learning", "backtesting"}
    assert expected | {"annotations", "monitoring", "admin"} <= names


@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_unknown_gets_any_page(client, db, method):
    walked = 0
    for name, address in addresses():
        if name in OPEN or address == "/admin/login/":
            continue
        answer = getattr(client, method)(address)
        walked += 1
        if name in COOKIE_ONLY or name.startswith("api:"):
            assert answer.status_code in (401, 405), f"{method} {address} answers {answer.status_code}"
        elif address.endswith(".json"):
            assert answer.status_code == 401, f"{method} {address} answers {answer.status_code}"
        else:
            assert answer.status_code == 302, f"{method} {address} answers {answer.status_code}"
            assert "/sign-in/" in answer.url or "/admin/login/" in answer.url
    assert walked > 60


def test_fragments_send_the_unknown_to_the_sign_in_page(client, db):
    answer = client.get("/reconciliation/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Redirect"]) == (401, "/sign-in/")


def test_healthz_answers_everyone_without_the_database(client):
    assert client.get("/healthz").content == b"ok\n"  # no `db` mark: a query would fail the test


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_page_is_drawn_with_its_place_in_the_rail(desk, as_role, page, role):
    answer = as_role(role).get(page)
    html = answer.content.decode()
    assert answer.status_code == 200
    assert 'data-kill="all"' in html
    assert page == "/you/" or html.count('aria-current="page"') == 1
    assert "reconnecting" not in html


@pytest.mark.parametrize("page", PAGES)
def test_page_is_drawn_when_there_is_nothing_yet(kill_clear, as_role, page):
    answer = as_role("trader").get(page, follow=True)
    assert answer.status_code in ((404,) if "bybit-sim" in page else (200,))


@pytest.mark.parametrize("page", [*PAGES, "/sign-in/"])
def test_page_holds_to_its_policy(desk, as_role, page):
    answer = as_role("trader").get(page, follow=True)
    policy = answer["Content-Security-Policy"]
    assert "script-src 'self';" in policy + ";"
    assert "unsafe" not in policy
    html = answer.content.decode()
    assert not re.search(r"<script(?![^>]*(src=|application/json))", html)
    assert not re.search(r"""\s(style|onclick|onload)=["']""", html)
    assert not re.search(r"""(src|href)=["']https?://(?!www\.tradingview\.com)""", html)


def test_admin_alone_has_a_looser_policy(desk, as_role):
    assert "'unsafe-eval'" in as_role("admin").get("/admin/")["Content-Security-Policy"]


@pytest.mark.parametrize(("page", "most"), [("/", 22), ("/market/bybit-sim/btc-usdt/", 16), ("/risk/", 10),
                                            ("/strategies/", 10), ("/data/", 12), ("/operations/", 10)])  # fmt: skip
def test_page_asks_the_database_a_fixed_number_of_times(desk, as_role, django_assert_max_num_queries, page, most):
    client = as_role("viewer")
    client.get(page)
    with django_assert_max_num_queries(most):
        client.get(page)


def test_more_rows_cost_no_more_queries(desk, as_role, django_assert_num_queries, django_assert_max_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from tests.apps.dashboard.conftest import order_add, signal_add

    client = as_role("viewer")
    client.get("/")
    with CaptureQueriesContext(connection) as few:
        client.get("/")
    for minute in range(20):
        signal_add(desk, desk.btc, "done", minute + 10)
        order_add(desk, desk.eth, "limit", price=300)
    with django_assert_num_queries(len(few)):
        client.get("/")


def test_desk_shows_what_the_tables_hold(desk, as_role):
    html = as_role("trader").get("/").content.decode()
    for text in ("101,420.00", "1.42", "37\u202f%", "max position 4,000 of 4,000 USDT", "6,702.00", "SIMULATED",
                 "ours = venue", "long 0.72"):  # fmt: skip
        assert text in html, text
    page = json.loads(re.search(r'id="page-live" type="application/json">(.*?)</script>', html)[1])
    assert page["account"] == desk.account.pk
    assert set(page["since"]) == {"signals", "orders", "fills", "positions", "refusals", "universes"}
    assert [entry["symbol"] for entry in page["instruments"]] == ["BTC/USDT", "ETH/USDT"]


def test_real_money_is_unmistakable(desk, as_role):
    desk.account.is_live = True
    desk.account.save()
    assert 'class="mode live" id="mode">LIVE<' in as_role("viewer").get("/").content.decode()


def test_viewer_sees_no_order_form_and_a_trader_does(desk, as_role):
    assert 'id="new-order"' not in as_role("viewer").get("/").content.decode()
    assert 'id="new-order"' in as_role("trader").get("/").content.decode()


def test_market_index_goes_to_the_busiest_collected_instrument(desk, as_role):
    assert as_role("viewer").get("/market/").url == "/market/bybit-sim/btc-usdt/"
    desk.eth.turnover_24h = 5
    desk.eth.save()
    assert as_role("viewer").get("/market/").url == "/market/bybit-sim/eth-usdt/"


def test_market_page_of_an_unknown_instrument_is_not_found(desk, as_role):
    assert as_role("viewer").get("/market/bybit-sim/doge-usdt/").status_code == 404


def test_bars_refuse_an_unknown_timeframe(desk, as_role):
    answer = as_role("viewer").get("/market/bybit-sim/btc-usdt/bars.json?tf=7")
    assert (answer.status_code, answer.json()["error"]) == (400, "There is no timeframe of 7 s.")


def test_bars_of_an_instrument_without_any_are_empty(desk, as_role):
    assert as_role("viewer").get("/market/bybit-sim/btc-usdt/bars.json").json() == {
        "tf": 60, "bars": [], "minutes": [], "fills": [],
    }  # fmt: skip


def test_search_finds_by_part_of_the_symbol(desk, as_role):
    client = as_role("viewer")
    assert "/market/bybit-sim/eth-usdt/" in client.get("/instruments/?q=eth").content.decode()
    assert "No instrument is called" in client.get("/instruments/?q=doge").content.decode()


def test_why_names_the_first_check_that_said_no_and_pales_those_after(desk, as_role):
    client = as_role("viewer")
    for address in (f"/why/signal/{desk.refused.pk}/", f"/why/refusal/{desk.refusal.pk}/"):
        html = client.get(address).content.decode()
        assert "Why not?" in html
        assert "4,000 of 4,000: refused" in html
        assert html.count('class="stop"') == 1
        assert html.index('class="stop"') < html.index('class="not-asked"')
        assert "zscore_20" in html
        assert "_bits" not in html


def test_why_of_an_accepted_signal_shows_its_order(desk, as_role):
    desk.order.decision_id = desk.signal.decision_id
    desk.order.save()
    html = as_role("viewer").get(f"/why/signal/{desk.signal.pk}/").content.decode()
    assert "below band: wants long 0.72" in html
    assert "partly filled" in html


def test_why_of_a_persons_order_says_that_a_person_asked(desk, as_role):
    desk.refusal.decision_id = None
    desk.refusal.owner = "manual"
    desk.refusal.save()
    assert "asked for by a person" in as_role("viewer").get(f"/why/refusal/{desk.refusal.pk}/").content.decode()


def test_differences_with_the_venue_are_shown_with_what_was_done(desk, as_role):
    from apps.execution.models import Reconciliation

    difference = {"what": "position BTC/USDT", "ours": "0.412", "venue": "0.400", "done": "adjusted"}
    Reconciliation.objects.create(account=desk.account, took_ms=9, differences=[difference])
    html = as_role("viewer").get("/reconciliation/").content.decode()
    for text in ("1 difference,", "0.412", "0.400", "adjusted"):
        assert text in html


def test_picker_is_told_what_is_collected_now_and_keeps_what_is_held(desk, as_role):
    client = as_role("viewer")
    asked = "/desk/instruments.json"
    assert [found["symbol"] for found in client.get(asked).json()["instruments"]] == ["BTC/USDT", "ETH/USDT"]
    universe = Universe.objects.get(name="desk")
    universe.members.set([desk.eth])
    found = client.get(asked).json()["instruments"]
    assert [entry["symbol"] for entry in found] == ["ETH/USDT", "BTC/USDT"]  # a position is held in it
    assert found[0]["url"] == "/market/bybit-sim/eth-usdt/"


def test_picker_is_told_of_an_instrument_that_no_label_knows_yet(desk, as_role):
    client = as_role("viewer")
    client.get("/")
    Universe.objects.get(name="desk").members.add(instrument_add(desk.venue, "SOL"))
    assert "SOL/USDT" in [found["symbol"] for found in client.get("/desk/instruments.json").json()["instruments"]]


def test_prices_of_the_data_page_have_the_decimals_of_the_tick(desk, as_role):
    html = as_role("viewer").get("/data/").content.decode()
    assert f'data-quote="{desk.btc.pk}" data-decimals="2"' in html
