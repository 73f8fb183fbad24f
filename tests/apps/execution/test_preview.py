"""A preview asks the checks with what the rows know: what is held, what rests, the last minute, the market's price."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D

import numpy as np
import pytest

from apps.execution.models import Order
from apps.execution.services import manual_order_preview
from apps.market.models import InstrumentTerms
from apps.market.selectors import BAR_DTYPE
from apps.market.storage.writer import bars_write
from apps.portfolio.models import EquitySnapshot, Position
from apps.risk.services import limit_set
from tests.apps.market.conftest import hot_bars_emptied
from tests.apps.portfolio.conftest import account, epoch, linear, spot, venue

__all__ = ["account", "epoch", "hot_bars_emptied", "linear", "spot", "venue"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hot_bars_emptied")]
NOW = datetime(2026, 3, 1, 22, tzinfo=UTC)
MINUTE_NS = 60_000_000_000


@pytest.fixture(autouse=True)
def book(account, epoch, spot, linear) -> None:
    """10,000 of equity; 10 contracts at 200 and 5 coins at 100 are held; the last closes are those prices."""
    opened = int(NOW.timestamp()) * 1_000_000_000 - MINUTE_NS
    bars = np.zeros(4, BAR_DTYPE)
    for index, (one, close, start) in enumerate(
        ((spot, 90.0, opened - MINUTE_NS), (spot, 100.0, opened), (linear, 190.0, opened - MINUTE_NS),
         (linear, 200.0, opened))
    ):  # fmt: skip
        bars[index] = (one.pk, start, close, close, close, close, 1.0, close, 1, 0, 0, start + MINUTE_NS)
    bars_write(epoch_id=epoch.pk, timeframe_s=60, bars=bars)
    for one in (spot, linear):
        InstrumentTerms.objects.create(
            instrument=one, valid_from=NOW - timedelta(days=9), tick=D("0.01"), lot=D("0.001"),
            min_quantity=D("0.001"), taker_fee=D("0.001"),
        )  # fmt: skip
    EquitySnapshot.objects.create(account=account, market_at=NOW, wall_at=NOW, equity=D(10_000), gross=1, net=1)
    Position.objects.create(account=account, instrument=spot, owner="manual", quantity=D(5))
    Position.objects.create(account=account, instrument=linear, owner="a-strategy", quantity=D(10))


def order_add(of, one, quantity, seconds_ago, **more) -> None:
    Order.objects.create(
        account=of, instrument=one, quantity=D(quantity), client_id=uuid.uuid4().hex, fence=1,
        market_at=NOW - timedelta(seconds=seconds_ago),
        **{"owner": "manual", "side": "buy", "kind": "limit", "adds_risk": True, "state": "acknowledged", **more},
    )  # fmt: skip


def nearest(of, one, quantity, price, *, bid=99.9, ask=100.1):
    found = manual_order_preview(of, one, "buy", "limit", quantity, price, bid=bid, ask=ask)
    return found.nearest_limit, pytest.approx(found.nearest_used), found.refused_by


def test_the_collar_is_asked_against_the_market_and_not_the_orders_own_price(account, spot) -> None:
    limit_set(check_name="price_collar", value="0.1", by="ann", account=account)
    assert nearest(account, spot, "1", "95") == ("price_collar", 0.5, "")
    assert nearest(account, spot, "1", "80") == ("price_collar", 2.0, "price_collar")
    # without a quote the last close is the market
    assert nearest(account, spot, "1", "96", bid=None, ask=None) == ("price_collar", 0.4, "")


def test_what_rests_and_what_is_held_elsewhere_count_by_their_own_marks(account, spot, linear) -> None:
    limit_set(check_name="position_notional", value="2000", by="ann", account=account)
    assert nearest(account, spot, "5", "100") == ("position_notional", 0.5, "")
    order_add(account, spot, "8", 500, filled=D(3))
    order_add(account, spot, "7", 500, side="sell")
    order_add(account, spot, "7", 500, state="cancelled")
    order_add(account, linear, "4", 500, owner="a-strategy")
    assert nearest(account, spot, "5", "100") == ("position_notional", 0.75, "")
    # 5 x 100 and 10 x 200 are held, 5 + 7 at 100 and 4 at 200 rest, 5 x 100 is asked for
    limit_set(check_name="gross_exposure", value="0.5", by="ann", account=account)
    assert nearest(account, spot, "5", "100") == ("gross_exposure", 1.0, "")
    limit_set(check_name="leverage", value="0.4", by="ann", account=account)
    assert nearest(account, spot, "1", "100") == ("gross_exposure", 0.92, "")
    limit_set(check_name="leverage", value="0.2", by="ann", account=account)
    assert nearest(account, spot, "1", "100") == ("leverage", 1.0, "")


def test_orders_of_the_markets_last_minute_are_counted(account, spot) -> None:
    limit_set(check_name="orders_per_minute", value=4, by="ann", account=account)
    limit_set(check_name="orders_per_minute", value=3, by="ann", account=account, deployment_key="manual")
    order_add(account, spot, "1", 30, owner="a-strategy", state="filled")
    order_add(account, spot, "1", 20, state="rejected")
    order_add(account, spot, "1", 10, state="filled", adds_risk=False)
    order_add(account, spot, "1", 90, state="filled")
    assert nearest(account, spot, "1", "100") == ("orders_per_minute", 0.75, "")
    order_add(account, spot, "1", 10, state="cancelled")
    order_add(account, spot, "1", 10, state="cancelled")
    assert nearest(account, spot, "1", "100")[2] == "orders_per_minute"


def test_an_order_that_would_only_close_adds_no_risk_unless_what_rests_closes_it_already(account, linear) -> None:
    limit_set(check_name="order_notional", value="1", by="ann", account=account)
    sell = ("sell", "limit", "10", "200")
    assert manual_order_preview(account, linear, *sell).refused_by == ""
    order_add(account, linear, "4", 500, side="sell", adds_risk=False, reduce_only=True)
    assert manual_order_preview(account, linear, *sell).refused_by == ""
    order_add(account, linear, "4", 500, side="sell", adds_risk=False)
    assert manual_order_preview(account, linear, *sell).refused_by == "order_notional"
