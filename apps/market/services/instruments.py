"""Instruments and their terms, as the venue lists them."""

import asyncio
from decimal import Decimal

import structlog
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from apps.market.errors import VenueRefused
from apps.market.models import Epoch, Instrument, InstrumentTerms, Venue
from apps.market.providers.base import ListedInstrument
from apps.market.selectors import terms_now
from apps.market.services.universes import universes_refresh
from apps.market.services.venues import provider_for
from trader.core.types.errors import VenueUnavailable

log = structlog.get_logger(__name__)
TERM_FIELDS = ("tick", "lot", "min_quantity", "min_notional", "max_leverage", "maker_fee", "taker_fee")


def instruments_sync(venue: Venue) -> int:
    """Ask the venue what it lists, store it, and refresh the universes by rule. Returns how many it lists.

    Raises `VenueUnavailable` (try again later) or `VenueRefused`.
    """
    return instruments_store(venue.code, asyncio.run(_listed(venue)))


def venues_sync() -> int:
    """Sync all active venues; one that does not answer is logged and tried again at the next hour."""
    count = 0
    for venue in Venue.objects.filter(is_active=True, epochs__is_current=True):
        try:
            count += instruments_sync(venue)
        except (VenueUnavailable, VenueRefused) as error:
            log.warning("market.sync_failed", venue=venue.code, error=str(error))
    return count


async def _listed(venue: Venue) -> list[ListedInstrument]:
    provider = provider_for(venue)
    try:
        return await provider.listed()
    finally:
        await provider.close()


def instruments_store(venue_code: str, listed: list[ListedInstrument]) -> int:
    """Store what a venue lists: new instruments, new terms from now on, and the end of what it lists no more."""
    now = timezone.now()
    with transaction.atomic():
        venue = Venue.objects.select_for_update().get(code=venue_code)
        Instrument.objects.bulk_create(
            [_instrument(venue, item, now) for item in listed],
            update_conflicts=True,
            unique_fields=["venue", "symbol"],
            update_fields=["venue_symbol", "kind", "base", "quote", "settle", "turnover_24h", "listed_to"],
        )
        symbols = [item.symbol for item in listed]
        Instrument.objects.filter(venue=venue, listed_to__isnull=True).exclude(symbol__in=symbols).update(listed_to=now)
        _terms_store(venue, listed, now)
        Epoch.objects.filter(venue=venue, is_current=True).update(synced_at=now)
        universes_refresh(venue, by="system:sync")
    return len(listed)


def _instrument(venue: Venue, item: ListedInstrument, now) -> Instrument:
    return Instrument(
        venue=venue, symbol=item.symbol, slug=slug_of(item.symbol), venue_symbol=item.venue_symbol, kind=item.kind,
        base=item.base, quote=item.quote, settle=item.settle, listed_from=now, listed_to=None,
        turnover_24h=item.turnover_24h.quantize(Decimal("1e-8")),
    )  # fmt: skip


def _terms_store(venue: Venue, listed: list[ListedInstrument], now) -> None:
    """Add a row of terms where they differ from the newest ones."""
    ids = dict(Instrument.objects.filter(venue=venue).values_list("symbol", "pk"))
    known = terms_now(ids.values())
    changed = []
    for item in listed:
        wanted = {name: getattr(item, name) for name in TERM_FIELDS}
        held = known.get(ids[item.symbol])
        if held is None or any(getattr(held, name) != value for name, value in wanted.items()):
            changed.append(InstrumentTerms(instrument_id=ids[item.symbol], valid_from=now, **wanted))
    InstrumentTerms.objects.bulk_create(changed)


def slug_of(symbol: str) -> str:
    """Return the symbol as it stands in addresses: `BTC/USDT:USDT` is `btc-usdt-usdt`."""
    return slugify(symbol.replace("/", "-").replace(":", "-"))
