"""Deployments in the admin: started, changed, stopped through the services. Signals and decisions are read here."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from apps.market.models import Universe
from apps.strategies.models import Decision, Deployment, Signal
from apps.strategies.selectors import LIBRARY
from apps.strategies.services import DeploymentRefused, deployment_change, deployment_start, deployment_stop


class ReadOnly(ModelAdmin):
    """Rows that a desk writes: read, never edited by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class DeploymentForm(forms.ModelForm):
    """A deployment's form. Saving an existing one makes its successor, which takes over the position."""

    strategy = forms.ChoiceField(choices=[(name, name) for name in LIBRARY], widget=UnfoldAdminSelectWidget)
    universe_name = forms.ChoiceField(label="Universe", widget=UnfoldAdminSelectWidget)
    own = forms.JSONField(
        label="Parameters", required=False, initial=dict, widget=UnfoldAdminTextareaWidget(attrs={"rows": 8}),
        help_text="The strategy's own, as JSON; what is left out stays as it was, or takes its default.",
    )  # fmt: skip
    sizing = forms.JSONField(
        required=False, initial=dict, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="risk_share: share of equity lost at the stop; position_share: largest share in one position.",
    )  # fmt: skip
    reason = forms.CharField(
        required=False, max_length=200, widget=UnfoldAdminTextInputWidget, help_text="Kept in the audit."
    )

    class Meta:
        model = Deployment
        fields = ("strategy", "account", "universe_name", "stage", "no_stop_reason")
        help_texts = {"no_stop_reason": "Only to do without protective stops: why. It is shown with its positions."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "universe_name" in self.fields:
            names = Universe.objects.values_list("name", flat=True)
            self.fields["universe_name"].choices = [(name, name) for name in names]
        if self.instance.pk:
            self.initial["own"] = self.instance.parameters.get("strategy", {})
            self.initial["sizing"] = self.instance.parameters.get("sizing", {})


@admin.register(Deployment)
class DeploymentAdmin(ModelAdmin):
    """Strategies at work. Immutable but for their state: a change is a successor."""

    form = DeploymentForm
    list_display = ("key", "strategy", "state", "stage", "account", "universe_name", "created_at", "stopped_at")
    list_filter = ("state", "strategy", "account")
    list_select_related = ("account", "account__epoch")
    search_fields = ("key",)
    actions = ("stop",)
    fields = ("strategy", "account", "universe_name", "stage", "own", "sizing", "no_stop_reason", "reason")

    def get_readonly_fields(self, request: HttpRequest, obj: Deployment | None = None) -> tuple[str, ...]:
        """What makes it another deployment altogether is chosen once."""
        return () if obj is None else ("strategy", "account", "no_stop_reason")

    def has_change_permission(self, request: HttpRequest, obj: Deployment | None = None) -> bool:
        """Only what runs can have a successor."""
        return super().has_change_permission(request, obj) and (obj is None or obj.state == Deployment.State.RUNNING)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: decisions, orders and positions name it."""
        return False

    def save_model(self, request: HttpRequest, obj: Deployment, form: Any, change: bool) -> None:
        """Start it, or make its successor; what the service refuses is said and nothing is changed."""
        given, by = form.cleaned_data, request.user.get_username()
        common = {
            "universe": given["universe_name"], "stage": given["stage"], "parameters": given["own"] or {},
            "sizing": given["sizing"] or {}, "reason": given["reason"], "by": by,
        }  # fmt: skip
        try:
            if change:
                made = deployment_change(obj.key, **common)
            else:
                more = {"strategy": given["strategy"], "account": given["account"]}
                made = deployment_start(**common, **more, no_stop_reason=given["no_stop_reason"])
        except DeploymentRefused as refused:
            request.refused = True
            messages.error(request, f"Not done: {refused}")
            return
        obj.pk, obj.key = made.pk, made.key
        messages.info(request, f"{made.key} is at work from the next bar on.")

    def message_user(self, request: HttpRequest, message: str, *args: Any, **kwargs: Any) -> None:
        """Say nothing of success when the service refused."""
        if not getattr(request, "refused", False):
            super().message_user(request, message, *args, **kwargs)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Leave Django's log alone: the audit has it, with before and after."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Leave Django's log alone: the audit has it, with before and after."""

    @action(description="Stop")
    def stop(self, request: HttpRequest, queryset: QuerySet[Deployment]) -> None:
        """Stop the chosen ones: no decision any more; positions keep their stops until a person closes them."""
        for row in queryset:
            try:
                deployment_stop(row.key, by=request.user.get_username(), reason="stopped in the admin")
                messages.success(request, f"{row.key} is stopped; its positions keep their stops.")
            except DeploymentRefused as refused:
                messages.error(request, str(refused))


@admin.register(Signal)
class SignalAdmin(ReadOnly):
    """What strategies wanted, and what became of it."""

    list_display = ("market_at", "instrument", "deployment", "direction", "strength", "reason", "state", "detail")
    list_filter = ("state", "deployment")
    list_select_related = ("instrument", "deployment")


@admin.register(Decision)
class DecisionAdmin(ReadOnly):
    """Every call of a strategy, with what it saw."""

    list_display = ("market_at", "instrument", "deployment", "outcome", "reason", "direction", "bar_revision")
    list_filter = ("outcome", "deployment")
    list_select_related = ("instrument", "deployment")
    show_full_result_count = False
