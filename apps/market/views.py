"""The Data page: venues, epochs, universes and what is collected."""

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.market.models import Epoch, Instrument, Universe, Venue
from apps.market.selectors import instruments_kept

SHOWN = 300


@require_GET
def data(request: HttpRequest) -> HttpResponse:
    """List venues with their feeds, universes with their size, and the instruments that are collected, and why."""
    venues = list(Venue.objects.annotate(instrument_count=Count("instruments")))
    kept = instruments_kept([venue.code for venue in venues])
    collected = Instrument.objects.filter(Q(universes__is_collected=True) | Q(pk__in=kept)).distinct()
    context = {
        "page": "data",
        "venues": venues,
        "kept": kept,
        "epochs": Epoch.objects.filter(is_current=True).select_related("venue"),
        "universes": Universe.objects.select_related("venue").annotate(member_count=Count("members")),
        "instruments": collected.select_related("venue").order_by("venue__code", "symbol")[:SHOWN],
    }
    return render(request, "market/data.html", context)
