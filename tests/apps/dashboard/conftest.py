"""A desk's rows as its parts write them, people of each role, and a kill switch that is clear."""

import asyncio
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import psycopg
import pytest

from apps.dashboard.labels import labels
from apps.dashboard.states import bus
from apps.execution.models import Fill, Order, Reconciliation
from apps.market.models import Epoch, Instrument, InstrumentTerms, Universe, Venue
from apps.portfolio.models import Account, EquitySnapshot, Position
from apps.risk.killswitch.database import database_conninfo
from apps.risk.killswitch.overview import kept_forget
from apps.risk.killswitch.switch import first_up
from apps.risk.models import Limit, Refusal
from apps.strategies.models import Decision, Deployment, Signal
from tests.apps.users.conftest import PASSWORD, people  # noqa: F401
from trader.config import config

BACKEND = "django.contrib.auth.backends.ModelBackend"
NOW = datetime(2018, 4, 4, 14, 32, 11, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fresh():
    """Forget what earlier tests left in memory and on the bus."""
    labels.forget()
    bus().redis.flushdb()
    yield
    labels.forget()


@pytest.fixture
def kill_clear(db) -> None:
    """Make all three records of the kill switch new, and clear. The database's has a connection of its own."""
    shutil.rmtree(config.runtime.state_dir / "kill", ignore_errors=True)
    bus().redis.flushdb()
    with psycopg.connect(database_conninfo(), autocommit=True) as connection:
        connection.execute("DELETE FROM risk_killrecord")
    assert asyncio.run(first_up())
    kept_forget()


@pytest.fixture
def desk(kill_clear) -> SimpleNamespace:
    """One simulated account with two instruments, a position, orders, fills, signals and a refusal."""
    venue = Venue.objects.create(code="bybit-sim", name="Bybit simulated", is_simulated=True)
    epoch = Epoch.objects.create(venue=venue, number=1, kind="replay", is_current=True)
    btc, eth = (instrument_add(venue, base) for base in ("BTC", "ETH"))
    Universe.objects.create(name="desk", venue=venue).members.set([btc, eth])
    account = Account.objects.create(venue=venue, epoch=epoch, name="Simulated", trading_enabled=True)
    for name, value in (("gross_exposure", "0.5"), ("daily_loss", "0.05"), ("orders_per_minute", "60")):
        Limit.objects.create(check_name=name, account=account, value=Decimal(value))
    deployment = Deployment.objects.create(
        key="mean_reversion-3f9c", strategy="mean_reversion", code_hash="0" * 8, universe_name="desk", account=account
    )
    desk = SimpleNamespace(venue=venue, epoch=epoch, btc=btc, eth=eth, account=account, deployment=deployment)
    desk.signal = signal_add(desk, btc, "ordered", 0)
    desk.refused = signal_add(desk, eth, "refused", 1)
    desk.refusal = Refusal.objects.create(
        account=account,
        instrument=eth,
        owner=deployment.key,
        decision_id=desk.refused.decision_id,
        check_name="position_notional",
        number=4000,
        limit=4000,
        detail="max position 4,000 of 4,000 USDT",
        market_at=NOW,
        checks=[
            {"name": "order_notional", "number": "410", "limit": "5000", "verdict": "ok"},
            {"name": "position_notional", "number": "4000", "limit": "4000", "verdict": "refused"},
            {"name": "orders_per_minute", "number": None, "limit": "60", "verdict": "not_asked"},
        ],
    )
    held = {"quantity": Decimal("0.412"), "average_price": Decimal("6771.9")}
    Position.objects.create(account=account, instrument=btc, owner=deployment.key, **held)
    desk.order = order_add(desk, btc, "limit", price=Decimal("6771.9"), state="partly_filled", filled=Decimal("0.412"))
    protects = {"side": "sell", "reduce_only": True, "adds_risk": False}
    desk.stop = order_add(desk, btc, "stop", trigger_price=Decimal(6702), **protects)
    desk.fill = Fill.objects.create(
        account=account,
        order=desk.order,
        instrument=btc,
        owner=deployment.key,
        venue_fill_id="1",
        venue_order_id="x",
        side="buy",
        quantity=Decimal("0.412"),
        price=Decimal("6771.9"),
        fee=Decimal("0.0004"),
        fee_currency="BTC",
        market_at=NOW,
    )
    EquitySnapshot.objects.create(account=account, market_at=NOW.replace(hour=0), wall_at=NOW, equity=100_000)
    EquitySnapshot.objects.create(account=account, market_at=NOW, wall_at=NOW, equity=101_420, gross=38_000, net=12_000)
    Reconciliation.objects.create(account=account, took_ms=12)
    return desk


def instrument_add(venue: Venue, base: str) -> Instrument:
    """Add a spot instrument of that coin, with its terms."""
    found = Instrument.objects.create(
        venue=venue,
        symbol=f"{base}/USDT",
        slug=f"{base.lower()}-usdt",
        venue_symbol=f"{base}USDT",
        kind="spot",
        base=base,
        quote="USDT",
        settle="USDT",
    )
    InstrumentTerms.objects.create(
        instrument=found,
        valid_from=NOW - timedelta(days=1),
        tick=Decimal("0.01"),
        lot=Decimal("0.0001"),
        min_quantity=Decimal("0.0001"),
        min_notional=Decimal(5),
    )
    return found


def signal_add(desk: SimpleNamespace, instrument: Instrument, state: str, minutes_ago: int) -> Signal:
    """Add a decision and the signal that came of it."""
    at = NOW - timedelta(minutes=minutes_ago)
    decision = Decision.objects.create(
        id=uuid.uuid4(),
        deployment=desk.deployment,
        instrument=instrument,
        bar_open=at,
        market_at=at,
        outcome="signal",
        reason="below_band",
        direction=1,
        strength=0.72,
        features={"zscore_20": -2.31, "rsi_14": None, "_bits": {"zscore_20": "-0x1.2p+1"}},
    )
    return Signal.objects.create(
        decision=decision,
        deployment=desk.deployment,
        instrument=instrument,
        direction=1,
        strength=0.72,
        horizon_s=300,
        reason="below_band",
        state=state,
        detail="z −2.31 below −1.9",
        market_at=at,
    )


def order_add(desk: SimpleNamespace, instrument: Instrument, kind: str, **more: object) -> Order:
    """Add an order of the deployment."""
    values = {
        "client_id": uuid.uuid4().hex,
        "account": desk.account,
        "instrument": instrument,
        "owner": desk.deployment.key,
        "side": "buy",
        "kind": kind,
        "quantity": Decimal("0.5"),
        "adds_risk": True,
        "state": "acknowledged",
        "fence": 1,
        "market_at": NOW,
    }
    return Order.objects.create(**values | more)


@pytest.fixture
def as_role(client, people):  # noqa: F811
    """Return a client signed in as a person of that role."""

    def sign_in(role: str):
        client.force_login(people[role], backend=BACKEND)
        return client

    return sign_in


__all__ = ["PASSWORD"]
