"""Limits, halts and refusals in the admin. Every change goes through a service: checked in words, audited, told."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from apps.risk.models import Halt, Limit, Refusal
from apps.risk.services import LimitRefused, halt_end, limit_remove, limit_set
from apps.risk.services.limits import limit_check, scope_text
from apps.strategies.models import Deployment
from trader.core.portfolio import MANUAL

SCOPE = ("check_name", "account", "deployment_key", "instrument")


class LimitForm(forms.ModelForm):
    """A limit's form; what cannot be is refused in words, at its field."""

    value = forms.CharField(
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        help_text="Amounts in the account's currency; exposures and leverage as multiples of equity (1.5); "
        "price collar and loss of the day as shares (0.05 is 5 %).",
    )
    deployment_key = forms.ChoiceField(
        required=False, label="Deployment", widget=UnfoldAdminSelectWidget,
        help_text="Empty: the whole account. A deployment's successors keep its limits.",
    )  # fmt: skip
    reason = forms.CharField(
        required=False, max_length=200, widget=UnfoldAdminTextInputWidget, help_text="Kept in the audit."
    )

    class Meta:
        model = Limit
        fields = (*SCOPE, "value")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["value"] = f"{self.instance.value.normalize():f}"
        if "deployment_key" in self.fields:
            keys = Deployment.objects.filter(state=Deployment.State.RUNNING).values_list("key", flat=True)
            choices = [("", "Any"), (MANUAL, "Orders by hand"), *((key, key) for key in keys)]
            self.fields["deployment_key"].choices = choices

    def clean(self) -> dict[str, Any]:
        """Refuse what the service would refuse, before anything is saved."""
        cleaned = super().clean() or {}
        scope = {name: cleaned.get(name, getattr(self.instance, name)) for name in SCOPE}
        if self.errors:
            return cleaned
        try:
            cleaned["value"] = limit_check(
                scope["check_name"], cleaned["value"], scope["account"], scope["deployment_key"], scope["instrument"]
            )
        except LimitRefused as refused:
            for field, words in refused.message_dict.items():
                self.add_error(field if field in self.fields else None, words)
            return cleaned
        if not self.instance.pk and Limit.objects.filter(**scope).exists():
            self.add_error("check_name", "There is a limit of this check and scope already: change that one.")
        return cleaned


@admin.register(Limit)
class LimitAdmin(ModelAdmin):
    """Limits: the tightest that applies binds. A desk follows within a second."""

    form = LimitForm
    list_display = ("check_name", "whom", "shown", "updated_at")
    list_filter = ("check_name", "account")
    list_select_related = ("account", "instrument")
    ordering = ("account", "check_name")
    actions = None  # removing many at once would be one click away from no limits at all

    @admin.display(description="Binds")
    def whom(self, limit: Limit) -> str:
        """Return whom it binds, by name."""
        parts = (limit.account, limit.deployment_key, limit.instrument)
        return " · ".join(str(part) for part in parts if part) or "every account"

    @admin.display(description="Limit", ordering="value")
    def shown(self, limit: Limit) -> str:
        """Return its value without idle zeros, and what it may be as a hint."""
        return f"{limit.value.normalize():f}"

    def get_readonly_fields(self, request: HttpRequest, obj: Limit | None = None) -> tuple[str, ...]:
        """A limit keeps its scope: another scope is another limit."""
        return SCOPE if obj is not None else ()

    def get_fields(self, request: HttpRequest, obj: Limit | None = None) -> tuple[str, ...]:
        return (*SCOPE, "value", "reason")

    def save_model(self, request: HttpRequest, obj: Limit, form: Any, change: bool) -> None:
        """Save through the service; the form has checked it."""
        saved = limit_set(
            check_name=obj.check_name, value=form.cleaned_data["value"], by=request.user.get_username(),
            account=obj.account, deployment_key=obj.deployment_key, instrument=obj.instrument,
            reason=form.cleaned_data.get("reason", ""),
        )  # fmt: skip
        obj.pk, obj.updated_at = saved.pk, saved.updated_at

    def delete_model(self, request: HttpRequest, obj: Limit) -> None:
        """Remove through the service."""
        limit_remove(limit=obj, by=request.user.get_username(), reason=f"removed in the admin ({scope_text(obj)})")


class HaltForm(forms.ModelForm):
    """Ends a halt: nothing else of it can be changed."""

    reason = forms.CharField(
        max_length=200, label="End it because", widget=UnfoldAdminTextInputWidget,
        help_text="Why it is safe that new risk leaves again. Saving ends the halt.",
    )  # fmt: skip

    class Meta:
        model = Halt
        fields = ()


@admin.register(Halt)
class HaltAdmin(ModelAdmin):
    """Breakers' stops. Opening one that stands and giving a reason ends it."""

    form = HaltForm
    list_display = ("cause", "account", "deployment_key", "detail", "market_at", "ended_at", "ended_by")
    list_filter = ("account", "cause", ("ended_at", admin.EmptyFieldListFilter))
    list_select_related = ("account", "ended_by")
    fields = readonly_fields = (
        "account", "deployment_key", "cause", "detail", "market_at", "created_at", "ended_at", "ended_by",
    )  # fmt: skip

    def get_fields(self, request: HttpRequest, obj: Halt | None = None) -> tuple[str, ...]:
        stands = obj is not None and obj.ended_at is None and self.has_change_permission(request, obj)
        return (*self.readonly_fields, "reason") if stands else self.readonly_fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Halt | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.ended_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: Halt | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Halt, form: Any, change: bool) -> None:
        """End it through the service."""
        halt_end(halt=obj, person=request.user, reason=form.cleaned_data["reason"])


@admin.register(Refusal)
class RefusalAdmin(ModelAdmin):
    """What was refused: the check, the number, the limit, and all checks of that order."""

    list_display = ("created_at", "account", "instrument", "owner", "check_name", "detail")
    list_filter = ("account", "check_name")
    list_select_related = ("account", "instrument")
    search_fields = ("owner", "detail")
    fields = readonly_fields = (
        "account", "instrument", "owner", "check_name", "number", "limit", "detail", "market_at", "created_at",
        "all_checks",
    )  # fmt: skip

    @admin.display(description="All checks, in order")
    def all_checks(self, refusal: Refusal) -> SafeString:
        """Return a line for each check."""
        names = ("name", "scope", "verdict", "detail")
        lines = (tuple(check.get(name, "") for name in names) for check in refusal.checks)
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{} ({}): {}. {}</li>", lines))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Refusal | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Refusal | None = None) -> bool:
        return False
