"""What can be read: every list in pages, money as text, times in UTC, and the number of queries each takes."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.execution.models import Order
from apps.execution.services import manual_order_submit
from tests.apps.api.conftest import order_add
from tests.apps.dashboard.conftest import NOW

LISTS = [
    "/instruments", "/accounts", "/positions", "/signals", "/decisions", "/deployments", "/orders", "/fills",
    "/limits", "/refusals",
]  # fmt: skip
QUERIES = dict.fromkeys(LISTS, 2) | {
    # who asks, and the rows
    "/token": 1,
    "/equity": 2,
    "/bars": 2,  # and the bars by the driver's own cursor
    "/status": 2,
    "/kill": 1,  # its records have connections of their own
}
PLAIN = re.compile(r"^-?\d+(\.\d+)?$")
UTC = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def asked_for(desk, path: str) -> dict[str, object]:
    return {"/equity": {"account": desk.account.pk}, "/bars": {"instrument": desk.btc.pk}}.get(path, {})


@pytest.mark.parametrize(("path", "queries"), QUERIES.items())
def test_each_read_takes_its_number_of_queries_however_many_rows(desk, program, path, queries):
    reader = program("viewer")
    reader.get("/token")  # notes that the token is in use, every five minutes
    for _ in range(5):
        order_add(desk, desk.btc, "limit")
    with CaptureQueriesContext(
        connection,
    ) as asked:
        answer = reader.get(path, **asked_for(desk, path))
    assert answer.status == 200, answer.json
    assert len(asked) == queries, [query["sql"] for query in asked]


def test_an_order_is_told_whole(desk, program):
    found = program("viewer").get(f"/orders/{desk.order.pk}").json
    assert found["client_id"] == desk.order.client_id
    assert (found["symbol"], found["side"], found["kind"], found["state"]) == (
        "BTC/USDT", "buy", "limit", "partly_filled",
    )  # fmt: skip
    assert (found["quantity"], found["price"], found["filled"]) == ("0.5", "6771.9", "0.412")
    assert found["trigger_price"] is None
    assert found["market_at"] == "2018-04-04T14:32:11.000000Z"


@pytest.mark.parametrize("path", [*LISTS, "/equity"])
def test_money_is_text_and_every_time_is_utc(desk, program, path):
    items = program("viewer").get(path, **asked_for(desk, path)).json["items"]
    assert items
    money = {"quantity", "price", "fee", "equity", "value", "number", "limit", "tick", "realised", "average_price"}
    for item in items:
        for name, value in item.items():
            if name in money and value is not None:
                assert isinstance(value, str), name
                assert PLAIN.match(value), name
            if name.endswith("_at") and value is not None:
                assert UTC.match(value), name


def test_pages_by_cursor_have_every_row_once_though_new_ones_come_between(desk, program):
    made = {order_add(desk, desk.btc, "limit").pk for _ in range(7)} | {desk.order.pk, desk.stop.pk}
    reader, seen, cursor = program("viewer"), [], None
    while True:
        page = reader.get("/orders", limit=2, **({"cursor": cursor} if cursor else {})).json
        seen += [item["id"] for item in page["items"]]
        order_add(desk, desk.btc, "limit")  # newer: behind us
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(made, reverse=True)


@pytest.mark.parametrize("path", LISTS)
def test_pages_of_one_row_lead_through_every_list(desk, program, path):
    reader = program("viewer")
    whole = reader.get(path, limit=500).json
    assert whole["next"] is None
    found, cursor = [], None
    for _ in range(len(whole["items"])):
        page = reader.get(path, limit=1, **({"cursor": cursor} if cursor else {})).json
        found += page["items"]
        cursor = page["next"]
    assert cursor is None
    assert found == whole["items"]


@pytest.mark.parametrize("cursor", ["x", "bm8", "WzFd", "W251bGxd", "WyJcdTAwMDAiXQ", "é", "W10", "WyIyMDE4IiwiMSJd"])
def test_a_cursor_that_is_none_is_refused_with_the_fix(desk, program, cursor):
    answer = program("viewer").get("/signals", cursor=cursor)
    assert answer.status == 422
    assert answer.json["field"] == "cursor"
    assert "`next`" in answer.json["fix"]


@pytest.mark.parametrize(
    ("path", "query", "count"),
    [
        ("/orders", {"open": "true"}, 2),
        ("/orders", {"open": "false"}, 0),
        ("/orders", {"state": "partly_filled"}, 1),
        ("/orders", {"owner": "manual"}, 0),
        ("/signals", {"state": "refused"}, 1),
        ("/signals", {"deployment": "mean_reversion-3f9c"}, 2),
        ("/decisions", {"outcome": "signal"}, 2),
        ("/decisions", {"outcome": "hold"}, 0),
        ("/fills", {"since": "2018-04-04T14:32:11Z"}, 1),
        ("/fills", {"since": "2018-04-04T16:32:12+02:00"}, 0),
        ("/fills", {"until": "2018-04-04T14:32:11Z"}, 0),
        ("/refusals", {"check": "position_notional"}, 1),
        ("/limits", {"check": "daily_loss"}, 1),
        ("/instruments", {"symbol": "BTC/USDT"}, 1),
        ("/instruments", {"listed": "false"}, 0),
        ("/accounts", {"current": "true", "venue": "bybit-sim"}, 1),
        ("/positions", {"owner": "manual"}, 0),
    ],
)
def test_filters_choose(desk, program, path, query, count):
    assert len(program("viewer").get(path, **query).json["items"]) == count


def test_refusal_tells_check_number_limit_and_what_was_not_asked(desk, program):
    (item,) = program("viewer").get("/refusals").json["items"]
    assert (item["check"], item["number"], item["limit"]) == ("position_notional", "4000", "4000")
    assert [check["verdict"] for check in item["checks"]] == ["ok", "refused", "not_asked"]


def test_decision_tells_what_it_saw(desk, program):
    found = program("viewer").get(f"/decisions/{desk.signal.decision_id}").json
    assert found["features"]["zscore_20"] == -2.31
    assert found["features"]["_bits"] == {"zscore_20": "-0x1.2p+1"}


def test_instrument_tells_its_newest_terms(desk, program):
    found = program("viewer").get(f"/instruments/{desk.btc.pk}").json
    assert (found["tick"], found["lot"], found["min_notional"]) == ("0.01", "0.0001", "5")


def test_account_tells_its_newest_equity(desk, program):
    (item,) = program("viewer").get("/accounts").json["items"]
    assert (item["equity"], item["market_at"], item["is_current"]) == ("101420", "2018-04-04T14:32:11.000000Z", True)


def test_equity_of_a_span(desk, program):
    reader = program("viewer")
    query = {"account": desk.account.pk, "since": (NOW - timedelta(hours=1)).isoformat()}
    assert [item["equity"] for item in reader.get("/equity", **query).json["items"]] == ["101420"]
    assert reader.get("/equity").json["field"] == "account"


@pytest.mark.parametrize(
    "path", ["/orders/999", "/signals/999", "/instruments/999", "/commands/999", "/decisions/" + "0" * 32]
)
def test_what_is_not_there_is_a_problem_that_names_the_field(desk, program, path):
    answer = program("viewer").get(path)
    assert (answer.status, answer.json["field"]) == (404, path.split("/")[1].removesuffix("s") + "_id")


def test_status_tells_what_runs(desk, program):
    found = program("viewer").get("/status").json
    assert found["running"] is False
    assert found["kill"] == {"all": "clear"}
    assert found["versions"]["django"]


def test_command_tells_what_became_of_it(desk, program):
    made = manual_order_submit(desk.account, desk.btc, "buy", "market", "0.5", nonce="n" * 32, by="ann")
    found = program("viewer").get(f"/commands/{made.pk}").json
    assert (found["kind"], found["state"], found["by"], found["done_at"]) == ("order", "new", "ann", None)
    assert Order.objects.count() == 2
