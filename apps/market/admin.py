"""Venues, instruments and universes in the admin. Every change goes through a service: checked, audited, told."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count
from django.forms.models import model_to_dict
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.market.errors import BackfillRefused, EpochMissing, UniverseRefused, VenueRefused
from apps.market.models import Epoch, Instrument, InstrumentTerms, Universe, Venue
from apps.market.providers import ADAPTERS
from apps.market.services import (
    backfill_begin,
    instruments_sync,
    universe_check,
    universe_delete,
    universe_refresh,
    universe_save,
    venue_check,
    venue_save,
)
from trader.core.types.errors import VenueUnavailable


class _ReadOnly(ModelAdmin):
    """Rows that the venue or the system writes: shown, never edited by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class VenueForm(forms.ModelForm):
    """A venue's form; what would not work is refused in words, at its field where there is one."""

    class Meta:
        model = Venue
        fields = ("code", "name", "adapter", "rest_url", "socket_url", "is_active")
        widgets = {"adapter": UnfoldAdminTextInputWidget(attrs={"list": "adapters"})}
        help_texts = {
            "adapter": f"One of: {', '.join(sorted(ADAPTERS))}.",
            "socket_url": "Empty: the vendor's own address. Begins with ws:// or wss://.",
        }

    def clean(self) -> dict[str, Any]:
        """Refuse what the service would refuse, before anything is saved."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        before = Venue.objects.filter(pk=self.instance.pk).first() if self.instance.pk else None
        # what this form does not hold, or only shows, comes from the row
        wanted = Venue(**{**model_to_dict(self.instance), **cleaned})
        try:
            venue_check(wanted, before)
        except VenueRefused as error:
            self._refuse(str(error))
        return cleaned

    def _refuse(self, refused: str) -> None:
        """Show a refusal at each field that it names; at the top what names none of this form's."""
        names, _, words = refused.partition(": ")
        fields = [name for name in names.split(" and ") if name in self.fields]
        for name in fields:
            self.add_error(name, words)
        if not fields:
            self.add_error(None, refused)


@admin.register(Venue)
class VenueAdmin(ModelAdmin):
    """Where prices are read. Deleting is not offered: bars and orders name their venue; switch it off instead."""

    form = VenueForm
    list_display = ("name", "code", "adapter", "is_simulated", "is_active", "instruments_listed")
    list_filter = ("is_active", "is_simulated")
    actions = ("sync",)
    compressed_fields = True

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(instrument_count=Count("instruments"))

    @admin.display(description="Instruments")
    def instruments_listed(self, venue: Venue) -> int:
        """Count all instruments that this venue has or had."""
        return venue.instrument_count

    def get_readonly_fields(self, request: HttpRequest, obj: Venue | None = None) -> tuple[str, ...]:
        """A code stands in addresses and topics: it is chosen once. The simulator's addresses are set at its start."""
        if obj is None:
            return ()
        return ("code", "adapter", "rest_url", "socket_url") if obj.is_simulated else ("code",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Venue, form: Any, change: bool) -> None:
        """Save through the service."""
        venue_save(obj, by=request.user.get_username())

    @action(description="Ask the venue what it lists")
    def sync(self, request: HttpRequest, queryset: Any) -> None:
        """Sync instruments and terms now."""
        for venue in queryset:
            try:
                count = instruments_sync(venue)
                messages.success(request, f"{venue.name}: {count} instruments listed.")
            except (VenueUnavailable, VenueRefused) as error:
                messages.error(request, f"{venue.name}: {error}")


class TermsInline(TabularInline):
    """An instrument's terms, newest first."""

    model = InstrumentTerms
    extra = 0
    can_delete = False
    fields = readonly_fields = (
        "valid_from", "tick", "lot", "min_quantity", "min_notional", "max_leverage", "maker_fee", "taker_fee",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Instrument)
class InstrumentAdmin(_ReadOnly):
    """What the venue lists; it is taken from the venue, so nothing is edited here."""

    list_display = ("symbol", "venue", "kind", "base", "quote", "turnover_24h", "is_listed")
    list_filter = ("venue", "kind", "quote")
    search_fields = ("symbol", "venue_symbol")
    inlines = (TermsInline,)

    @admin.display(boolean=True, description="Listed")
    def is_listed(self, instrument: Instrument) -> bool:
        """Whether the venue still lists it."""
        return instrument.listed_to is None


