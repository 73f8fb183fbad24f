"""What the venue remembers: orders, executions and account balances, as they are stored and as clients see them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from trader.core.simulation.margin import ZERO, Holding

OPEN_STATES = frozenset({"New", "PartiallyFilled", "Untriggered", "Triggered"})


class OrderRecord(msgspec.Struct, kw_only=True):
    """One order. Prices in ticks and quantities in lots of its instrument (0 price: market, 0 trigger: none).

    `number` is its place in time. `quote_budget` is set for a spot market order that was told in quote.
    `filled_value` is in quote, `fees` by coin. Times in market milliseconds.
    """

    number: int
    uid: int
    order_id: str
    link_id: str
    kind: str
    symbol: str
    side: str
    order_type: str
    time_in_force: str
    lots: int
    price: int = 0
    quote_budget: Decimal | None = None
    reduce_only: bool = False
    close_on_trigger: bool = False
    order_filter: str = "Order"
    trigger_price: int = 0
    trigger_direction: int = 0
    trigger_by: str = "LastPrice"
    last_price_on_created: int = 0
    status: str = "New"
    filled: int = 0
    filled_value: Decimal = ZERO
    fees: dict[str, Decimal] = {}
    reject_reason: str = "EC_NoError"
    cancel_type: str = "UNKNOWN"
    create_type: str = "CreateByUser"
    created_ms: int = 0
    updated_ms: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """The instrument's name inside the simulator."""
        return (self.kind, self.symbol)

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side == "Buy" else -1

    @property
    def is_open(self) -> bool:
        """Whether it may still trade."""
        return self.status in OPEN_STATES

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for its trigger price, or for the book after it."""
        return self.status in ("Untriggered", "Triggered")

    @property
    def left(self) -> int:
        """Lots that may still trade."""
        return self.lots - self.filled if self.is_open else 0


class ExecutionRecord(msgspec.Struct, kw_only=True):
    """One fill, or a funding payment (`exec_type` Funding: `fee` is what was paid, negative when received)."""

    number: int
    uid: int
    exec_id: str
    order_id: str
    link_id: str
    kind: str
    symbol: str
    side: str
    order_type: str
    order_price: int
    order_lots: int
    left: int
    exec_type: str
    price: Decimal
    quantity: Decimal
    value: Decimal
    fee: Decimal
    fee_coin: str
    fee_rate: Decimal
    is_maker: bool
    mark: Decimal
    closed: Decimal = ZERO
    stop_order_type: str = ""
    create_type: str = "CreateByUser"
    market_ns: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """The instrument's name inside the simulator."""
        return (self.kind, self.symbol)


class PositionRecord(msgspec.Struct):
    """One contract position in one-way mode; `quantity` signed, in base units."""

    quantity: Decimal = ZERO
    average: Decimal = ZERO
    realised: Decimal = ZERO
    created_ms: int = 0
    updated_ms: int = 0
    sequence: int = 0

    @property
    def holding(self) -> Holding:
        """Return what the kernel's rules work on."""
        return Holding(self.quantity, self.average)


class AccountRecord(msgspec.Struct):
    """One account: `wallets` by coin, `positions` and `leverages` by linear symbol."""

    uid: int
    api_key: str
    wallets: dict[str, Decimal] = {}
    positions: dict[str, PositionRecord] = {}
    leverages: dict[str, Decimal] = {}
    realised: dict[str, Decimal] = {}

    def wallet(self, coin: str) -> Decimal:
        """Return the balance of a coin, 0 where it never had any."""
        return self.wallets.get(coin, ZERO)

    def wallet_add(self, coin: str, amount: Decimal) -> None:
        """Change the balance of a coin."""
        self.wallets[coin] = self.wallet(coin) + amount

    def position(self, symbol: str) -> PositionRecord:
        """Return a position to look at; a flat one where there never was one."""
        return self.positions.get(symbol) or PositionRecord()

    def position_kept(self, symbol: str) -> PositionRecord:
        """Return a position to change; it is kept from now on."""
        return self.positions.setdefault(symbol, PositionRecord())


def encode(record: Any) -> bytes:
    """Return a record as it is stored."""
    return msgspec.json.encode(record)
