"""Venues: their addresses, and how clients are told about them."""

import time
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from apps.common.outbox import outbox_add
from apps.market.bonds import bound_by, open_at
from apps.market.errors import VenueRefused
from apps.market.events import VenueChanged
from apps.market.models import Epoch, Venue
from apps.market.providers import ADAPTERS, configuration_make, provider_make
from apps.market.providers.base import Provider, Throttle
from apps.market.services.audit import audited
from apps.market.storage.reader import epochs_hold_bars

ADDRESSES = ("rest_url", "socket_url", "control_url")
BOUND = ("adapter", *ADDRESSES, "is_simulated")
INSTEAD = "Leave it as it was, and add another venue with a code of its own."


def exchange_configuration(venue: Venue) -> dict[str, Any]:
    """Return a ccxt or ccxt.pro constructor's dict for this venue's address; the caller adds the keys."""
    return configuration_make(venue.adapter, venue.rest_url, venue.socket_url)


def provider_for(venue: Venue, throttle: Throttle | None = None) -> Provider:
    """Return a provider of this venue's public data; without a throttle, for a question or two."""
    return provider_make(venue.adapter, venue.rest_url, venue.socket_url, throttle=throttle)


def venue_save(venue: Venue, *, by: str) -> Venue:
    """Save a venue, write who did it, and tell its feed, which then dials anew. A real one gets its epoch 0.

    Raises `VenueRefused` as `venue_check` does.
    """
    with transaction.atomic():
        before = _row(venue)
        venue_check(venue, before)
        return _saved(venue, before, by)


def simulator_save(venue: Venue, *, by: str) -> Venue:
    """Save the simulated venue at the addresses where the stack's own simulator listens this time. For its seed only.

    Its market is what its epoch says, wherever that is served: so it alone may move. Raises `VenueRefused` for a venue
    that is not, or was not, simulated, and as `venue_check` does.
    """
    with transaction.atomic():
        before = _row(venue)
        if not venue.is_simulated or (before is not None and not before.is_simulated):
            raise VenueRefused(f"is_simulated: {venue.code!r} is not the simulator's: only its addresses may change")
        _check(venue, before, tuple(name for name in BOUND if name not in ADDRESSES))
        return _saved(venue, before, by)


def _row(venue: Venue) -> Venue | None:
    """Return what is stored of a venue, locked: an account that is made meanwhile waits."""
    return Venue.objects.select_for_update().filter(pk=venue.pk).first() if venue.pk else None


def _saved(venue: Venue, before: Venue | None, by: str) -> Venue:
    venue.save()
    if not venue.is_simulated:
        Epoch.objects.get_or_create(
            venue=venue, number=0, defaults={"kind": Epoch.Kind.REAL, "parameters": {}, "is_current": True}
        )
    audited(by, "venue.save", venue.code, before, venue)
    outbox_add(("venues", venue_changed(venue, by)))
    return venue


def venue_check(venue: Venue, before: Venue | None = None) -> None:
    """Raise `VenueRefused`, naming the fields, for what a venue cannot be, or cannot become after `before`.

    It cannot have an unknown adapter or half an address. It cannot become another market's once it has an account or
    stored bars, nor be switched off while something is open there.
    """
    _check(venue, before, BOUND)


def _check(venue: Venue, before: Venue | None, bound: Sequence[str]) -> None:
    if venue.adapter not in ADAPTERS:
        raise VenueRefused(f"adapter: {venue.adapter!r} is unknown; choose one of {', '.join(sorted(ADAPTERS))}")
    if bool(venue.rest_url) != bool(venue.socket_url):
        raise VenueRefused("rest_url and socket_url: give both for an address of your own, or neither for the vendor's")
    if venue.rest_url and not venue.rest_url.startswith(("http://", "https://")):
        raise VenueRefused(f"rest_url: {venue.rest_url!r} does not begin with http:// or https://")
    if venue.socket_url and not venue.socket_url.startswith(("ws://", "wss://")):
        raise VenueRefused(f"socket_url: {venue.socket_url!r} does not begin with ws:// or wss://")
    if before is None:
        return
    if changed := [name for name in bound if getattr(venue, name) != getattr(before, name)]:
        _another_market_check(before.pk, changed)
    if before.is_active and not venue.is_active and (left := open_at(before.pk)):
        why = f"a venue that is off has no desks, and nobody looks after what is open there: {'; '.join(left)}"
        raise VenueRefused(f"is_active: {why}. Close it first, on the Desk page or by manage.py kill --flatten.")


def _another_market_check(venue_id: int, changed: list[str]) -> None:
    """Refuse another address, adapter or kind of money where accounts or bars of this market are kept.

    A feed dials anew at once and a desk keeps its connection: real orders would be made on another market's prices.
    """
    kept = bound_by(venue_id)
    if epochs_hold_bars(list(Epoch.objects.filter(venue=venue_id).values_list("pk", flat=True))):
        kept.append("stored bars")
    if kept:
        what = f"it has {' and '.join(kept)}, and another market's must not mix with them"
        raise VenueRefused(f"{' and '.join(changed)}: a venue stands for one market; {what}. {INSTEAD}")


def venue_changed(venue: Venue, by: str) -> VenueChanged:
    """Return the message that says what holds for a venue now."""
    epoch = Epoch.objects.filter(venue=venue, is_current=True).values_list("pk", flat=True).first()
    return VenueChanged(venue.code, venue.is_active, epoch, by, time.time_ns())