@admin.register(Epoch)
class EpochAdmin(_ReadOnly):
    """Runs of markets; begun by `up`, never by hand."""

    list_display = ("venue", "number", "kind", "is_current", "synced_at", "created_at")
    list_filter = ("venue", "kind", "is_current")


class UniverseForm(forms.ModelForm):
    """A universe's form: a fixed list of one venue, or a rule."""

    class Meta:
        model = Universe
        fields = (
            "name", "venue", "kind", "members", "rule_quote", "rule_kind", "rule_min_turnover", "is_collected",
        )  # fmt: skip
        help_texts = {
            "members": "For a fixed list. A rule works its members out and leaves this list alone.",
            "rule_quote": "For a rule: for example USDT. Empty: any.",
            "is_collected": "Off: feeds stop collecting what no other universe has.",
        }

    def clean(self) -> dict[str, Any]:
        """Refuse members of another venue and a turnover below 0; a rule takes no list."""
        cleaned = super().clean() or {}
        venue = cleaned.get("venue") or (self.instance.venue if self.instance.pk else None)
        if venue is None or "kind" not in cleaned:
            return cleaned
        if cleaned["kind"] == Universe.Kind.RULE:
            cleaned["members"] = Instrument.objects.none()  # the rule works them out; what the form shows is its last
        wanted = Universe(venue=venue, kind=cleaned["kind"], rule_min_turnover=cleaned.get("rule_min_turnover") or 0)
        try:
            universe_check(wanted, list(cleaned.get("members") or []))
        except UniverseRefused as error:
            field, _, words = str(error).partition(": ")
            raise forms.ValidationError({field: words}) from error
        return cleaned


@admin.register(Universe)
class UniverseAdmin(ModelAdmin):
    """Sets of instruments; feeds and desks follow a change within a second."""

    form = UniverseForm
    list_display = ("name", "venue", "kind", "member_count", "is_collected", "updated_at")
    list_filter = ("venue", "kind", "is_collected")
    filter_horizontal = ("members",)
    actions = ("refresh", "backfill")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("venue").annotate(members_in_all=Count("members"))

    @admin.display(description="Members")
    def member_count(self, universe: Universe) -> int:
        """Count the members of now."""
        return universe.members_in_all

    def get_readonly_fields(self, request: HttpRequest, obj: Universe | None = None) -> tuple[str, ...]:
        """A name stands in deployments, a venue in its members: both are chosen once."""
        return () if obj is None else ("name", "venue")

    def save_model(self, request: HttpRequest, obj: Universe, form: Any, change: bool) -> None:
        """Save through the service, members and all."""
        members = list(form.cleaned_data.get("members") or [])
        universe_save(obj, members=members, by=request.user.get_username())

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Leave the members alone: the service has set them, for a rule others than the form holds."""

    def delete_model(self, request: HttpRequest, obj: Universe) -> None:
        """Delete through the service."""
        universe_delete(obj, by=request.user.get_username())

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete through the service, each with its own audit entry."""
        for universe in queryset.select_related("venue"):
            universe_delete(universe, by=request.user.get_username())

    @action(description="Work the rule out anew")
    def refresh(self, request: HttpRequest, queryset: Any) -> None:
        """Refresh the chosen universes."""
        for name in queryset.values_list("name", flat=True):
            count = len(universe_refresh(name, by=request.user.get_username()))
            messages.success(request, f"{name}: {count} members.")

    @action(description="Fill missing minutes from the venue's history")
    def backfill(self, request: HttpRequest, queryset: Any) -> None:
        """Begin a job for each chosen universe, over the whole hot retention."""
        for universe in queryset.select_related("venue").prefetch_related("members"):
            members = [member.pk for member in universe.members.all()]
            try:
                job = backfill_begin(universe.venue.code, members, by=request.user.get_username())
            except (BackfillRefused, EpochMissing) as error:
                messages.error(request, f"{universe.name}: {error}")
                continue
            words = f"job {job.pk} with {job.total} shares has begun" if job else "nothing is missing"
            messages.success(request, f"{universe.name}: {words}.")
