"""The desk's books in the admin: read, never edited. Acting is done on the Desk page, through the desk itself."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from apps.execution.models import DeskCommand, Fill, KillSweep, Order, Reconciliation


class ReadOnly(ModelAdmin):
    """Rows that a desk writes."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Order)
class OrderAdmin(ReadOnly):
    """Orders of ours, from the moment they were written down."""

    list_display = (
        "market_at", "instrument", "side", "kind", "leg", "quantity", "filled", "state", "owner", "client_id", "detail",
    )  # fmt: skip
    list_filter = ("state", "kind", "account")
    list_select_related = ("instrument",)
    search_fields = ("client_id", "venue_order_id", "owner")


@admin.register(Fill)
class FillAdmin(ReadOnly):
    """Executions, each booked once."""

    list_display = ("market_at", "instrument", "side", "quantity", "price", "fee", "fee_currency", "realised", "owner")
    list_filter = ("account",)
    list_select_related = ("instrument",)
    search_fields = ("venue_fill_id", "venue_order_id", "owner")


@admin.register(Reconciliation)
class ReconciliationAdmin(ReadOnly):
    """Comparisons with the venue: what differed, and what was done."""

    list_display = ("at", "account", "is_startup", "took_ms", "differences")
    list_filter = ("account", "is_startup")


@admin.register(KillSweep)
class KillSweepAdmin(ReadOnly):
    """How the kill switch was carried out at each account."""

    list_display = (
        "started_at", "account", "scope", "flatten", "found", "left", "positions_left", "why", "finished_at",
    )  # fmt: skip


@admin.register(DeskCommand)
class DeskCommandAdmin(ReadOnly):
    """What persons asked desks to do, and the answers."""

    list_display = ("created_at", "account", "kind", "by", "state", "result")
    list_filter = ("kind", "state", "account")
