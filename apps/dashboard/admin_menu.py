"""The admin's menu: what a person edits there, in the words of the pages. Only what is registered is shown."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse_lazy

# (model, words, icon, what one does there)
MENU = (
    ("Market", (
        ("market.Venue", "Venues", "account_balance", "Where we read prices or trade, and whether each may"),
        ("market.Universe", "Universes", "hub", "Which instruments are collected and traded, by list or by rule"),
        ("market.Instrument", "Instruments", "candlestick_chart", "What the venues list, with ticks and lots"),
        ("market.Epoch", "Epochs", "timeline", "Runs of each market: the real one, replays, synthetic ones"),
    )),
    ("Money", (
        ("portfolio.Account", "Accounts", "account_balance_wallet", "Money at a venue; real trading is turned on here"),
        ("portfolio.Credential", "Credentials", "key", "Keys of venues, encrypted, never shown again"),
        ("risk.Limit", "Limits", "shield", "How much may be at risk, by account, deployment, instrument"),
        ("risk.Halt", "Halts", "front_hand", "Where a breaker stopped by itself, and why"),
        ("strategies.Deployment", "Deployments", "function", "Strategies at work, with parameters and stage"),
    )),
    ("Records", (
        ("execution.Order", "Orders", "receipt_long", "Every order, on disk before it was sent"),
        ("execution.Fill", "Fills", "done_all", "Every execution at a venue, booked once"),
        ("strategies.Signal", "Signals", "sensors", "What strategies wanted, and what became of it"),
        ("strategies.Decision", "Decisions", "psychology_alt", "Each call of a strategy, with what it saw"),
        ("risk.Refusal", "Refusals", "block", "What a limit stopped, with number and limit"),
        ("execution.Reconciliation", "Reconciliations", "difference", "Our books beside the venue's"),
        ("common.Job", "Jobs", "work_history", "Long work: how far it is, its log, and a way to cancel it"),
        ("common.AuditEntry", "Audit", "history_edu", "Who changed what, when and why; it only grows"),
    )),
    ("People and schedule", (
        ("users.User", "People", "group", "Names, roles, sign-in links"),
        ("users.ApiToken", "API tokens", "api", "Programs that use the API: what each may do, and until when"),
        ("axes.AccessAttempt", "Failed sign-ins", "lock_clock", "Names that are locked for a while"),
        ("django_celery_beat.PeriodicTask", "Schedule", "schedule", "What runs by the clock"),
    )),
)  # fmt: skip


def menu(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups of the admin's side bar for this person."""
    registered = {model._meta.label: model._meta for model in admin.site._registry}
    groups = []
    for title, items in MENU:
        shown = [
            {"title": words, "icon": icon, "about": about, "link": reverse_lazy(_address(registered[label]))}
            for label, words, icon, about in items
            if label in registered
        ]
        if shown:
            groups.append({"title": title, "separator": True, "items": shown})
    desk = {"title": "Back to the desk", "icon": "space_dashboard", "link": reverse_lazy("dashboard:desk")}
    return [{"title": "", "items": [desk]}, *groups]


def _address(meta: Any) -> str:
    return f"admin:{meta.app_label}_{meta.model_name}_changelist"
