"""Universes: named sets of instruments, fixed or by rule."""

import time
from decimal import Decimal

from django.db import transaction

from apps.common.outbox import outbox_add
from apps.market.errors import UniverseRefused
from apps.market.events import UniverseChanged
from apps.market.models import Instrument, Universe, Venue
from apps.market.services.audit import audited


def universe_refresh(name: str, *, by: str = "system:rule") -> list[int]:
    """Work a universe's rule out anew and return its members' ids; a fixed one keeps its list.

    What has left gets no new risk; its position ends by its exit or stop. Raises `Universe.DoesNotExist`.
    """
    with transaction.atomic():
        universe = Universe.objects.select_for_update().select_related("venue").get(name=name)
        return _refresh(universe, by)


def universes_refresh(venue: Venue, *, by: str) -> None:
    """Refresh all universes of a venue, after its instruments have been looked up."""
    with transaction.atomic():
        for universe in Universe.objects.select_for_update().select_related("venue").filter(venue=venue):
            _refresh(universe, by)  # few, and each has its own rule


def universe_save(universe: Universe, *, members: list[Instrument] | None = None, by: str) -> Universe:
    """Save a universe with its members, write who did it, and tell feeds and desks.

    `members` is for a fixed list; a rule works its own out. Raises `UniverseRefused` naming the field.
    """
    universe_check(universe, members or [])
    with transaction.atomic():
        before = Universe.objects.filter(pk=universe.pk).first() if universe.pk else None
        universe.save()
        audited(by, "universe.save", universe.name, before, universe)
        if universe.kind == Universe.Kind.RULE:
            _refresh(universe, by, must_tell=True)
        else:
            if members is not None:
                universe.members.set(members)
            _tell(universe, by)
    return universe


def universe_delete(universe: Universe, *, by: str) -> None:
    """Delete a universe; feeds and desks hear of it as one without members."""
    with transaction.atomic():
        audited(by, "universe.delete", universe.name, universe, None)
        message = _message(universe, [], by)
        universe.delete()
        outbox_add(("universes", message))


def universe_check(universe: Universe, members: list[Instrument]) -> None:
    """Raise `UniverseRefused`, naming the field, for what would not make sense."""
    if universe.kind == Universe.Kind.RULE and members:
        raise UniverseRefused("members: a universe by rule works its members out; leave the list empty")
    if universe.rule_min_turnover < Decimal(0):
        raise UniverseRefused("rule_min_turnover: a turnover cannot be below 0")
    strangers = [member.symbol for member in members if member.venue_id != universe.venue_id]
    if strangers:
        raise UniverseRefused(f"members: {', '.join(strangers)} belong to another venue; a universe has one venue")


def _refresh(universe: Universe, by: str, *, must_tell: bool = False) -> list[int]:
    before = set(universe.members.values_list("pk", flat=True))
    if universe.kind == Universe.Kind.FIXED:
        return sorted(before)
    wanted = set(_by_rule(universe))
    if wanted != before:
        universe.members.set(wanted)
    if wanted != before or must_tell:
        _tell(universe, by)
    return sorted(wanted)


def _by_rule(universe: Universe) -> list[int]:
    found = Instrument.objects.filter(venue=universe.venue, listed_to__isnull=True)
    if universe.rule_quote:
        found = found.filter(quote=universe.rule_quote)
    if universe.rule_kind:
        found = found.filter(kind=universe.rule_kind)
    if universe.rule_min_turnover:
        found = found.filter(turnover_24h__gte=universe.rule_min_turnover)
    return list(found.values_list("pk", flat=True))


def _tell(universe: Universe, by: str) -> None:
    members = universe.members.filter(listed_to__isnull=True).order_by("symbol").values_list("pk", flat=True)
    outbox_add(("universes", _message(universe, list(members), by)))


def _message(universe: Universe, members: list[int], by: str) -> UniverseChanged:
    return UniverseChanged(
        universe.pk, universe.name, universe.venue.code, universe.is_collected, members, by, time.time_ns()
    )
