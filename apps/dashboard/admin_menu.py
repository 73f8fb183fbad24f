"""The admin's menu: what a person edits there, in the words of the pages. Only what is registered is shown."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse_lazy

MENU = (
    ("Market", (("market.Venue", "Venues", "account_balance"), ("market.Universe", "Universes", "hub"),
                ("market.Instrument", "Instruments", "candlestick_chart"), ("market.Epoch", "Epochs", "timeline"))),
    ("Money", (("portfolio.Account", "Accounts", "account_balance_wallet"),
               ("portfolio.Credential", "Credentials", "key"), ("risk.Limit", "Limits", "shield"),
               ("risk.Halt", "Halts", "front_hand"), ("strategies.Deployment", "Deployments", "function"))),
    ("Records", (("execution.Order", "Orders", "receipt_long"), ("execution.Fill", "Fills", "done_all"),
                 ("strategies.Signal", "Signals", "sensors"), ("strategies.Decision", "Decisions", "psychology_alt"),
                 ("risk.Refusal", "Refusals", "block"), ("execution.Reconciliation", "Reconciliations", "difference"),
                 ("common.AuditEntry", "Audit", "history_edu"))),
    ("People and schedule", (("users.User", "People", "group"), ("axes.AccessAttempt", "Failed sign-ins", "lock_clock"),
                             ("django_celery_beat.PeriodicTask", "Schedule", "schedule"))),
)  # fmt: skip


def menu(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups of the admin's side bar for this person."""
    registered = {model._meta.label: model._meta for model in admin.site._registry}
    groups = []
    for title, items in MENU:
        shown = [
            {"title": words, "icon": icon, "link": reverse_lazy(_address(registered[label]))}
            for label, words, icon in items
            if label in registered
        ]
        if shown:
            groups.append({"title": title, "separator": True, "items": shown})
    desk = {"title": "Back to the desk", "icon": "space_dashboard", "link": reverse_lazy("dashboard:desk")}
    return [{"title": "", "items": [desk]}, *groups]


def _address(meta: Any) -> str:
    return f"admin:{meta.app_label}_{meta.model_name}_changelist"
