"""The Market page: one instrument's chart, book, prints and data quality, and why the desk last did what it did."""

from datetime import UTC, datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from apps.dashboard import selectors, why
from apps.dashboard.context import shell_of
from apps.dashboard.formatting import NS, moment
from apps.dashboard.labels import Label, labels
from apps.market.selectors import bars_read, epoch_current, prints_read

TIMEFRAMES = ((60, "1m"), (300, "5m"), (900, "15m"), (3600, "1h"), (86_400, "1d"))
BARS_SHOWN, BARS_MOST = 600, 1500
QUALITY_BARS = 60
MINUTE_S = 60
PRINTS_SHOWN = 30
EMPTY, BACKFILLED, DIFFERED = 1, 2, 16
KINDS = ("good", "differs", "empty-bar", "filled", "gap")


@require_GET
def first(request: HttpRequest) -> HttpResponse:
    """Go to an instrument: the busiest that is collected."""
    key = selectors.instrument_busiest(selectors.instruments_collected(shell_of(request).account))
    chosen = labels.get(key) if key is not None else None
    return redirect(chosen.url) if chosen else render(request, "dashboard/market_empty.html", {"page": "market"})


@require_GET
def market(request: HttpRequest, venue: str, slug: str) -> HttpResponse:
    """Show one instrument."""
    label = _label(venue, slug)
    shell = shell_of(request)
    accounts = [account.pk for account in shell.accounts]
    decision = selectors.decision_last(label.id, accounts)
    context = {
        "page": "market",
        "label": label,
        "account": shell.account,
        "timeframes": TIMEFRAMES,
        "why": why.why_decision(decision) if decision else None,
        "quality": _quality(label),
        "live_page": {
            "instrument": label.as_live(),
            "account": shell.account.pk if shell.account else None,
            "since": selectors.numbers_now(("fills", "signals")),
            "prints": _prints(label),
        },
    }
    return render(request, "dashboard/market.html", context)


@require_GET
def bars(request: HttpRequest, venue: str, slug: str) -> JsonResponse:
    """Return closed bars, newest last, as `[second, open, high, low, close, volume, flags]`, and the fills over them.

    `minutes` are those stored of the candle in the making. `tf` is the timeframe in seconds; `before` (seconds) asks
    for older bars; at most 1,500 come at once.
    """
    label = _label(venue, slug)
    timeframe = _number(request, "tf", 60)
    if timeframe not in {seconds for seconds, _ in TIMEFRAMES}:
        return JsonResponse({"error": f"There is no timeframe of {timeframe} s."}, status=400)
    before = _number(request, "before", 0)
    limit = min(BARS_MOST, max(1, _number(request, "limit", BARS_SHOWN)))
    epoch = epoch_current(label.venue_code)
    found = bars_read(epoch.pk, label.id, timeframe, end_ns=before * NS or None, limit=limit) if epoch else []
    out = _rows(found)
    fills: list[dict[str, Any]] = []
    if out and not before:
        accounts = [account.pk for account in shell_of(request).accounts]
        start = datetime.fromtimestamp(out[0][0], tz=UTC)
        fills = [_mark(fill) for fill in selectors.fills_between(label.id, accounts, start)]
    minutes = _minutes(epoch.pk, label.id, timeframe, out) if epoch and timeframe > MINUTE_S and not before else []
    return JsonResponse({"tf": timeframe, "bars": out, "minutes": minutes, "fills": fills})


@require_GET
def why_last(request: HttpRequest, venue: str, slug: str) -> HttpResponse:
    """Explain the newest decision about this instrument."""
    label = _label(venue, slug)
    decision = selectors.decision_last(label.id, [account.pk for account in shell_of(request).accounts])
    return render(request, "dashboard/_why.html", why.why_decision(decision) if decision else {"nothing": True})


@require_GET
def quality(request: HttpRequest, venue: str, slug: str) -> HttpResponse:
    """Draw the last hour's data: good, not as our prints made it, empty, back-filled, missing."""
    return render(request, "dashboard/_quality.html", {"quality": _quality(_label(venue, slug))})


def _prints(label: Label) -> list[list[float]]:
    """Return the newest stored prints in the shape of their state, so that a page is full before the next trade."""
    found = prints_read(epoch_current(label.venue_code).pk, label.id, limit=PRINTS_SHOWN)
    return [[row.market_ns, float(row.price), float(row.size), row.side] for row in found]


def _rows(found: Any) -> list[list[float]]:
    names = ("open", "high", "low", "close", "volume")
    return [[int(bar["open_ns"]) // NS, *(float(bar[name]) for name in names), int(bar["flags"])] for bar in found]


def _minutes(epoch_id: int, instrument_id: int, timeframe: int, closed: list[list[float]]) -> list[list[float]]:
    """Return the stored minutes after the newest closed candle, or of the newest span where none has closed."""
    start = (int(closed[-1][0]) + timeframe) * NS if closed else None
    return _rows(bars_read(epoch_id, instrument_id, MINUTE_S, start_ns=start, limit=timeframe // MINUTE_S))


def _quality(label: Label) -> dict[str, Any]:
    """Return the newest 60 minutes by kind: each is one of `KINDS`."""
    epoch = epoch_current(label.venue_code)
    found = bars_read(epoch.pk, label.id, 60, limit=QUALITY_BARS) if epoch else []
    if not len(found):
        return {"minutes": [], "counts": {}}
    flags = {int(bar["open_ns"]) // (60 * NS): int(bar["flags"]) for bar in found}
    newest = max(flags)
    kinds = [_kind(flags.get(minute)) for minute in range(newest - QUALITY_BARS + 1, newest + 1)]
    return {
        "minutes": [{"x": place, "kind": kind} for place, kind in enumerate(kinds)],
        "counts": {name: kinds.count(name) for name in KINDS},
        "until": moment((newest + 1) * 60 * NS),
    }


def _kind(flags: int | None) -> str:
    if flags is None:
        return "gap"
    if flags & DIFFERED:
        return "differs"
    if flags & BACKFILLED:
        return "filled"
    return "empty-bar" if flags & EMPTY else "good"


def _mark(fill: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": fill["id"],
        "t": int(fill["market_at"].timestamp()),
        "side": fill["side"],
        "price": float(fill["price"]),
        "leg": fill["leg"] or "",
    }


def _label(venue: str, slug: str) -> Label:
    for label in labels.all().values():
        if (label.venue_code, label.slug) == (venue, slug):
            return label
    raise Http404(f"No instrument {slug} at {venue}")


def _number(request: HttpRequest, name: str, default: int) -> int:
    text = request.GET.get(name, "")
    return int(text) if text.isdecimal() else default
