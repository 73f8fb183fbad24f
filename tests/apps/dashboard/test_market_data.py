"""The Market page begins with stored prints and marks minutes that the venue tells otherwise; Data names the held."""

import json
import re
from decimal import Decimal

import numpy as np
import pytest
from django.db import connection

from apps.common.models import Job
from apps.execution.models import Order
from apps.market.models import Universe
from apps.market.storage.rows import BAR_DTYPE, DIFFERED, REVISED
from apps.market.storage.tables import PRINTS, partitions_sql, prints_partition_of
from apps.market.storage.writer import bars_write
from apps.portfolio.models import Position
from tests.apps.dashboard.conftest import NOW

pytestmark = pytest.mark.django_db
MINUTE_NS = 60_000_000_000
NS = int(NOW.timestamp()) * 10**9
PAGE = "/market/bybit-sim/btc-usdt/"


def _prints_shown(html: str) -> list:
    found = re.search(r'<script id="page-live" type="application/json">(.*?)</script>', html)
    return json.loads(found.group(1))["prints"]


def _prints_add(desk, count: int) -> None:
    """Store prints inside the test's own transaction, so that none outlives it."""
    rows = [(desk.epoch.pk, desk.btc.pk, NS + n, f"t{n}", Decimal(6700 + n), Decimal("0.25"), 1) for n in range(count)]
    with connection.cursor() as cursor:
        cursor.execute(partitions_sql([prints_partition_of(NS)]))
        cursor.executemany(
            f"INSERT INTO {PRINTS} (epoch_id, instrument_id, market_ns, trade_id, price, size, side)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            rows,
        )


def test_market_page_comes_with_the_newest_stored_prints_newest_first(desk, as_role):
    _prints_add(desk, 40)
    shown = _prints_shown(as_role("viewer").get(PAGE).content.decode())
    assert len(shown) == 30
    assert shown[0] == [NS + 39, 6739.0, 0.25, 1]
    assert shown[-1][0] == NS + 10


def test_market_page_without_prints_comes_with_none(desk, as_role):
    assert _prints_shown(as_role("viewer").get(PAGE).content.decode()) == []


def test_minute_that_the_venue_tells_otherwise_is_marked(desk, as_role):
    bars = np.zeros(3, BAR_DTYPE)
    bars["instrument_id"] = desk.btc.pk
    bars["open_ns"] = NS // MINUTE_NS * MINUTE_NS + np.arange(3) * MINUTE_NS
    for name in ("open", "high", "low", "close", "volume"):
        bars[name] = 6700
    bars["flags"][1] = DIFFERED | REVISED
    bars_write(epoch_id=desk.epoch.pk, timeframe_s=60, bars=bars)
    client = as_role("viewer")
    html = client.get(f"{PAGE}quality/").content.decode()
    assert "2 min good" in html
    assert "1 not as our prints" in html
    assert html.count('class="differs"') == 1
    assert [bar[6] & DIFFERED for bar in client.get(f"{PAGE}bars.json?tf=60").json()["bars"]] == [0, DIFFERED, 0]


def test_data_page_marks_what_is_collected_only_because_it_is_held(desk, as_role):
    client = as_role("viewer")
    assert ">held<" not in client.get("/data/").content.decode()
    Universe.objects.get().members.set([desk.eth])
    html = client.get("/data/").content.decode()
    assert html.count(">held<") == 1
    assert re.search(r"BTC/USDT</b></a> <span[^>]*>held<", html)
    Position.objects.update(quantity=0)
    assert ">held<" in client.get("/data/").content.decode()  # an order is open for it
    Order.objects.update(state="cancelled")
    assert "BTC/USDT</b></a>" not in client.get("/data/").content.decode()


def test_admin_menu_leads_to_the_jobs(desk, as_role):
    Job.objects.create(kind="market.backfill", title="Back-fill bybit-sim", by="ann")
    client = as_role("admin")
    assert 'href="/admin/common/job/"' in client.get("/admin/").content.decode()
    assert "Back-fill bybit-sim" in client.get("/admin/common/job/").content.decode()
