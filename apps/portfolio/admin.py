"""Accounts, their keys and their books in the admin. Keys go in and never come out again."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from apps.portfolio.models import Account, CashBalance, CashMovement, Credential, EquitySnapshot, Position
from apps.portfolio.services import AccountRefused, account_check, account_save, credential_remove, credential_set
from apps.portfolio.services.accounts import key_check

EDITED = ("venue", "epoch", "name", "currency", "is_live", "trading_enabled", "is_active")


class AccountForm(forms.ModelForm):
    """An account's form; what cannot be is refused in words, at its field."""

    reason = forms.CharField(
        required=False, max_length=200, widget=UnfoldAdminTextInputWidget, help_text="Kept in the audit."
    )

    class Meta:
        model = Account
        fields = EDITED

    def clean(self) -> dict[str, Any]:
        """Refuse what the service would refuse, before anything is saved."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        before = Account.objects.filter(pk=self.instance.pk).first() if self.instance.pk else None
        # what is read-only in this form comes from the row
        wanted = {name: cleaned[name] if name in cleaned else getattr(self.instance, name) for name in EDITED}
        try:
            account_check(Account(pk=self.instance.pk, **wanted), before)
        except AccountRefused as refused:
            for field, words in refused.message_dict.items():
                self.add_error(field if field in self.fields else None, words)
        return cleaned


@admin.register(Account)
class AccountAdmin(ModelAdmin):
    """Money at a venue in one epoch. Trading with real money is off until a person turns it on here."""

    form = AccountForm
    list_display = ("name", "venue", "epoch", "currency", "is_live", "trading_enabled", "is_active", "keys")
    list_filter = ("venue", "is_live", "trading_enabled", "is_active")
    list_select_related = ("venue", "epoch__venue", "credential")
    actions = None

    @admin.display(description="Keys")
    def keys(self, account: Account) -> str:
        """Say whether keys are stored, and nothing more."""
        return "set" if hasattr(account, "credential") else "none"

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> tuple[str, ...]:
        return ("venue", "epoch", "currency") if obj is not None else ()

    def has_delete_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        """Orders and fills name their account for ever: it is switched off, not deleted."""
        return False

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        """Save through the service; the form has checked it."""
        account_save(obj, by=request.user.get_username(), reason=form.cleaned_data.get("reason", ""))


class CredentialForm(forms.ModelForm):
    """Both keys, always anew: what is stored is shown to nobody."""

    api_key = forms.CharField(widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}), strip=False)
    api_secret = forms.CharField(
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}), strip=False,
        help_text="Stored encrypted, and never shown again. To change one, paste both.",
    )  # fmt: skip

    class Meta:
        model = Credential
        fields = ("account",)

    def clean(self) -> dict[str, Any]:
        """Refuse what was pasted badly, at its field."""
        cleaned = super().clean() or {}
        for field in ("api_key", "api_secret"):
            try:
                if field in cleaned:
                    key_check(field, cleaned[field])
            except AccountRefused as refused:
                self.add_error(field, refused.message_dict[field])
        return cleaned


@admin.register(Credential)
class CredentialAdmin(ModelAdmin):
    """Keys of accounts: write-only."""

    form = CredentialForm
    list_display = ("account", "created_at", "updated_at")
    list_select_related = ("account",)
    fields = ("account", "api_key", "api_secret")
    actions = None

    def get_readonly_fields(self, request: HttpRequest, obj: Credential | None = None) -> tuple[str, ...]:
        return ("account",) if obj is not None else ()

    def has_delete_permission(self, request: HttpRequest, obj: Credential | None = None) -> bool:
        """An account that trades with real money keeps its keys: its desk must still cancel and reduce."""
        bound = obj is not None and obj.account.is_live and obj.account.trading_enabled
        return not bound and super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Credential, form: Any, change: bool) -> None:
        """Store through the service."""
        data = form.cleaned_data
        saved = credential_set(
            account=obj.account, api_key=data["api_key"], api_secret=data["api_secret"],
            by=request.user.get_username(),
        )  # fmt: skip
        obj.pk = saved.pk

    def delete_model(self, request: HttpRequest, obj: Credential) -> None:
        """Remove through the service."""
        credential_remove(account=obj.account, by=request.user.get_username())


class BookAdmin(ModelAdmin):
    """What the desk books: shown, never edited by hand."""

    list_filter = ("account",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Position)
class PositionAdmin(BookAdmin):
    """Sub-ledgers: what each owner holds."""

    list_display = ("account", "instrument", "owner", "quantity", "average_price", "realised", "fees", "funding")
    list_select_related = ("account", "instrument")
    search_fields = ("owner", "instrument__symbol")


@admin.register(CashBalance)
class CashBalanceAdmin(BookAdmin):
    """Cash by currency."""

    list_display = ("account", "currency", "amount", "fees", "updated_at")
    list_select_related = ("account",)


@admin.register(CashMovement)
class CashMovementAdmin(BookAdmin):
    """Cash and quantities that moved for another reason than a fill."""

    list_display = ("market_at", "account", "kind", "instrument", "owner", "currency", "amount", "quantity", "cause")
    list_select_related = ("account", "instrument")
    list_filter = ("account", "kind")


@admin.register(EquitySnapshot)
class EquitySnapshotAdmin(BookAdmin):
    """Equity over the market's time."""

    list_display = ("market_at", "account", "equity", "cash", "realised", "unrealised", "fees", "funding", "margin")
    list_select_related = ("account",)
    ordering = ("-market_at",)
