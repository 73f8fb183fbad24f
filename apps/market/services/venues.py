"""Venues: their addresses, and how clients are told about them."""

import time
from typing import Any

from django.db import transaction

from apps.common.outbox import outbox_add
from apps.market.errors import VenueRefused
from apps.market.events import VenueChanged
from apps.market.models import Epoch, Venue
from apps.market.providers import ADAPTERS, configuration_make, provider_make
from apps.market.providers.base import Provider, Throttle
from apps.market.services.audit import audited


def exchange_configuration(venue: Venue) -> dict[str, Any]:
    """Return a ccxt or ccxt.pro constructor's dict for this venue's address; the caller adds the keys."""
    return configuration_make(venue.adapter, venue.rest_url, venue.socket_url)


def provider_for(venue: Venue, throttle: Throttle | None = None) -> Provider:
    """Return a provider of this venue's public data; without a throttle, for a question or two."""
    return provider_make(venue.adapter, venue.rest_url, venue.socket_url, throttle=throttle)


def venue_save(venue: Venue, *, by: str) -> Venue:
    """Save a venue, write who did it, and tell its feed, which then dials anew. A real one gets its epoch 0.

    Raises `VenueRefused` for an unknown adapter, or a REST address without its socket address.
    """
    venue_check(venue)
    with transaction.atomic():
        before = Venue.objects.filter(pk=venue.pk).first() if venue.pk else None
        venue.save()
        if not venue.is_simulated:
            Epoch.objects.get_or_create(
                venue=venue, number=0, defaults={"kind": Epoch.Kind.REAL, "parameters": {}, "is_current": True}
            )
        audited(by, "venue.save", venue.code, before, venue)
        outbox_add(("venues", venue_changed(venue, by)))
    return venue


def venue_check(venue: Venue) -> None:
    """Raise `VenueRefused`, naming the field, for an unknown adapter or half an address."""
    if venue.adapter not in ADAPTERS:
        raise VenueRefused(f"adapter: {venue.adapter!r} is unknown; choose one of {', '.join(sorted(ADAPTERS))}")
    if bool(venue.rest_url) != bool(venue.socket_url):
        raise VenueRefused("rest_url and socket_url: give both for an address of your own, or neither for the vendor's")
    if venue.rest_url and not venue.rest_url.startswith(("http://", "https://")):
        raise VenueRefused(f"rest_url: {venue.rest_url!r} does not begin with http:// or https://")
    if venue.socket_url and not venue.socket_url.startswith(("ws://", "wss://")):
        raise VenueRefused(f"socket_url: {venue.socket_url!r} does not begin with ws:// or wss://")


def venue_changed(venue: Venue, by: str) -> VenueChanged:
    """Return the message that says what holds for a venue now."""
    epoch = Epoch.objects.filter(venue=venue, is_current=True).values_list("pk", flat=True).first()
    return VenueChanged(venue.code, venue.is_active, epoch, by, time.time_ns())
