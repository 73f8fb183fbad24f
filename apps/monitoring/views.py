"""The Operations page: residents and long work; and the answer to "is it up"."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.monitoring import selectors
from apps.monitoring.readiness import readiness


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
def readyz(request: HttpRequest) -> JsonResponse:
    """Say what is missing: for serving (status 503 then), and for trading. For probes, without a sign-in."""
    found = readiness()
    body = {"ready": found.is_ready, "missing": found.missing, "not_trading": found.not_trading}
    return JsonResponse(body, status=200 if found.is_ready else 503)


@login_not_required
@never_cache
@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that this web process answers. Asks nothing else, so it is no word about database or desk."""
    return HttpResponse("ok\n", content_type="text/plain")
