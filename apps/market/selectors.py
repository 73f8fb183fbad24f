"""Reads of the market: venues, epochs, instruments, terms, universes; bars and prints through `storage`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Q, QuerySet

from apps.market.bonds import register_venue_bound, register_venue_open
from apps.market.errors import EpochMissing
from apps.market.kept import kept_ids, register_kept
from apps.market.models import Epoch, Instrument, InstrumentTerms, Universe, Venue
from apps.market.providers.base import Subscription
from apps.market.storage.gaps import gaps_async
from apps.market.storage.prints import StoredPrint, prints_read
from apps.market.storage.reader import (
    bars_newest_open,
    bars_newest_open_async,
    bars_read,
    bars_read_async,
    bars_read_many,
    bars_read_many_async,
)
from apps.market.storage.rows import BAR_DTYPE

__all__ = [
    "BAR_DTYPE",
    "FeedPlan",
    "StoredPrint",
    "Terms",
    "bars_newest_open",
    "bars_newest_open_async",
    "bars_read",
    "bars_read_async",
    "bars_read_many",
    "bars_read_many_async",
    "epoch_current",
    "feed_keys",
    "feed_plan",
    "gaps_async",
    "instrument_by_slug",
    "instruments_collected",
    "instruments_kept",
    "instruments_listed",
    "prints_read",
    "register_kept",
    "register_venue_bound",
    "register_venue_open",
    "terms_now",
    "universe_instruments",
    "venue_by_code",
]


@dataclass(frozen=True)
class Terms:
    """What the venue demands of an order in this instrument now. Quantities in base, notional in quote."""

    tick: Decimal
    lot: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    max_leverage: Decimal
    maker_fee: Decimal
    taker_fee: Decimal


@dataclass(frozen=True)
class FeedPlan:
    """Everything a feed needs to know before it dials."""

    venue_code: str
    adapter: str
    rest_url: str
    socket_url: str
    control_url: str
    control_token_file: str
    epoch_id: int
    epoch_kind: str
    synced_at: datetime | None
    items: tuple[Subscription, ...]


def venue_by_code(code: str) -> Venue:
    """Return the venue. Raises `Venue.DoesNotExist`."""
    return Venue.objects.get(code=code)


def epoch_current(venue_code: str) -> Epoch:
    """Return the venue's current epoch, with its venue. Raises `EpochMissing`."""
    epoch = Epoch.objects.select_related("venue").filter(venue__code=venue_code, is_current=True).first()
    if epoch is None:
        raise EpochMissing(f"venue {venue_code!r} has no current epoch: run `manage.py prepare`")
    return epoch


def instruments_listed(venue_code: str) -> list[Instrument]:
    """Return what the venue lists now, by symbol."""
    return list(Instrument.objects.filter(venue__code=venue_code, listed_to__isnull=True).order_by("symbol"))


def instrument_by_slug(venue_code: str, slug: str) -> Instrument:
    """Return the instrument of an address `/market/<venue>/<slug>/`. Raises `Instrument.DoesNotExist`."""
    return Instrument.objects.select_related("venue").get(venue__code=venue_code, slug=slug)


def universe_instruments(name: str) -> list[Instrument]:
    """Return the members of a universe that the venue still lists, by symbol. Raises `Universe.DoesNotExist`."""
    universe = Universe.objects.get(name=name)
    return list(universe.members.filter(listed_to__isnull=True).select_related("venue").order_by("symbol"))


def instruments_collected(venue_code: str) -> QuerySet[Instrument]:
    """Return what a feed of this venue collects, by symbol: members of collected universes, and what must be kept."""
    wanted = Q(universes__is_collected=True) | Q(pk__in=kept_ids([venue_code]))
    return (
        Instrument.objects.filter(wanted, venue__code=venue_code, listed_to__isnull=True).distinct().order_by("symbol")
    )


def instruments_kept(venue_codes: Sequence[str]) -> set[int]:
    """Return the ids of what is collected only because an upper app needs it still: no collected universe names it."""
    kept = kept_ids(venue_codes)
    named = Instrument.objects.filter(pk__in=kept, universes__is_collected=True)
    return kept - set(named.values_list("pk", flat=True))


def terms_now(instrument_ids: Iterable[int]) -> dict[int, Terms]:
    """Return the newest terms of each instrument that has any, in one query."""
    rows = (
        InstrumentTerms.objects.filter(instrument_id__in=list(instrument_ids))
        .order_by("instrument_id", "-valid_from")
        .distinct("instrument_id")
    )
    return {
        row.instrument_id: Terms(
            row.tick, row.lot, row.min_quantity, row.min_notional, row.max_leverage, row.maker_fee, row.taker_fee
        )
        for row in rows
    }


def feed_keys() -> list[str]:
    """Return the keys of the feeds that should run now: one per active venue with a current epoch."""
    codes = (
        Venue.objects.filter(is_active=True, epochs__is_current=True).order_by("code").values_list("code", flat=True)
    )
    return [f"{code}/0" for code in codes]


def feed_plan(venue_code: str) -> FeedPlan:
    """Return what a feed of this venue has to do now. Raises `EpochMissing`."""
    epoch = epoch_current(venue_code)
    venue = epoch.venue
    members = instruments_collected(venue.code)
    items = tuple(Subscription(found.pk, found.venue_symbol, found.kind) for found in members)
    return FeedPlan(
        venue.code, venue.adapter, venue.rest_url, venue.socket_url, venue.control_url, venue.control_token_file,
        epoch.pk, epoch.kind, epoch.synced_at, items,
    )  # fmt: skip
