"""The Desk page, and the small answers that its script and its fragments ask for."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from apps.dashboard import formatting as f
from apps.dashboard import rows, selectors, why
from apps.dashboard.chips import limit_shares
from apps.dashboard.context import shell_of
from apps.dashboard.figures import figures, sparkline
from apps.dashboard.labels import Label, labels
from apps.portfolio.models import Account
from apps.portfolio.selectors import equity_curve
from apps.risk.models import Refusal
from apps.strategies.models import Signal

TIMEFRAMES = ((60, "1m"), (300, "5m"), (900, "15m"), (3600, "1h"))
SEARCH_SHOWN = 12
CURVE_POINTS = 120


@require_GET
def desk(request: HttpRequest) -> HttpResponse:
    """Equity, figures with limits, live chart with fills, signals, positions, orders, fills, refusals."""
    account = shell_of(request).account
    if account is None:
        return render(request, "dashboard/desk_empty.html", {"page": "desk"})
    state = shell_of(request).states.get(f"account.{account.pk}") or selectors.figures_stored(account)
    since = selectors.numbers_now((*selectors.TOPICS, "universes"))
    lists = _lists(account)
    ids = selectors.instruments_collected(account)
    instruments = _labels_of([*ids, *(row["instrument_id"] for row in (*lists["positions"], *lists["orders"]))])
    day = selectors.day_of(f.moment(state["market_ns"])) if state and state["market_ns"] else None
    context = {
        "page": "desk",
        "account": account,
        "state": state,
        "figures": figures(state),
        "shares": limit_shares(state),
        "curve": sparkline(equity_curve(account.pk, day, CURVE_POINTS) if day else []),
        "counts": selectors.counts_of(account, day) if day else {"fills_today": 0, "refusals_today": 0},
        "reconciliation": selectors.reconciliation_last(account),
        "instruments": instruments,
        "chosen": _chosen(instruments, lists["positions"], ids),
        "timeframes": TIMEFRAMES,
        **lists,
    }
    context["live_page"] = _live(account, context, since)
    return render(request, "dashboard/desk.html", context)


def _lists(account: Account) -> dict[str, list[rows.Row]]:
    ids = [account.pk]
    return {
        "signals": [rows.signal_row(values) for values in selectors.signals_of(ids)],
        "positions": [rows.position_row(values) for values in selectors.positions_of(ids)],
        "orders": [rows.order_row(values) for values in selectors.orders_open(ids)],
        "fills": [rows.fill_row(values) for values in selectors.fills_of(ids)],
        "refusals": [rows.refusal_row(values) for values in selectors.refusals_of(ids)],
    }


def _labels_of(ids: list[int]) -> list[Label]:
    """Return the labels of these instruments, each once, in this order; a member that is new is read first."""
    known = labels.all()
    if not set(ids) <= set(known):
        labels.forget()
        known = labels.all()
    return [known[key] for key in dict.fromkeys(ids) if key in known]


def _chosen(instruments: list[Any], positions: list[rows.Row], collected: list[int]) -> Any:
    """Return the instrument that the chart starts with: one that is held, else the busiest."""
    wanted = {row["instrument_id"] for row in positions} or {selectors.instrument_busiest(collected)}
    return next((label for label in instruments if label.id in wanted), next(iter(instruments), None))


def _live(account: Account, context: dict[str, Any], since: dict[str, int]) -> dict[str, Any]:
    chosen = context["chosen"]
    return {
        "account": account.pk,
        "instrument": chosen.id if chosen else None,
        "instruments": [label.as_live() for label in context["instruments"]],
        "since": since,
        "refusedToday": context["counts"]["refusals_today"],
        "curve": context["curve"]["values"],
    }


@require_GET
def instruments(request: HttpRequest) -> HttpResponse:
    """Return instruments whose name contains `q`, as list items."""
    wanted = request.GET.get("q", "").strip().lower().replace("-", "/")
    found = [label for label in labels.all().values() if wanted in label.symbol.lower()]
    return render(request, "dashboard/_instruments.html", {"found": found[:SEARCH_SHOWN], "wanted": wanted})


@require_GET
def collected(request: HttpRequest) -> JsonResponse:
    """Return the instruments that the chart can show now: those collected, then those held. A universe was edited."""
    account = shell_of(request).account
    if account is None:
        return JsonResponse({"instruments": []})
    held = [
        row["instrument_id"] for row in (*selectors.positions_of([account.pk]), *selectors.orders_open([account.pk]))
    ]
    found = _labels_of([*selectors.instruments_collected(account), *held])
    return JsonResponse({"instruments": [label.as_live() for label in found]})


@require_GET
def why_signal(request: HttpRequest, signal_id: int) -> HttpResponse:
    """Explain a signal."""
    signal = get_object_or_404(Signal, pk=signal_id)
    decision = selectors.decisions().get(pk=signal.decision_id)
    return render(request, "dashboard/_why.html", why.why_decision(decision))


@require_GET
def why_refusal(request: HttpRequest, refusal_id: UUID) -> HttpResponse:
    """Explain a refusal."""
    refusal = get_object_or_404(Refusal.objects.select_related("instrument"), pk=refusal_id)
    decision = selectors.decisions().filter(pk=refusal.decision_id).first() if refusal.decision_id else None
    return render(request, "dashboard/_why.html", why.why_refusal(refusal, decision))


@require_GET
def reconciliation(request: HttpRequest) -> HttpResponse:
    """Show the newest comparison with the venue, with every difference: ours, the venue's, what was done."""
    account = shell_of(request).account
    found = selectors.reconciliation_last(account) if account else None
    return render(request, "dashboard/_reconciliation.html", {"reconciliation": found})


@require_GET
def counts(request: HttpRequest) -> JsonResponse:
    """Return how many refusals and fills there are today."""
    account = shell_of(request).account
    state = shell_of(request).states.get(f"account.{account.pk}") if account else None
    at = f.moment(state["market_ns"]) if state else None
    return JsonResponse(selectors.counts_of(account, selectors.day_of(at)) if account and at else {})
