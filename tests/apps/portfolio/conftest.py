"""A simulated venue, its epoch, two instruments and an account."""

from decimal import Decimal

import pytest

from apps.market.models import Epoch, Instrument, Venue
from apps.portfolio.models import Account


@pytest.fixture
def venue(db) -> Venue:
    return Venue.objects.create(code="bybit-sim", name="Simulated Bybit", is_simulated=True)


@pytest.fixture
def real_venue(db) -> Venue:
    return Venue.objects.create(code="bybit", name="Bybit", is_simulated=False)


@pytest.fixture
def epoch(venue) -> Epoch:
    return Epoch.objects.create(venue=venue, number=1, kind=Epoch.Kind.SYNTHETIC, is_current=True)


@pytest.fixture
def spot(venue) -> Instrument:
    return instrument(venue, "BTC/USDT", "spot")


@pytest.fixture
def linear(venue) -> Instrument:
    return instrument(venue, "BTC/USDT:USDT", "linear")


def instrument(venue: Venue, symbol: str, kind: str) -> Instrument:
    base, _, rest = symbol.partition("/")
    return Instrument.objects.create(
        venue=venue, symbol=symbol, slug=symbol.lower().replace("/", "-").replace(":", "-"),
        venue_symbol=symbol.partition(":")[0].replace("/", ""), kind=kind, base=base, quote=rest[:4], settle=rest[:4],
        multiplier=Decimal(1),
    )  # fmt: skip


@pytest.fixture
def account(venue, epoch) -> Account:
    return Account.objects.create(venue=venue, epoch=epoch, name="Simulated", trading_enabled=True)
