"""Epochs: one run of a market at a venue."""

import time
from typing import Any

from django.db import transaction
from django.db.models import Max

from apps.common.outbox import outbox_add
from apps.market.errors import VenueRefused
from apps.market.models import Epoch, Venue
from apps.market.services.audit import audited
from apps.market.services.venues import venue_changed

REAL = {"kind": Epoch.Kind.REAL}


def epoch_resume_or_begin(venue: Venue, parameters: dict[str, Any], *, new: bool, by: str) -> Epoch:
    """Return the epoch that these parameters mean and make it current: the newest of the same ones, else a new one.

    `new` begins another epoch whatever there was. A real market is epoch 0 for ever.
    """
    kind = parameters.get("kind")
    if kind not in Epoch.Kind.values:
        raise VenueRefused(f"market kind {kind!r} is unknown: choose one of {', '.join(Epoch.Kind.values)}")
    with transaction.atomic():
        Venue.objects.select_for_update().get(pk=venue.pk)
        same = Epoch.objects.filter(venue=venue, parameters=parameters).order_by("-number").first()
        if same is None or (new and kind != Epoch.Kind.REAL):
            return epoch_begin(venue, parameters, by=by)
        if not same.is_current:
            _make_current(same, by)
        return same


def epoch_begin(venue: Venue, parameters: dict[str, Any], *, by: str) -> Epoch:
    """Begin a new epoch with the next number and make it current."""
    with transaction.atomic():
        highest = Epoch.objects.filter(venue=venue).aggregate(highest=Max("number"))["highest"] or 0
        number = 0 if parameters["kind"] == Epoch.Kind.REAL else highest + 1
        epoch = Epoch(venue=venue, number=number, kind=parameters["kind"], parameters=parameters)
        _make_current(epoch, by)
    return epoch


def _make_current(epoch: Epoch, by: str) -> None:
    Epoch.objects.filter(venue=epoch.venue, is_current=True).update(is_current=False)
    epoch.is_current = True
    epoch.save()
    audited(by, "epoch.current", f"{epoch.venue.code} #{epoch.number}", None, epoch)
    outbox_add(("venues", venue_changed(epoch.venue, by)))


def epoch_clock_words(market_ns: int) -> str:
    """Return a market time as text for messages, to the second, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(market_ns // 1_000_000_000))
