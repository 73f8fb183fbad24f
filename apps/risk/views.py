"""The Risk page: limits in force, halts, and the kill switch by account."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.risk.models import Halt, Limit, Refusal

SHARES = {Limit.Check.PRICE_COLLAR, Limit.Check.DAILY_LOSS}
SHOWN = 50


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Show limits by check, open and recent halts, and the newest refusals."""
    limits = list(Limit.objects.select_related("account", "instrument"))
    for limit in limits:
        limit.is_share = limit.check_name in SHARES
    context = {
        "page": "risk",
        "limits": limits,
        "halts": Halt.objects.select_related("account")[:SHOWN],
        "refusals": Refusal.objects.select_related("account", "instrument")[:SHOWN],
    }
    return render(request, "risk/index.html", context)
