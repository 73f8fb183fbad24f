"""What a desk tells the rest. Amounts are exact decimals as text, times UTC nanoseconds, `market_ns` the market's."""

from typing import Any, ClassVar

from apps.common.messages import Message, Upcaster
from apps.common.topics import register_log, register_state

ORDERS = "orders"
FILLS = "fills"
POSITIONS = "positions"
RECONCILIATIONS = "reconciliations"
SWEEPS = "sweeps"
COMMANDS = "commands"


class OrderChanged(Message):
    """An order, whole, as it stands now."""

    id: int
    client_id: str
    account_id: int
    instrument_id: int
    symbol: str
    owner: str
    decision_id: str | None
    leg: str
    revision: int
    side: str
    kind: str
    quantity: str
    price: str | None
    trigger_price: str | None
    reduce_only: bool
    adds_risk: bool
    state: str
    filled: str
    average_price: str | None
    origin: str
    detail: str
    market_ns: int
    wall_ns: int


class FillBooked(Message):
    """One execution, booked. `order_id` is None where no order of ours belongs to it."""

    id: int
    order_id: int | None
    client_id: str
    account_id: int
    instrument_id: int
    symbol: str
    owner: str
    side: str
    quantity: str
    price: str
    fee: str
    fee_currency: str
    realised: str
    is_maker: bool
    market_ns: int
    wall_ns: int


class PositionChanged(Message):
    """A sub-ledger after a booking; quantity signed. `no_stop_reason` is why its deployment does without stops."""

    version: ClassVar[int] = 2
    upcasters: ClassVar[dict[int, Upcaster]] = {1: lambda fields: {**fields, "no_stop_reason": ""}}

    account_id: int
    instrument_id: int
    symbol: str
    owner: str
    quantity: str
    average_price: str
    realised: str
    fees: str
    funding: str
    opened_ns: int | None
    market_ns: int
    no_stop_reason: str


class Reconciled(Message):
    """One comparison with the venue. Each difference: what, ours, the venue's, what was done."""

    account_id: int
    at_ns: int
    is_startup: bool
    took_ms: float
    differences: list[dict[str, Any]]


class SweepProgress(Message):
    """How far the kill switch's sweep is at one account. `left` are risk-adding orders that still rest."""

    account_id: int
    scope: str
    generation: int
    flatten: bool
    found: int
    left: int
    positions_left: int
    foreign: int
    seconds_left: float | None
    finished: bool
    wall_ns: int


class CommandChanged(Message):
    """A person's wish and what became of it."""

    id: int
    account_id: int
    kind: str
    nonce: str
    by: str
    state: str
    result: str
    wall_ns: int


class AccountState(Message):
    """The account's figures by the core's accounting, in the account's currency; exposures as amounts.

    `margin` is what open contracts bind at first (initial margin); None while a mark or a leverage is unknown.
    `realised_today` is what the ledger has realised since the UTC market day began, before fees and funding.
    """

    account_id: int
    equity: float
    cash: float
    realised_today: float
    unrealised: float
    fees: float
    funding: float
    gross: float
    net: float
    drawdown: float
    orders_minute: int
    day_start_equity: float
    market_ns: int
    limits: dict[str, float]
    margin: float | None = None


class DeskHealth(Message):
    """How a desk is. `done_ns`: newest bar close processed for all instruments with no order in flight."""

    account: int
    state: str
    why: str
    lag_s: float
    done_ns: int
    decision_to_wire_ms: float | None
    market_ns: int
    wall_ns: int
    foreign_orders: int = 0
    kill: str = "clear"


register_log(ORDERS, OrderChanged)
register_log(FILLS, FillBooked)
register_log(POSITIONS, PositionChanged)
register_log(RECONCILIATIONS, Reconciled)
register_log(SWEEPS, SweepProgress)
register_log(COMMANDS, CommandChanged)
register_state("account", AccountState)
register_state("health.desk", DeskHealth)
