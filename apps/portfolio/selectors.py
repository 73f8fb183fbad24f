"""Reads of the portfolio: accounts, figures, positions with their marks, the equity curve."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import F, Max, OuterRef, Subquery, Sum
from django.db.models.functions import Abs

from apps.common.dotted import imported
from apps.market.models import InstrumentTerms
from apps.market.selectors import terms_now
from apps.portfolio.models import Account, EquitySnapshot, Position
from trader.core.portfolio import UNATTRIBUTED
from trader.core.portfolio import Position as Held

ZERO = Decimal(0)
POINTS = 500
_open: list[str] = []


@dataclass(frozen=True)
class AccountFigures:
    """An account's newest figures, in its currency; `drawdown` is a share of the highest equity so far.

    `realised` is before fees and funding; `realised_today` is what it has grown by since the UTC market day began.
    """

    account_id: int
    currency: str
    market_at: datetime
    equity: Decimal
    cash: Decimal
    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    funding: Decimal
    gross: Decimal
    net: Decimal
    margin: Decimal | None
    day_start_equity: Decimal
    realised_today: Decimal
    peak_equity: Decimal

    @property
    def day_profit(self) -> Decimal:
        """Return what the market's day (UTC) has brought so far, fees and funding counted."""
        return self.equity - self.day_start_equity

    @property
    def drawdown(self) -> Decimal:
        """Return how far equity is below its peak, as a share of that."""
        return ZERO if self.peak_equity <= 0 else max(ZERO, 1 - self.equity / self.peak_equity)


@dataclass(frozen=True)
class PositionView:
    """What one owner holds of one instrument; value and profit are None while there is no mark."""

    account_id: int
    instrument_id: int
    symbol: str
    kind: str
    owner: str
    quantity: Decimal
    average_price: Decimal
    mark: Decimal | None
    notional: Decimal | None
    unrealised: Decimal | None
    realised: Decimal
    fees: Decimal
    funding: Decimal
    opened_at: datetime | None


def account_figures(account_ids: Sequence[int]) -> dict[int, AccountFigures]:
    """Return the newest figures of each of these accounts that has any, in one query."""
    snapshots = EquitySnapshot.objects.filter(account=OuterRef("account"))
    of_day = snapshots.filter(market_at__date=OuterRef("market_at__date")).order_by("market_at")
    # the day begins with the last equity of an earlier day, if there is one: what the night moved counts
    before = snapshots.filter(market_at__date__lt=OuterRef("market_at__date")).order_by("-market_at")
    peak = snapshots.order_by().values("account").annotate(peak=Max("equity")).values("peak")
    newest = snapshots.order_by("-market_at").values("pk")[:1]
    rows = EquitySnapshot.objects.filter(account__in=list(account_ids), pk=Subquery(newest)).annotate(
        first_equity=Subquery(of_day.values("equity")[:1]),
        first_realised=Subquery(of_day.values("realised")[:1]),
        before_equity=Subquery(before.values("equity")[:1]),
        before_realised=Subquery(before.values("realised")[:1]),
        peak=Subquery(peak),
    )
    return {row.account_id: _figures(row) for row in rows.select_related("account")}


def positions_of(
    account_ids: Sequence[int], marks: Mapping[int, Decimal] | None = None, *, with_flat: bool = False
) -> list[PositionView]:
    """Return the sub-ledgers of these accounts, by symbol and owner, in one query, valued at the marks given."""
    rows = Position.objects.filter(account__in=list(account_ids)).select_related("instrument")
    if not with_flat:
        rows = rows.exclude(quantity=0)
    known = marks or {}
    return [_position(row, known.get(row.instrument_id)) for row in rows.order_by("instrument__symbol", "owner", "pk")]


def instruments_held(venue_codes: Sequence[str]) -> set[int]:
    """Return the ids of the instruments that any account holds at these venues in their current epochs.

    What is less than a lot cannot be sold at any price: it is dust, which every exit of a spot position leaves, and
    it holds no instrument. Sub-ledgers count by size, not by sign: two that cancel out are two positions.
    """
    held = (
        Position.objects.filter(account__venue__code__in=list(venue_codes), account__epoch__is_current=True)
        .exclude(quantity=0)
        .values("account", "instrument")
        .annotate(size=Sum(Abs("quantity")))
        .order_by()
    )
    rows = list(held.values_list("instrument", "size"))
    terms = terms_now({instrument for instrument, _ in rows})
    lots = {number: max(found.lot, found.min_quantity) for number, found in terms.items()}
    return {instrument for instrument, size in rows if size >= lots.get(instrument, ZERO)}


def register_open(path: str) -> None:
    """Ask this function what else is open in accounts, beside the positions that this app knows.

    `path` is a dotted path, `module:name`, of a synchronous function from account ids to words by account id, with
    nothing for an account where nothing is open. Upper apps call this in `AppConfig.ready()`.
    """
    if path not in _open:
        _open.append(path)


