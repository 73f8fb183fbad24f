"""What the Desk and Market pages read: rows as their log messages have them, beside the numbers they were taken at."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, OuterRef, QuerySet, Subquery

from apps.common.models import TopicSequence
from apps.dashboard.formatting import ns_of
from apps.dashboard.rows import OPEN_STATES, Row, model_values
from apps.execution.models import Fill, Order, Reconciliation
from apps.market.models import Instrument
from apps.market.selectors import terms_now
from apps.portfolio.models import Account, Position
from apps.portfolio.selectors import account_figures
from apps.risk.models import Limit, Refusal
from apps.strategies.models import Decision, Deployment, Signal

SIGNALS_SHOWN, FILLS_SHOWN, REFUSALS_SHOWN, ORDERS_SHOWN = 60, 60, 60, 200
TOPICS = ("signals", "orders", "fills", "positions", "refusals")


def numbers_now(topics: Iterable[str] = TOPICS) -> dict[str, int]:
    """Return the newest number of each log topic. Read it before the rows: a delta shown twice is harmless."""
    found = dict(TopicSequence.objects.filter(topic__in=list(topics)).values_list("topic", "n"))
    return {topic: found.get(topic, 0) for topic in topics}


def signals_of(accounts: list[int], limit: int = SIGNALS_SHOWN) -> list[Row]:
    """Return the newest signals of these accounts, newest first."""
    found = Signal.objects.filter(deployment__account__in=accounts).select_related("deployment")[:limit]
    return [model_values(row, deployment=row.deployment.key, account_id=row.deployment.account_id) for row in found]


def positions_of(accounts: list[int]) -> list[Row]:
    """Return what these accounts hold, with the trigger of the stop that rests for it, or why it does without."""
    stop = Order.objects.filter(
        account=OuterRef("account"),
        instrument=OuterRef("instrument"),
        owner=OuterRef("owner"),
        kind=Order.Kind.STOP,
        state__in=OPEN_STATES,
    )
    deployment = Deployment.objects.filter(key=OuterRef("owner"))
    found = (
        Position.objects.filter(account__in=accounts)
        .exclude(quantity=0)
        .annotate(stop=Subquery(stop.values("trigger_price")[:1]))
        .annotate(no_stop_reason=Subquery(deployment.values("no_stop_reason")[:1]))
        .order_by("instrument__symbol", "owner")
    )
    return [model_values(row, stop=row.stop, no_stop_reason=row.no_stop_reason or "") for row in found]


def orders_open(accounts: list[int], limit: int = ORDERS_SHOWN) -> list[Row]:
    """Return the orders of these accounts that may still do something, newest first."""
    return [model_values(row) for row in Order.objects.filter(account__in=accounts, state__in=OPEN_STATES)[:limit]]


def owners_at_work() -> set[str]:
    """Return who holds more than dust, or has an order open, in the accounts of the current epochs."""
    now = {"account__is_active": True, "account__epoch__is_current": True}
    held = list(Position.objects.filter(**now).exclude(quantity=0).values_list("owner", "instrument_id", "quantity"))
    terms = terms_now({instrument_id for _, instrument_id, _ in held})
    least = {instrument_id: max(found.lot, found.min_quantity) for instrument_id, found in terms.items()}
    open_orders = Order.objects.filter(state__in=OPEN_STATES, **now).order_by()
    holding = {owner for owner, instrument_id, quantity in held if abs(quantity) >= least.get(instrument_id, 0)}
    return holding | set(open_orders.values_list("owner", flat=True).distinct())


def fills_of(accounts: list[int], limit: int = FILLS_SHOWN) -> list[Row]:
    """Return the newest fills of these accounts, newest first."""
    return [model_values(row) for row in Fill.objects.filter(account__in=accounts)[:limit]]


def refusals_of(accounts: list[int], limit: int = REFUSALS_SHOWN) -> list[Row]:
    """Return the newest refusals of these accounts, newest first."""
    return [model_values(row) for row in Refusal.objects.filter(account__in=accounts)[:limit]]


def counts_of(account: Account, day: datetime) -> dict[str, int]:
    """Return how many fills and refusals this account has since `day`, on the market's clock."""
    refusals = Refusal.objects.filter(account=account, market_at__gte=day).values("account")
    fills = Fill.objects.filter(account=OuterRef("pk"), market_at__gte=day).order_by().values("account")
    row = (
        Account.objects.filter(pk=account.pk)
        .annotate(
            fills_today=Subquery(fills.annotate(n=Count("pk")).values("n")),
            refusals_today=Subquery(refusals.order_by().annotate(n=Count("pk")).values("n")),
        )
        .values("fills_today", "refusals_today")
        .get()
    )
    return {name: value or 0 for name, value in row.items()}


