"""The Risk page: limits in force, halts, and the kill switch by account."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.risk.models import Halt, Limit, Refusal
from apps.risk.services import halt_end
from apps.users.selectors import Role, role_required

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


@require_POST
@role_required(Role.TRADER)
def halt_finish(request: HttpRequest, halt_id: UUID) -> HttpResponse:
    """End a halt: a trader, and a reason that the audit keeps."""
    halt = get_object_or_404(Halt, pk=halt_id)
    try:
        halt_end(halt=halt, person=request.user, reason=request.POST.get("reason", "").strip())
        messages.success(request, "The halt is ended: new risk may start again.")
    except ValidationError as refused:
        messages.error(request, " ".join(refused.messages))
    return redirect("risk:index")
