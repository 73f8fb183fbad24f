"""Reads of execution: what a desk starts from, and what pages show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, FilteredRelation, Max, Q

from apps.execution.brokers.base import Market
from apps.execution.models import Fill, Install, KillSweep, Order, Reconciliation
from apps.execution.states import OPEN
from apps.market.models import Instrument, InstrumentTerms
from apps.portfolio.models import Account, CashBalance, CashMovement, Credential, Position
from apps.portfolio.selectors import account_label, still_open
from apps.risk.selectors import scope_account, scope_deployment

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FILLS_OVERLAP = timedelta(days=2)
RECENT = 500
HAS_DESK = Q(is_active=True, credential__isnull=False, venue__is_active=True, epoch__is_current=True)
NOT_SWEPT = "Without a running desk an account is not swept: start its desk, or look at the venue."
NONE_TO_SWEEP = "No account to sweep: this concerns none that is active."
LOOK_THERE = "Switch it on, or give it its keys, so that its desk sweeps it; or look at the venue."


@dataclass(frozen=True)
class DeskRows:
    """Everything in the database that a desk takes into memory at its start."""

    orders: list[Order]
    positions: list[Position]
    balances: list[CashBalance]
    seen: set[str]
    executions_ns: int
    has_opening: bool


@dataclass(frozen=True)
class ScopeSweeps:
    """How far one engagement of the kill switch is: the accounts that have begun, and those it concerns that have not.

    An account has a row only once its desk has begun: a desk that is down sweeps nothing, and says nothing.
    `unswept` are those that no desk will sweep though something is open in them by our books, with the reason.
    """

    rows: list[KillSweep] = field(default_factory=list)
    waiting: dict[int, str] = field(default_factory=dict)
    unswept: dict[int, str] = field(default_factory=dict)

    @property
    def accounts(self) -> int:
        """Return how many accounts are concerned."""
        return len(self.rows) + len(self.waiting) + len(self.unswept)

    @property
    def rows_ended(self) -> bool:
        """Say whether every account that has begun has come to its end."""
        return all(row.finished_at is not None for row in self.rows)

    @property
    def is_done(self) -> bool:
        """Say whether every account that a desk sweeps has come to its end: nothing more is on its way."""
        return not self.waiting and self.rows_ended


def ns_of(moment: datetime | None) -> int:
    """Return a moment as UTC nanoseconds, exactly to the microsecond; 0 for none."""
    return 0 if moment is None else (moment - EPOCH) // timedelta(microseconds=1) * 1000


def instruments_ordered(venue_codes: Sequence[str]) -> set[int]:
    """Return the ids of the instruments with an order that is open at these venues: what it fills needs its stop."""
    open_now = Order.objects.filter(
        state__in=OPEN, account__venue__code__in=list(venue_codes), account__epoch__is_current=True
    )
    return set(open_now.order_by().values_list("instrument_id", flat=True))


def orders_open_words(account_ids: Sequence[int]) -> dict[int, str]:
    """Return how many orders of these accounts are open by our books, in words; none is said of none."""
    rows = Order.objects.filter(account__in=list(account_ids), state__in=list(OPEN)).order_by().values("account")
    return {account: f"orders open: {n}" for account, n in rows.annotate(n=Count("pk")).values_list("account", "n")}


def install_prefix() -> str:
    """Return the four digits of this installation, or raise `LookupError` saying how they are made."""
    row = Install.objects.first()
    if row is None:
        raise LookupError("this installation has no prefix yet: run `manage.py prepare`")
    return row.prefix


def account_load(account_id: int) -> Account:
    """Return an account with its venue and epoch."""
    return Account.objects.select_related("venue", "epoch").get(pk=account_id)


def desk_account_keys() -> list[str]:
    """Return the accounts that a desk should run now: active, with keys, at an active venue, in its current epoch.

    Whether trading is on is no part of it: what is held needs its desk, its stops and its sweep all the same.
    """
    return [str(key) for key in Account.objects.filter(HAS_DESK).values_list("pk", flat=True)]


def markets_load(venue_id: int) -> list[Market]:
    """Return a venue's instruments with their newest terms; one without terms is left out, it cannot be traded."""
    newest = dict(
        InstrumentTerms.objects.filter(instrument__venue_id=venue_id)
        .values_list("instrument_id")
        .annotate(newest=Max("valid_from"))
    )
    terms = InstrumentTerms.objects.filter(instrument__venue_id=venue_id).select_related("instrument")
    return [market_of(row.instrument, row) for row in terms if newest[row.instrument_id] == row.valid_from]


def markets_stamp(venue_id: int) -> tuple[int, int]:
    """Return something that is another whenever a venue has new instruments or new terms."""
    found = InstrumentTerms.objects.filter(instrument__venue_id=venue_id).aggregate(rows=Count("pk"), newest=Max("pk"))
    return found["rows"], found["newest"] or 0


def market_of(instrument: Instrument, terms: InstrumentTerms) -> Market:
    """Return an instrument as a broker needs it."""
    return Market(
        instrument_id=instrument.pk,
        symbol=instrument.symbol,
        venue_symbol=instrument.venue_symbol,
        kind=instrument.kind,
        base=instrument.base,
        quote=instrument.quote,
        settle=instrument.settle,
        tick=terms.tick.normalize(),
        lot=terms.lot.normalize(),
        min_quantity=terms.min_quantity,
        min_notional=terms.min_notional,
    )