def still_open(account_ids: Sequence[int]) -> dict[int, str]:
    """Return what is open in these accounts by our books, in words; an account where nothing is, is left out.

    What a registered function raises is raised: never guessed.
    """
    said = [{account: f"positions held: {count}" for account, count in _managed(account_ids).items()}]
    said += [imported(path)(account_ids) for path in _open]
    words = {account: ", ".join(one[account] for one in said if account in one) for account in account_ids}
    return {account: found for account, found in words.items() if found}


def _managed(account_ids: Sequence[int]) -> Counter[int]:
    """Count by account the positions that somebody has to look after, in two queries.

    Coins that a person had before the desk came are nobody's business here, and what is worth less than the venue's
    least order cannot be sold on spot.
    """
    rows = (
        Position.objects.filter(account__in=list(account_ids))
        .exclude(quantity=0)
        .exclude(owner=UNATTRIBUTED, instrument__kind="spot")
        .values("account", "instrument", "instrument__kind")
        .annotate(size=Sum(Abs("quantity")), cost=Sum(Abs(F("quantity") * F("average_price"))))
        .order_by()
    )
    found = list(rows.values_list("account", "instrument", "instrument__kind", "size", "cost"))
    terms = terms_now({row[1] for row in found})
    return Counter(
        account
        for account, instrument, kind, size, cost in found
        if not _is_dust(kind, size, cost, terms.get(instrument))
    )


def _is_dust(kind: str, size: Decimal, cost: Decimal, terms: InstrumentTerms | None) -> bool:
    if terms is None:
        return False
    return size < max(terms.lot, terms.min_quantity) or (kind == "spot" and 0 < cost < terms.min_notional)


def account_label(account_id: int, name: str) -> str:
    """Return an account as the kill switch calls it: two venues may have accounts of one name."""
    return f"account {account_id} ({name})"


def still_open_words(venue_id: int) -> str:
    """Return which accounts of a venue's current epoch have something open, and what; empty where none has."""
    accounts = Account.objects.filter(venue=venue_id, epoch__is_current=True).order_by("pk")
    names = dict(accounts.values_list("pk", "name"))
    found = still_open(list(names))
    return "; ".join(f"{account_label(pk, names[pk])} has {words}" for pk, words in found.items())


def accounts_words(venue_id: int) -> str:
    """Return which accounts a venue has in any epoch, in words that follow "it has"; empty where it has none."""
    names = list(Account.objects.filter(venue=venue_id).order_by("pk").values_list("name", flat=True)[:2])
    more = ", and others" if len(names) > 1 else ""
    return f"accounts ({names[0]}{more})" if names else ""


CURVE = """
WITH span AS (
  SELECT min(market_at) AS first, greatest(max(market_at) - min(market_at), interval '1 microsecond') AS width
  FROM portfolio_equitysnapshot
  WHERE account_id = %(account)s AND (%(since)s::timestamptz IS NULL OR market_at >= %(since)s)
), placed AS (
  SELECT market_at, equity,
    floor(extract(epoch FROM market_at - span.first) / extract(epoch FROM span.width) * %(points)s) AS bucket
  FROM portfolio_equitysnapshot, span
  WHERE account_id = %(account)s AND market_at >= span.first
)
SELECT DISTINCT ON (bucket) market_at, equity FROM placed ORDER BY bucket, market_at DESC
"""


def equity_curve(
    account_id: int, since: datetime | None = None, points: int = POINTS
) -> list[tuple[datetime, Decimal]]:
    """Return (market time, equity) of an account, oldest first: the last of each of about `points` equal spans.

    The newest snapshot is always the last one returned.
    """
    with connection.cursor() as cursor:
        cursor.execute(CURVE, {"account": account_id, "since": since, "points": max(1, points)})
        return [(market_at, equity) for market_at, equity in cursor.fetchall()]


def _figures(row: EquitySnapshot) -> AccountFigures:
    names = ("equity", "cash", "realised", "unrealised", "fees", "funding", "gross", "net", "margin")
    start = row.first_equity if row.before_equity is None else row.before_equity
    realised = row.first_realised if row.before_realised is None else row.before_realised
    return AccountFigures(
        account_id=row.account_id,
        currency=row.account.currency,
        market_at=row.market_at,
        **{name: getattr(row, name) for name in names},
        day_start_equity=start,
        realised_today=row.realised - realised,
        peak_equity=row.peak,
    )


def _position(row: Position, mark: Decimal | None) -> PositionView:
    multiplier = row.instrument.multiplier
    return PositionView(
        account_id=row.account_id,
        instrument_id=row.instrument_id,
        symbol=row.instrument.symbol,
        kind=row.instrument.kind,
        owner=row.owner,
        quantity=row.quantity,
        average_price=row.average_price,
        mark=mark,
        notional=None if mark is None else row.quantity * mark * multiplier,
        unrealised=None if mark is None else held_of(row).unrealised(mark, multiplier),
        realised=row.realised,
        fees=row.fees,
        funding=row.funding,
        opened_at=row.opened_at,
    )


def held_of(row: Position) -> Held:
    """Return a row as the core's accounting knows it."""
    return Held(row.quantity, row.average_price, row.realised, row.fees, row.funding)
