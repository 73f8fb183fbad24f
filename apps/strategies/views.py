"""The Strategies page: what is at work, with which parameters, on which universe and account."""

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.strategies.models import Deployment
from apps.strategies.selectors import deployments_blocked

SHOWN = 100


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """List deployments: those that run first, then the newest."""
    ended = Q(signals__state="refused")
    found = Deployment.objects.select_related("account", "account__epoch").annotate(
        signal_count=Count("signals"), refused_count=Count("signals", filter=ended)
    )
    running = Q(state=Deployment.State.RUNNING)
    rows = [*found.filter(running)[:SHOWN], *found.exclude(running)[:SHOWN]]
    whys = deployments_blocked()
    for row in rows:
        row.why = whys.get(row.key, "")
    return render(request, "strategies/index.html", {"page": "strategies", "deployments": rows})