def desk_rows(account_id: int) -> DeskRows:
    """Return what a desk starts from: open and recent orders, positions, cash, and which executions are booked.

    The venue's executions are read up to the newest comparison that says so; before the first one, to the newest fill.
    """
    orders = {order.pk: order for order in Order.objects.filter(account_id=account_id)[:RECENT]}
    orders |= {order.pk: order for order in Order.objects.filter(account_id=account_id, state__in=list(OPEN))}
    newest = Fill.objects.filter(account_id=account_id).aggregate(newest=Max("market_at"))["newest"]
    fills = Fill.objects.filter(account_id=account_id)
    movements = CashMovement.objects.filter(account_id=account_id)
    read = Reconciliation.objects.filter(account_id=account_id).aggregate(newest=Max("executions_at"))["newest"]
    seen: set[str] = set()
    if newest is not None:
        since = min(newest, read or newest) - FILLS_OVERLAP
        seen |= set(fills.filter(market_at__gte=since).values_list("venue_fill_id", flat=True))
    for venue_id in movements.filter(kind=CashMovement.Kind.FUNDING).values_list("venue_id", flat=True):
        seen.add(f"funding:{venue_id.partition(':')[0]}")
    return DeskRows(
        orders=sorted(orders.values(), key=lambda order: order.pk),
        positions=list(Position.objects.filter(account_id=account_id)),
        balances=list(CashBalance.objects.filter(account_id=account_id)),
        seen=seen,
        executions_ns=ns_of(read or newest),
        has_opening=movements.filter(kind=CashMovement.Kind.OPENING).exists(),
    )


def sweeps_of(engaged: Mapping[str, int]) -> dict[str, ScopeSweeps]:
    """Return how far the kill switch is, by scope, for these scopes' generations; in two queries where all have desks.

    Everything concerns each account that should have a desk; the scope of an account or a deployment concerns that
    account, with keys or without. One without a desk of its own counts too, while something is open in it by our
    books; but for a market that is over.
    """
    found = {scope: ScopeSweeps() for scope in engaged}
    if not engaged:
        return found
    rows = KillSweep.objects.filter(
        scope__in=list(engaged), generation__in=set(engaged.values()), account__is_active=True
    ).select_related("account")
    for row in rows.order_by("account_id"):
        if row.generation == engaged[row.scope]:
            found[row.scope].rows.append(row)
    begun = {(row.scope, row.account_id) for sweeps in found.values() for row in sweeps.rows}
    keys = [scope.partition(":")[2] for scope in engaged]
    named = FilteredRelation("deployments", condition=Q(deployments__key__in=keys))
    accounts = Account.objects.filter(epoch__is_current=True).annotate(named=named, has_desk=HAS_DESK).order_by("pk")
    fields = ("pk", "name", "is_active", "venue__is_active", "has_desk", "named__key")
    unswept: list[tuple[str, int, str]] = []
    for pk, name, is_active, is_venue_active, has_desk, key in accounts.values_list(*fields):
        label, own = account_label(pk, name), {scope_account(pk), scope_deployment(key or "")}
        for scope in {"all", *own} & engaged.keys():
            why = _why_unswept(is_active, is_venue_active, has_desk or scope in own)
            if (scope, pk) not in begun and why:
                unswept.append((scope, pk, f"{label}: not swept: {why}"))
            elif (scope, pk) not in begun:
                found[scope].waiting[pk] = label
    left = still_open([pk for _, pk, _ in unswept]) if unswept else {}
    for scope, pk, words in unswept:
        if pk in left:
            found[scope].unswept[pk] = f"{words}; by our books {left[pk]}"
    return found


def _why_unswept(is_active: bool, is_venue_active: bool, is_awaited: bool) -> str:
    """Return why no desk will sweep an account; empty where one should, or where the scope waits for it by name."""
    if not is_active:
        return "switched off"
    if not is_venue_active:
        return "its venue is switched off"
    return "" if is_awaited else "it has no keys"


def reconciliation_last(account_id: int) -> Reconciliation | None:
    """Return the newest comparison with the venue."""
    return Reconciliation.objects.filter(account_id=account_id).first()


def credential_configuration(account: Account) -> dict[str, Any]:
    """Return what a ccxt constructor needs for an account: addresses of its venue, and its keys decrypted."""
    from apps.market.services import exchange_configuration

    credential = getattr(account, "credential", None)
    if credential is None:
        raise LookupError(f"account {account.name} has no keys: add its credential")
    return {
        **exchange_configuration(account.venue),
        "apiKey": credential.api_key,
        "secret": credential.api_secret,
    }


def credential_configuration_of(account_id: int) -> dict[str, Any]:
    """Return `credential_configuration` of an account by its number."""
    return credential_configuration(account_load(account_id))


def credential_stamp(account_id: int) -> datetime | None:
    """Return when an account's keys were last saved, None where it has none; nothing is decrypted."""
    return Credential.objects.filter(account_id=account_id).values_list("updated_at", flat=True).first()


def trading_is_on(account_id: int) -> bool:
    """Return whether a person has turned trading on for an account."""
    return Account.objects.filter(pk=account_id, trading_enabled=True).exists()


def state_dir() -> Any:
    """Return the folder of this host's state."""
    return settings.STATE_DIR
