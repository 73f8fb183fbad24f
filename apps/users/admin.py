"""People in the admin: who they are, what they may do, and a way in for those without a password."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from apps.users.models import User
from apps.users.services import login_token_create

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