def figures_stored(account: Account) -> dict[str, Any] | None:
    """Return the account's newest equity snapshot in the shape of its state, for when no desk tells it live."""
    row = account_figures([account.pk]).get(account.pk)
    if row is None:
        return None
    names = ("equity", "cash", "unrealised", "fees", "funding", "gross", "net", "realised_today", "day_start_equity")
    return {
        **{name: float(getattr(row, name)) for name in names},
        "margin": None if row.margin is None else float(row.margin),
        "account_id": account.pk,
        "drawdown": float(row.drawdown),
        "orders_minute": 0,
        "market_ns": ns_of(row.market_at),
        "limits": limits_of(account),
        "stored": True,
    }


def limits_of(account: Account) -> dict[str, float]:
    """Return the tightest limit of each check that holds for the account as a whole."""
    found: dict[str, float] = {}
    rows = Limit.objects.filter(deployment_key="", instrument=None).filter(account__in=[account.pk])
    for row in rows.union(Limit.objects.filter(deployment_key="", instrument=None, account=None)):
        found[row.check_name] = min(float(row.value), found.get(row.check_name, float(row.value)))
    return found


def reconciliation_last(account: Account) -> Reconciliation | None:
    """Return the newest comparison with the venue."""
    return Reconciliation.objects.filter(account=account).first()


def instruments_collected(account: Account | None) -> list[int]:
    """Return the ids of the instruments that are collected at the account's venue, or anywhere, by venue and symbol."""
    found = Instrument.objects.filter(universes__is_collected=True, listed_to__isnull=True)
    if account is not None:
        found = found.filter(venue=account.venue_id)
    return list(found.order_by("venue__code", "symbol").values_list("pk", flat=True).distinct())


def instrument_busiest(ids: list[int]) -> int | None:
    """Return which of these instruments turns over most in a day; the first where the venue does not say."""
    found = Instrument.objects.filter(pk__in=ids).order_by(F("turnover_24h").desc(nulls_last=True), "symbol")
    return found.values_list("pk", flat=True).first()


def fills_between(instrument_id: int, accounts: list[int], start: datetime, limit: int = 400) -> list[dict[str, Any]]:
    """Return the newest fills of one instrument since `start`, for marks on a chart, oldest first."""
    found = Fill.objects.filter(instrument=instrument_id, account__in=accounts, market_at__gte=start).annotate(
        leg=F("order__leg")
    )
    rows = found.values("id", "account_id", "market_at", "side", "price", "quantity", "owner", "leg")[:limit]
    return list(reversed(rows))


def decision_last(instrument_id: int, accounts: list[int]) -> Decision | None:
    """Return the newest decision about an instrument, with its deployment and signal."""
    return decisions().filter(instrument=instrument_id, deployment__account__in=accounts).first()


def decisions() -> QuerySet[Decision]:
    """Return decisions with what the "why" panel names of them."""
    return Decision.objects.select_related("deployment", "instrument", "instrument__venue", "signal")


def day_of(market_at: datetime) -> datetime:
    """Return the start of that day, UTC, on the market's clock."""
    return market_at - timedelta(
        hours=market_at.hour, minutes=market_at.minute, seconds=market_at.second, microseconds=market_at.microsecond
    )
