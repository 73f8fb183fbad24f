"""Manual orders, cancels and closes: a form that shows size, cost, worst case and the nearest limit before it sends.

What is sent becomes a command that the account's desk takes; the answer is its own, asked for until it is there.
"""

from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.dashboard import formatting as f
from apps.dashboard.context import shell_of
from apps.dashboard.labels import labels
from apps.dashboard.rows import owner_words
from apps.dashboard.states import states_last
from apps.execution.models import DeskCommand, Order
from apps.execution.services import (
    CommandRefused,
    manual_order_preview,
    manual_order_submit,
    nonce_make,
    order_cancel,
    position_close,
)
from apps.market.models import Instrument
from apps.portfolio.models import Account, Position
from apps.users.selectors import Role, role_required

SIDES = (("buy", "Buy"), ("sell", "Sell"))
KINDS = (("market", "Market"), ("limit", "Limit"))


@require_GET
@role_required(Role.TRADER)
def order_new(request: HttpRequest) -> HttpResponse:
    """Return the form, with a nonce of its own: sent twice it is one order."""
    account, instrument = _account(request.GET), _instrument(request.GET)
    quote = _quote(instrument)
    context = {
        **_form_context(account, instrument),
        "nonce": nonce_make(),
        "sides": SIDES,
        "kinds": KINDS,
        "values": {"side": "buy", "kind": "market"},
        "touch": quote,
        "killed": bool(shell_of(request).kill.items),
    }
    return render(request, "dashboard/_order_form.html", context)


@require_POST
@role_required(Role.TRADER)
def order_preview(request: HttpRequest) -> HttpResponse:
    """Return what the order in the form would do, or which field is wrong."""
    account, instrument = _account(request.POST), _instrument(request.POST)
    if not request.POST.get("quantity", "").strip():
        return render(request, "dashboard/_order_preview.html", {"waiting": True})
    quote = _quote(instrument) or {}
    try:
        preview = manual_order_preview(
            account, instrument, *_wish(request.POST), bid=quote.get("bid"), ask=quote.get("ask")
        )
    except CommandRefused as error:
        return render(request, "dashboard/_order_preview.html", {"wrong": error})
    context = {**_form_context(account, instrument), "preview": preview}
    return render(request, "dashboard/_order_preview.html", context)


@never_cache
@require_POST
@role_required(Role.TRADER)
def order_submit(request: HttpRequest) -> HttpResponse:
    """Hand the order to the desk."""
    account, instrument = _account(request.POST), _instrument(request.POST)
    try:
        command = manual_order_submit(
            account,
            instrument,
            *_wish(request.POST),
            nonce=request.POST.get("nonce", ""),
            by=request.user.get_username(),
            reduce_only=request.POST.get("reduce_only") == "1",
        )
    except CommandRefused as error:
        return render(request, "dashboard/_order_preview.html", {"wrong": error}, status=422)
    return _told(request, command)


@never_cache
@require_POST
@role_required(Role.TRADER)
def cancel(request: HttpRequest, order_id: int) -> HttpResponse:
    """Ask the desk to cancel an order; answers with a note."""
    order = get_object_or_404(Order.objects.select_related("account"), pk=order_id)
    try:
        command = order_cancel(order, by=request.user.get_username())
    except CommandRefused as error:
        return render(request, "dashboard/_note.html", {"bad": True, "text": f"Not cancelled: {error.words}."})
    return render(request, "dashboard/_note_command.html", {"command": command, "what": "Cancel"})


@never_cache
@require_http_methods(["GET", "POST"])
@role_required(Role.TRADER)
def close(request: HttpRequest, account_id: int, instrument_id: int) -> HttpResponse:
    """Show what closing a position would do, and on POST ask the desk to do it."""
    account = get_object_or_404(Account, pk=account_id)
    instrument = get_object_or_404(Instrument, pk=instrument_id)
    owner = (request.POST if request.method == "POST" else request.GET).get("owner", "")
    if request.method == "POST":
        nonce = request.POST.get("nonce", "")
        try:
            command = position_close(account, instrument, owner, by=request.user.get_username(), nonce=nonce)
        except CommandRefused as error:
            return render(request, "dashboard/_order_preview.html", {"wrong": error}, status=422)
        return _told(request, command)
    held_now = Position.objects.exclude(quantity=0)
    position = get_object_or_404(held_now, account=account, instrument=instrument, owner=owner)
    quote = _quote(instrument) or {}
    price = quote.get("bid" if position.quantity > 0 else "ask")
    held, entry = float(position.quantity), float(position.average_price)
    context = {
        **_form_context(account, instrument),
        "position": position,
        "owner_words": owner_words(owner),
        "size": abs(position.quantity),
        "price": price,
        "result": None if price is None else held * (price - entry) * float(instrument.multiplier),
        "nonce": nonce_make(),
    }
    return render(request, "dashboard/_close_form.html", context)


@never_cache
@require_GET
@role_required(Role.TRADER)
def command(request: HttpRequest, command_id: int) -> HttpResponse:
    """Return what became of a command, as a note in a dialog or, with `note=1`, in the corner."""
    found = get_object_or_404(DeskCommand, pk=command_id)
    if request.GET.get("note"):
        return render(request, "dashboard/_note_command.html", {"command": found, "what": f.words(found.kind).title()})
    return _told(request, found)


def _told(request: HttpRequest, command: DeskCommand) -> HttpResponse:
    return render(request, "dashboard/_command.html", {"command": command})


def _form_context(account: Account, instrument: Instrument) -> dict[str, Any]:
    return {"account": account, "instrument": instrument, "label": labels.get(instrument.pk, instrument.symbol)}


def _quote(instrument: Instrument) -> dict[str, Any] | None:
    return states_last([f"quote.{instrument.pk}"]).get(f"quote.{instrument.pk}")


def _wish(form: QueryDict) -> tuple[str, str, str, str | None]:
    kind = form.get("kind", "")
    return form.get("side", ""), kind, form.get("quantity", ""), form.get("price") if kind == "limit" else None


def _account(form: QueryDict) -> Account:
    return get_object_or_404(Account.objects.select_related("venue", "epoch"), pk=_key(form, "account"))


def _instrument(form: QueryDict) -> Instrument:
    return get_object_or_404(Instrument, pk=_key(form, "instrument"))


def _key(form: QueryDict, name: str) -> int:
    text = form.get(name, "")
    return int(text) if text.isdecimal() else 0
