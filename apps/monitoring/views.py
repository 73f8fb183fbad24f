"""The Operations page: residents and long work; and the answer to "is it up"."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.monitoring import selectors


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """List residents with their leases, and jobs with their progress."""
    context = {
        "page": "operations",
        "residents": selectors.residents_now(),
        "jobs": selectors.jobs_recent(),
    }
    return render(request, "monitoring/index.html", context)


@require_GET
def residents(request: HttpRequest) -> HttpResponse:
    """Return the residents' rows as they are now."""
    return render(request, "monitoring/_residents.html", {"residents": selectors.residents_now()})


@login_not_required
@never_cache
@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that this web process answers. Asks nothing else, so it is no word about database or desk."""
    return HttpResponse("ok\n", content_type="text/plain")
