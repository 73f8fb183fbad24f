"""What a row must know of its instrument: name, address, decimals. Kept in memory, because the hub renders
rows without the database."""

import asyncio
import logging
import threading
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import DatabaseError, connections

from apps.dashboard.formatting import decimals_of
from apps.market.models import Instrument, InstrumentTerms

FRESH_S = 30.0
FRESH_EMPTY_S = 1.0  # before the first sync there is nothing to keep
AGAIN_S = 2.0  # how often an unknown instrument may have everything read again


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Label:
    """An instrument as rows show it. Decimals are None while its terms are not known: then as many as a figure has."""

    id: int
    symbol: str
    base: str
    quote: str
    kind: str
    slug: str
    venue_code: str
    venue_name: str
    price_decimals: int | None
    lot_decimals: int | None
    tick: str
    lot: str
    min_quantity: Decimal
    min_notional: Decimal
    multiplier: Decimal

    @property
    def url(self) -> str:
        """Return the address of its Market page."""
        return f"/market/{self.venue_code}/{self.slug}/"

    def as_live(self) -> dict[str, Any]:
        """Return what the page's script needs."""
        return {
            "id": self.id,
            "symbol": self.symbol,
            "slug": self.slug,
            "venue": self.venue_code,
            "url": self.url,
            "base": self.base,
            "quote": self.quote,
            "priceDecimals": 2 if self.price_decimals is None else self.price_decimals,
            "lotDecimals": 4 if self.lot_decimals is None else self.lot_decimals,
            "multiplier": float(self.multiplier),
        }


class Labels:
    """All instruments by id; read again after 30 s, or when an unknown one is asked for."""

    def __init__(self) -> None:
        self._by_id: dict[int, Label] = {}
        self._read_at = -FRESH_S
        self._asked_at = -AGAIN_S
        self._lock = threading.Lock()

    def all(self) -> dict[int, Label]:
        """Return every instrument's label, at most 30 s old. Two queries when they must be read."""
        with self._lock:
            if time.monotonic() - self._read_at > (FRESH_S if self._by_id else FRESH_EMPTY_S):
                self._read()
            return self._by_id

    def get(self, instrument_id: int, symbol: str = "") -> Label:
        """Return one label. An event loop never waits: an unknown one gets plain figures while a thread reads anew."""
        found = self._by_id.get(instrument_id)
        if found is None and time.monotonic() - self._asked_at > AGAIN_S:
            self._asked_at = time.monotonic()
            if _in_event_loop():
                threading.Thread(target=self._read_in_thread, name="labels", daemon=True).start()
            else:
                found = self._read_quietly().get(instrument_id)
        return found or _unknown(instrument_id, symbol)

    def forget(self) -> None:
        """Read anew at the next question: for tests, and after a change of terms."""
        self._read_at, self._asked_at = -FRESH_S, -AGAIN_S
        self._by_id = {}

    def _read_quietly(self) -> dict[int, Label]:
        self._read_at = -FRESH_S
        try:
            return self.all()
        except DatabaseError as error:
            logger.warning("instruments are not known yet: %s", error)
            return self._by_id

    def _read_in_thread(self) -> None:
        try:
            self._read_quietly()
        finally:
            connections.close_all()

    def _read(self) -> None:
        terms: dict[int, InstrumentTerms] = {
            row.instrument_id: row for row in InstrumentTerms.objects.order_by("instrument_id", "valid_from")
        }
        rows = Instrument.objects.select_related("venue").order_by("venue__code", "symbol")
        self._by_id = {row.pk: _label(row, terms.get(row.pk)) for row in rows}
        self._read_at = time.monotonic()


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _label(row: Instrument, terms: InstrumentTerms | None) -> Label:
    return Label(
        id=row.pk,
        symbol=row.symbol,
        base=row.base,
        quote=row.quote,
        kind=row.kind,
        slug=row.slug,
        venue_code=row.venue.code,
        venue_name=row.venue.name,
        price_decimals=decimals_of(terms.tick) if terms else None,
        lot_decimals=decimals_of(terms.lot) if terms else None,
        tick=f"{terms.tick.normalize():f}" if terms else "any",
        lot=f"{terms.lot.normalize():f}" if terms else "any",
        min_quantity=terms.min_quantity if terms else Decimal(0),
        min_notional=terms.min_notional if terms else Decimal(0),
        multiplier=row.multiplier,
    )


def _unknown(instrument_id: int, symbol: str) -> Label:
    zero = Decimal(0)
    name = symbol or f"instrument {instrument_id}"
    return Label(instrument_id, name, "", "", "", "", "", "", None, None, "any", "any", zero, zero, Decimal(1))


labels = Labels()
