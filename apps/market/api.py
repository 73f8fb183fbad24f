"""The API of the market: instruments with their terms, and stored bars."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field

from apps.common.api import (
    Key,
    Listing,
    Moment,
    MomentAsked,
    Money,
    Out,
    PageAsked,
    Problem,
    Text,
    answers,
    page_schema,
)
from apps.common.api.fields import money, number_text
from apps.common.api.pages import cursor_int, cursor_make, cursor_read
from apps.market.models import Instrument, InstrumentTerms
from apps.market.storage.reader import bars_read
from apps.market.storage.rows import BACKFILLED, DIFFERED, EMPTY, LATE, REVISED
from apps.users.selectors import bearer

router = Router(tags=["market"])
FLAGS = {EMPTY: "empty", BACKFILLED: "backfilled", LATE: "late", REVISED: "revised", DIFFERED: "differed"}
TIMEFRAMES = {"1s": 1, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(2262, 1, 1, tzinfo=UTC)  # of nanoseconds in 64 bits
TERMS = ("tick", "lot", "min_quantity", "min_notional", "max_leverage", "maker_fee", "taker_fee")


class InstrumentOut(Out):
    """One thing traded at one venue, with the terms that hold now; terms are null until the venue has told them."""

    id: int
    venue: str
    symbol: str
    slug: str
    venue_symbol: str
    kind: str
    base: str
    quote: str
    settle: str
    multiplier: Money
    listed_from: Moment | None
    listed_to: Moment | None = Field(description="Set when the venue no longer lists it.")
    turnover_24h: Money
    tick: Money | None
    lot: Money | None
    min_quantity: Money | None
    min_notional: Money | None
    max_leverage: Money | None
    maker_fee: Money | None = Field(description="A share of the notional.")
    taker_fee: Money | None


class InstrumentsAsked(PageAsked):
    """Which instruments."""

    venue: Text | None = Field(None, description="The venue's code.")
    kind: Literal["spot", "linear"] | None = None
    symbol: Text | None = None
    listed: bool | None = Field(None, description="Only those that the venue lists now, or only the others.")


def _columns() -> dict[str, Any]:
    same = ("symbol", "slug", "venue_symbol", "kind", "base", "quote", "settle", "listed_from", "listed_to")
    newest = InstrumentTerms.objects.filter(instrument=OuterRef("pk")).order_by("-valid_from")
    return {
        "id": "pk",
        "venue": "venue__code",
        **{name: name for name in same},
        "multiplier": "multiplier",
        "turnover_24h": "turnover_24h",
        **{name: Subquery(newest.values_list(money(name))[:1]) for name in TERMS},
    }


INSTRUMENTS = Listing(
    Instrument.objects.all(),
    _columns(),
    {
        "id": ("pk", "{} = %s"),
        "venue": ("venue__code", "{} = %s"),
        "kind": ("kind", "{} = %s"),
        "symbol": ("symbol", "{} = %s"),
        "listed": ("listed_to", "({} IS NULL) = %s"),
    },
    ("venue__code", "symbol"),
)


@router.get("/instruments", auth=bearer.READ, response=answers(page_schema(InstrumentOut)), summary="Instruments")
def instruments(request: HttpRequest, asked: Query[InstrumentsAsked]) -> HttpResponse:
    """Return instruments by venue and symbol, with the terms that hold now."""
    return INSTRUMENTS.page(asked)


@router.get(
    "/instruments/{instrument_id}", auth=bearer.READ, response=answers(InstrumentOut, 404), summary="Instrument"
)
def instrument(request: HttpRequest, instrument_id: Key) -> HttpResponse:
    """Return one instrument."""
    found = INSTRUMENTS.one(id=instrument_id)
    if found is None:
        fix = "see /api/v1/instruments"
        raise Problem(404, f"There is no instrument {instrument_id}.", field="instrument_id", fix=fix)
    return found


class BarOut(Out):
    """A closed bar, in its newest revision, stamped with its open time."""

    open_at: Moment
    open: Money
    high: Money
    low: Money
    close: Money
    volume: Money = Field(description="In base.")
    turnover: Money = Field(description="In quote.")
    trades: int
    revision: int
    flags: list[str] = Field(description=f"Of {', '.join(FLAGS.values())}.")
    known_at: Moment = Field(description="When it was known, on the market's clock.")


class BarsAsked(PageAsked):
    """Which bars."""

    instrument: Key
    timeframe: Literal["1s", "1m", "5m", "15m", "1h", "4h", "1d"] = "1m"
    start: MomentAsked | None = Field(None, description="Open time of the first bar; without it, the newest page.")
    end: MomentAsked | None = Field(None, description="Bars that open before this.")


@router.get("/bars", auth=bearer.READ, response=answers(page_schema(BarOut)), summary="Stored bars")
def bars(request: HttpRequest, asked: Query[BarsAsked]) -> dict[str, Any]:
    """Return stored bars of the venue's current epoch, oldest first.

    With `start` (or `cursor`) the pages go on from there; without, there is one page with the newest bars.
    """
    epoch = Instrument.objects.filter(pk=asked.instrument, venue__epochs__is_current=True).values_list("venue__epochs")
    found = epoch.first()
    if found is None:
        fix = "give the id of an instrument whose venue has a market now, from /api/v1/instruments"
        raise Problem(422, f"There are no bars of instrument {asked.instrument}.", field="instrument", fix=fix)
    start = None if asked.start is None else _ns(asked.start)
    if asked.cursor is not None:
        (start,) = cursor_read(asked.cursor, [cursor_int])
    end = None if asked.end is None else _ns(asked.end)
    rows = bars_read(found[0], asked.instrument, TIMEFRAMES[asked.timeframe], start, end, asked.limit + 1)
    if start is None:
        return {"items": [_bar(row) for row in rows[-asked.limit :]], "next": None}
    following = cursor_make([int(rows[-1]["open_ns"])]) if len(rows) > asked.limit else None
    return {"items": [_bar(row) for row in rows[: asked.limit]], "next": following}


def _bar(row: Any) -> dict[str, Any]:
    prices = ("open", "high", "low", "close", "volume", "turnover")
    return {
        "open_at": _moment(row["open_ns"]),
        **{name: number_text(float(row[name])) for name in prices},
        "trades": int(row["trades"]),
        "revision": int(row["revision"]),
        "flags": [name for flag, name in FLAGS.items() if row["flags"] & flag],
        "known_at": _moment(row["known_ns"]),
    }


def _ns(moment: datetime) -> int:
    return (min(max(moment, FIRST), LAST) - FIRST) // timedelta(microseconds=1) * 1000


def _moment(ns: Any) -> datetime:
    return FIRST + timedelta(microseconds=int(ns) // 1000)
