"""People in the admin: who they are, what they may do, a way in for those without a password; tokens of programs."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminIntegerFieldWidget

from apps.users.models import ApiToken, Scope, User
from apps.users.services import (
    API_DAYS,
    API_DAYS_MAX,
    ApiTokenRefused,
    api_token_create,
    api_token_revoke,
    login_token_create,
)

admin.site.unregister(Group)  # roles decide, groups would be a second truth


@admin.register(User)
class PersonAdmin(UserAdmin, ModelAdmin):
    """A person: name, role, switched on or off."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "role", "email", "is_active", "last_login")
    list_filter = ("role", "is_active")
    search_fields = ("username", "email")
    ordering = ("username",)
    filter_horizontal = ()
    actions = ["sign_in_link"]
    fieldsets = (
        (None, {"fields": ("username", "password", "email", "role", "is_active")}),
        ("Pages", {"fields": ("theme", "time_zone")}),
        ("Known since", {"fields": ("date_joined", "last_login")}),
    )
    readonly_fields = ("date_joined", "last_login")
    add_fieldsets = ((None, {"fields": ("username", "usable_password", "password1", "password2", "role")}),)

    @admin.action(description="Make a one-time sign-in link")
    def sign_in_link(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Show a link for one person, to be handed over; it works once, for ten minutes."""
        people: list[Any] = list(queryset[:2])
        if len(people) != 1 or not people[0].is_active:
            self.message_user(request, "Choose one person who is switched on.", messages.ERROR)
            return
        link = request.build_absolute_uri(f"/sign-in/link/#{login_token_create(user=people[0])}")
        self.message_user(request, f"For {people[0].username}, once, within ten minutes: {link}", messages.SUCCESS)


class ApiTokenForm(forms.ModelForm):
    """A token to be made: whose, what for, what it may do, how long."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, initial=[Scope.READ], widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Each takes a role that its person must have, when it is made and whenever it is used.",
    )  # fmt: skip
    days = forms.IntegerField(
        min_value=1, max_value=API_DAYS_MAX, initial=API_DAYS, label="Days", widget=UnfoldAdminIntegerFieldWidget,
        help_text=f"How long it works: {API_DAYS_MAX} at most.",
    )  # fmt: skip

    class Meta:
        model = ApiToken
        fields = ("user", "name")

    def clean(self) -> dict[str, Any]:
        """Make the token with the rest of the form right; what the service refuses stands at its field."""
        given: dict[str, Any] = super().clean() or {}
        if self.errors:
            return given
        try:
            self.made = api_token_create(
                user=given["user"], name=given["name"], scopes=given["scopes"], days=given["days"], by=self.by
            )
        except ApiTokenRefused as refused:
            self.add_error({"scope": "scopes"}.get(refused.field, refused.field), f"{refused.words}.")
        return given


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    """Tokens for programs that use the API: made here and shown once, read, revoked. Never changed or deleted."""

    form = ApiTokenForm
    list_display = ("name", "user", "may", "state", "expires_at", "used_at", "created_at")
    list_filter = ("user",)
    list_select_related = ("user",)
    search_fields = ("name", "user__username")
    fields = ("user", "name", "scopes", "days")
    actions = ("revoke",)

    @admin.display(description="May")
    def may(self, token: ApiToken) -> str:
        """Return its scopes in a line."""
        return ", ".join(token.scopes)

    def get_form(self, request: HttpRequest, obj: ApiToken | None = None, change: bool = False, **more: Any) -> Any:
        """Return the form, which knows who makes the token."""
        form = super().get_form(request, obj, change, **more)
        return type(form.__name__, (form,), {"by": request.user.get_username()})

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> ApiToken:
        """Return the row that the service has made."""
        return form.made[0]

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        """Show the token, once."""
        messages.warning(request, f"Copy it now, it is not shown again: {form.made[1]}")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing belongs to a token."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Leave Django's log alone: the audit has it."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: what was signed cannot be changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: revoking ends it, and its row tells that it was there."""
        return False

    @action(description="Revoke", permissions=["view"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """End the chosen tokens at once."""
        for token in queryset.select_related("user"):
            if api_token_revoke(token=token, by=request.user.get_username()):
                messages.success(request, f"{token.name} is revoked: it opens nothing from now on.")
            else:
                messages.info(request, f"{token.name} was revoked already.")
